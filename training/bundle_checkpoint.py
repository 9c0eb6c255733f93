"""Make the package's own checkpoint of a training run: fp16 weights, its scores at every r, and its card.

    python training/bundle_checkpoint.py RUN_DIR … --data speech_commands [--teacher RUN_DIR]

Scores are of the weights as they are written, loaded back, computed in float32. All numbers of the card are those of
the results files that are written beside the weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification
from fastast_hf.cli.main import main as fastast
from fastast_hf.errors import one_line_errors
from fastast_hf.hub.belonging import CARD
from fastast_hf.hub.card import write_card
from fastast_hf.hub.facts import TABLES
from fastast_hf.training.arguments import CORPORA_OF
from fastast_hf.training.results import RESULTS, write_json

R_VALUES = (0, 4, 8, 12, 16, 20, 25, 30, 35, 40)
# What the card says besides what is generated.
ABOUT = """# FastAST, tiny, ten spoken commands

It comes with the package, so that `fastast classify` works at once. It knows ten spoken commands; `_unknown_` is
any other word and `_silence_` is noise. It is a demonstration, not a product: it was trained on few recordings and is
often wrong.

All recordings are from the archive of Speech Commands V2's test set (Warden, CC BY 4.0). They are split by speaker:
nobody speaks in both a training clip and a test clip. The synthetic words were spoken by espeak-ng and flite
(`training/synthesise_words.py`). `training/recipes/speech_commands_tiny.sh` makes the whole checkpoint.
"""
# What the folders of a run are, for who reads its results elsewhere.
STAGE_BEFORE, WORDS = "the weights of the stage before", "synthesised words"
TEACHER = "a CNN trained on the same recordings"


def training_results(runs: Sequence[Path], teacher: Path | None) -> dict[str, Any]:
    """Results of the last stage, with what a card needs of those before it and of the teacher.

    Raises:
        OSError: A run has no results.
        ValueError: A teacher without a distilled stage, or the other way round.
    """
    stages = [json.loads((run / RESULTS).read_text()) for run in runs]
    distilled = bool(stages[-1]["settings"].get("teacher"))
    if distilled != (teacher is not None):
        raise ValueError("a teacher belongs to a last stage that was distilled: give --teacher with it, and only then")
    before = [{"clips": stage["clips"]} for stage in stages[:-1]]
    results = {**stages[-1], "earlier_stages": before}
    results.pop("weights", None)  # which it was scored with: these are rounded
    if teacher is not None:
        backbone = json.loads((teacher / "config.json").read_text())["backbone"]
        results["teacher"] = {"backbone": backbone, **json.loads((teacher / RESULTS).read_text())["test"]["last"]}
    return described(results)


def described(results: dict[str, Any]) -> dict[str, Any]:
    """A run's results with what its folders were instead of their names, and without settings of other corpora."""
    settings = results["settings"]
    others = [key for key, corpora in CORPORA_OF.items() if settings["corpus"] not in corpora]
    settings = {key: value for key, value in settings.items() if key not in others}
    before = results.get("earlier_stages", [])
    if before and settings.get("model"):
        settings["model"] = STAGE_BEFORE
    if settings.get("extra_data"):
        settings["extra_data"] = WORDS
    if settings.get("teacher"):
        settings["teacher"] = TEACHER
    return results | {"settings": settings}


@one_line_errors("bundle_checkpoint.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Load, halve, save, measure, describe."""
    parser = argparse.ArgumentParser(description="make the bundled checkpoint of a training run")
    parser.add_argument("runs", nargs="+", type=Path, help="outputs of training, stage by stage; the last counts")
    parser.add_argument("--data", required=True, type=Path, help="Speech Commands folder with both lists")
    parser.add_argument("--teacher", type=Path, help="output of run_teacher.py that the last stage learnt from")
    parser.add_argument("--tome-r", type=int, default=12, help="the checkpoint's own r")
    parser.add_argument("--rounds", type=int, default=10, help="of timing; 0 for none")
    default = Path(__file__).parents[1] / "fastast_hf" / "checkpoints" / "speech-commands-tiny"
    parser.add_argument("--output", type=Path, default=default)
    args = parser.parse_args(argv)
    results = training_results(args.runs, args.teacher)
    model = FastASTForAudioClassification.from_pretrained(args.runs[-1], tome_r=args.tome_r, dtype=torch.float32)
    model.half().save_pretrained(args.output)
    FastASTFeatureExtractor.from_pretrained(args.runs[-1]).save_pretrained(args.output)
    for code in args.output.glob("*.py"):
        code.unlink()  # the package itself has it
    # Half precision is how the weights are kept; the model computes in float32 unless it is told otherwise.
    config_file = args.output / "config.json"
    config_file.write_text(json.dumps(json.loads(config_file.read_text()) | {"dtype": "float32"}, indent=2) + "\n")
    write_json(args.output / RESULTS, results)
    if code := measure(args.output, args.data, args.rounds):
        return code
    if not (args.output / CARD).is_file():
        (args.output / CARD).write_text(ABOUT)
    write_card(args.output, license_id="cc-by-4.0")
    return 0


def measure(checkpoint: Path, data: Path, rounds: int) -> int:
    """Have `fastast evaluate` write a table for each list; its exit code."""
    (checkpoint / TABLES).mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        for split, timed in (("validation", 0), ("test", rounds)):
            argv = ["evaluate", "speech_commands", "--classes", "12", "--data", str(data), "--split", split]
            argv += ["--model", str(checkpoint), "--batch-size", "32", "--rounds", str(timed), "--output", folder]
            if code := fastast([*argv, "--r", *map(str, R_VALUES)]):
                return code
            table = json.loads((Path(folder) / f"speech_commands-{split}.json").read_text())
            write_json(checkpoint / TABLES / f"speech_commands-{split}.json", table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
