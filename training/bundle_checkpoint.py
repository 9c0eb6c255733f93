"""Make the package's own checkpoint of a training run: fp16 weights, its score at every r, and a card.

    python training/bundle_checkpoint.py RUN_DIR … --data speech_commands [--teacher RUN_DIR]

Scores are of the weights as they are written, loaded back, computed in float32. The card's numbers are those of
`results.json`, which is written beside the weights.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification
from fastast_hf.complexity import complexity
from fastast_hf.corpora import Corpus, label_names, load_corpus
from fastast_hf.runs import RESULTS
from fastast_hf.sweep import predict

R_VALUES = (0, 4, 8, 12, 16, 20, 25, 30, 35, 40)
BATCH = 64

CARD = """---
pipeline_tag: audio-classification
library_name: transformers
license: cc-by-4.0
tags: [audio-spectrogram-transformer, token-merging, fastast]
---
# FastAST, tiny, ten spoken commands

{parameters:.1f} million parameters, {frames} frames (1.28 s), 16 kHz mono. Labels: {commands}; `_unknown_` for any
other word and `_silence_` for noise. It comes with the package so that `fastast classify` works at once; it is a
demonstration, not a product: it was trained on few recordings and is often wrong.

**Training data.** {recordings} one-second recordings of Speech Commands V2's test set (Warden 2018, CC BY 4.0), of
other speakers than the validation and test lists, and words spoken by espeak-ng and flite
(`training/synthesise_words.py`): {words}. **Recipe.** `training/recipes/speech_commands_tiny.sh`: from random weights,
`tome_r` drawn at random at each step, so that one checkpoint serves many r.{distillation}

**Accuracy** at each r on {validation} validation and {testing} test clips, with the 95 % interval (Wilson) of the test
score. The weights are the last epoch's. Measured by `training/bundle_checkpoint.py` in float32; from `results.json`.

| tome_r | tokens at the end | MACs | validation | test | 95 % |
|---|---|---|---|---|---|
{table}

The default is `tome_r = {default}`. Front end: log-mel, mean {mean:.4f}, std {std:.4f}, padded to {frames} frames.
"""


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` trials (Wilson 1927)."""
    z = 1.96
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return centre - half, centre + half


def measure(
    model: FastASTForAudioClassification, extractor: FastASTFeatureExtractor, corpus: Corpus
) -> list[dict[str, Any]]:
    """A row for each r: tokens, MACs, and accuracy on both lists."""
    rows = []
    for tome_r in R_VALUES:
        cost = complexity(model.config, tome_r)
        row: dict[str, Any] = {"tome_r": tome_r, "tokens_out": cost.tokens_out, "macs": cost.macs}
        for split in ("validation", "test"):
            predicted = predict(model, extractor, corpus, split, tome_r, batch_size=BATCH)
            right = predicted.logits.argmax(axis=1) == predicted.targets.argmax(axis=1)
            row[f"{split}_accuracy"] = float(right.mean())
        row["test_interval"] = wilson_interval(row["test_accuracy"], len(corpus["test"]))
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


DISTILLATION = """

**Distillation.** The last stage learns from a teacher (CMKD; λ = {lam}, τ = {tau}): a {backbone} from ImageNet,
fine-tuned on the same training recordings, which is right on {accuracy:.1%} of the test clips."""


def of_teacher(run: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What a card says of the teacher, from its own results file."""
    results = json.loads((run / RESULTS).read_text())
    return {
        "backbone": json.loads((run / "config.json").read_text())["backbone"],
        "accuracy": results["test"]["last"]["accuracy"],
        "lam": settings["lam"],
        "tau": settings["tau"],
    }


def card(results: dict[str, Any], extractor: FastASTFeatureExtractor) -> str:
    """The model card, every number from `results`."""
    lines = []
    for row in results["rows"]:
        low, high = row["test_interval"]
        lines.append(
            f"| {row['tome_r']} | {row['tokens_out']} | {row['macs'] / 1e6:.0f} M | {row['validation_accuracy']:.1%} "
            f"| {row['test_accuracy']:.1%} | {low:.1%} to {high:.1%} |"
        )
    return CARD.format(
        parameters=results["parameters"] / 1e6,
        frames=extractor.max_length,
        commands=", ".join(name for name in results["labels"] if not name.startswith("_")),
        table="\n".join(lines),
        default=results["default_tome_r"],
        mean=extractor.mean,
        std=extractor.std,
        recordings=results["clips"]["stages"][-1]["train"],
        words=", then ".join(str(stage["extra"]) for stage in results["clips"]["stages"]),
        validation=results["clips"]["validation"],
        testing=results["clips"]["test"],
        distillation=DISTILLATION.format(**results["teacher"]) if results["teacher"] else "",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Load, halve, save, load back, measure, describe."""
    parser = argparse.ArgumentParser(description="make the bundled checkpoint of a training run")
    parser.add_argument(
        "runs", nargs="+", type=Path, help="outputs of run_finetune.py, stage by stage; the last counts"
    )
    parser.add_argument("--data", required=True, type=Path, help="Speech Commands folder with both lists")
    parser.add_argument("--teacher", type=Path, help="output of run_teacher.py that the last stage learnt from")
    parser.add_argument("--tome-r", type=int, default=12, help="the checkpoint's own r")
    default = Path(__file__).parents[1] / "fastast_hf" / "checkpoints" / "speech-commands-tiny"
    parser.add_argument("--output", type=Path, default=default)
    args = parser.parse_args(argv)
    try:
        runs = [json.loads((run / RESULTS).read_text()) for run in args.runs]
        distilled = bool(runs[-1]["settings"].get("teacher"))
        if distilled != (args.teacher is not None):
            raise ValueError(
                "a teacher belongs to a last stage that was distilled: give --teacher with it, and only then"
            )
        teacher = of_teacher(args.teacher, runs[-1]["settings"]) if distilled else None
        model = FastASTForAudioClassification.from_pretrained(args.runs[-1], tome_r=args.tome_r, dtype=torch.float32)
        extractor = FastASTFeatureExtractor.from_pretrained(args.runs[-1])
        corpus = load_corpus("speech_commands", args.data, classes=12)
    except (OSError, ValueError) as error:
        print(f"bundle_checkpoint.py: {error}", file=sys.stderr)
        return 2
    model.half().save_pretrained(args.output)
    extractor.save_pretrained(args.output)
    # Half precision is how the weights are kept; the model computes in float32 unless it is told otherwise.
    config_file = args.output / "config.json"
    config_file.write_text(json.dumps(json.loads(config_file.read_text()) | {"dtype": "float32"}, indent=2) + "\n")
    model = FastASTForAudioClassification.from_pretrained(args.output).eval()
    results = {
        "command": "training/bundle_checkpoint.py",
        "default_tome_r": args.tome_r,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": str(model.dtype),
        "attention": model.config._attn_implementation,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": platform.machine(),
        "labels": label_names(corpus),
        "teacher": teacher,
        "clips": {"stages": [run["clips"] for run in runs]}
        | {split: len(corpus[split]) for split in ("validation", "test")},
        "rows": measure(model, extractor, corpus),
    }
    (args.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (args.output / "README.md").write_text(card(results, extractor))
    return 0


if __name__ == "__main__":
    sys.exit(main())
