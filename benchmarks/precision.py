"""Score checkpoints in float32, bfloat16 and int8, and by each preset, on the same test clips of a corpus.

    python benchmarks/precision.py esc50 --data ESC-50 --model runs/mine       # a folder of fold-1 …, or one model
    python benchmarks/precision.py speech_commands --classes 12 --data speech_commands_v0.02

Without --model it is the bundled checkpoint. Differences are from float32 without merging, over the same clips, with
95 % bootstrap intervals; *moved* is how far logits are from float32's with the same merging, *changed* how many clips
have another first label than there.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from writing import write_rows

from fastast_hf import FastASTFeatureExtractor
from fastast_hf.cli.corpus_options import add_corpus_options, corpus_arguments
from fastast_hf.cli.tables import format_table
from fastast_hf.int8 import int8_works, to_int8
from fastast_hf.loading import load_classifier
from fastast_hf.metrics.bootstrap import paired_difference_interval, resampled_accuracy
from fastast_hf.presets import PRESETS, merges_of_share
from fastast_hf.sweep import Method, predict
from fastast_hf.tagging import BUNDLED_CHECKPOINT

RESULTS = Path(__file__).parent / "results" / "precision"
DTYPES = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Row:
    """One dtype at one r, on the test clips of all folds."""

    merging: str
    dtype: str
    clips: int
    accuracy: float
    difference: float
    interval: tuple[float, float]
    changed: int
    moved_mean: float
    moved_most: float


@dataclass(frozen=True)
class Scored:
    """Logits and targets (N, classes) of the test clips, and which are right."""

    logits: np.ndarray
    targets: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """(N,)."""
        return self.logits.argmax(axis=1) == self.targets.argmax(axis=1)


def merging_named(config: Any) -> dict[str, list[int]]:
    """What is compared: no merging, the checkpoint's own, and what each preset merges."""
    found = {"none": [0] * config.num_hidden_layers}
    if any(config.merges_per_layer()):
        found["the checkpoint's own"] = config.merges_per_layer()
    for name, preset in PRESETS.items():
        if preset.merged:
            found[f"as {name}"] = merges_of_share(config, preset.merged, config.max_length)
    return found


def in_dtype(model: Any, dtype: str) -> Any:
    """A model that computes in a dtype; the one given stays as it is."""
    if dtype == "int8":
        return to_int8(model)
    return copy.deepcopy(model).to(getattr(torch, dtype))


def folds_of(settings: Any, folder: str) -> list[int | None]:
    """Those of the corpus, and of a folder of fold-1 … those that it holds."""
    held = [fold for fold in settings.folds() if (Path(folder) / f"fold-{fold}").is_dir()]
    return held or settings.folds()


def scored(settings: Any, folder: str, split: str) -> dict[tuple[str, str], Scored]:
    """By merging and dtype, over all folds."""
    parts: dict[tuple[str, str], list[Any]] = {}
    for fold in folds_of(settings, folder):
        checkpoint = Method("", folder).folder(0, "", fold)
        model = load_classifier(checkpoint).eval()
        extractor = FastASTFeatureExtractor.from_pretrained(checkpoint)
        corpus = settings.load(fold, checkpoint)
        for dtype in DTYPES if int8_works() else DTYPES[:-1]:
            own = in_dtype(model, dtype)
            for merging, merges in merging_named(model.config).items():
                parts.setdefault((merging, dtype), []).append(predict(own, extractor, corpus, split, merges))
    return {
        key: Scored(np.concatenate([part.logits for part in own]), np.concatenate([part.targets for part in own]))
        for key, own in parts.items()
    }


def rows_of(results: dict[tuple[str, str], Scored]) -> list[Row]:
    """Each beside float32 without merging, and moved and changed beside float32 with the same merging."""
    plain = results["none", "float32"]
    rows = []
    for (merging, dtype), own in sorted(
        results.items(), key=lambda item: list(results).index((item[0][0], "float32"))
    ):
        reference = results[merging, "float32"]
        resampled = resampled_accuracy(own.correct), resampled_accuracy(plain.correct)
        moved = np.abs(own.logits - reference.logits)
        rows.append(
            Row(
                merging=merging,
                dtype=dtype,
                clips=len(own.logits),
                accuracy=float(own.correct.mean()),
                difference=float(own.correct.mean() - plain.correct.mean()),
                interval=paired_difference_interval(*resampled, len(own.logits)),
                changed=int((own.logits.argmax(axis=1) != reference.logits.argmax(axis=1)).sum()),
                moved_mean=float(moved.mean()),
                moved_most=float(moved.max()),
            )
        )
    return rows


def table(rows: list[Row]) -> str:
    """A line per merging and dtype, accuracies in percent."""
    header = ["merging", "dtype", "accuracy", "difference", "changed", "moved, mean", "most"]
    lines = [
        [
            row.merging,
            row.dtype,
            f"{100 * row.accuracy:.1f}",
            f"{100 * row.difference:+.1f} ({100 * row.interval[0]:+.1f} to {100 * row.interval[1]:+.1f})",
            str(row.changed),
            f"{row.moved_mean:.3f}",
            f"{row.moved_most:.2f}",
        ]
        for row in rows
    ]
    return format_table(header, lines, align="llrrrrr")


def main() -> None:
    """Score, print, and write as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_corpus_options(parser)
    parser.add_argument("--model", default=str(BUNDLED_CHECKPOINT), metavar="ID", help="(default: the bundled one)")
    parser.add_argument("--split", default="test", help="train, validation or test (default: test)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args()
    settings = corpus_arguments(args)
    rows = rows_of(scored(settings, args.model, args.split))
    print(f"{rows[0].clips} clips\n\n{table(rows)}")
    file = args.output / f"{args.corpus}-{Path(args.model).name}.json"
    folds = [fold for fold in folds_of(settings, args.model) if fold is not None]
    write_rows(file, rows, corpus=args.corpus, split=args.split, folds=folds, model=Path(args.model).name)
    print(file)


if __name__ == "__main__":
    main()
