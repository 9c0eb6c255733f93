"""Score checkpoints in float32, bfloat16 and int8, and the Tagger's presets, on the same test clips of a corpus.

    python benchmarks/precision.py esc50 --data ESC-50 --model runs/mine       # a folder of fold-1 …, or one model
    python benchmarks/precision.py speech_commands --classes 12 --data speech_commands_v0.02

Without --model it is the bundled checkpoint. Dtypes are scored on spectrograms padded to the model's length, and
presets by `Tagger(model, preset=...)` on the clips as they are: its front end, length, dtype and merging. Differences
are from float32 without merging, over the same clips, with 95 % bootstrap intervals; *changed* is how many clips have
another first label than in float32 with the same merging, or, of presets, than by `exact`; *moved* is how far logits
are from float32's with the same merging, as a share of the standard deviation of those over clips and labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from writing import write_rows

from fastast_hf.cli.options import add_corpus_options, corpus_arguments
from fastast_hf.cli.tables import format_table
from fastast_hf.errors import what_to_do
from fastast_hf.evaluation.predictions import predict
from fastast_hf.evaluation.sweep import Method
from fastast_hf.loading.bundled import SPEECH_COMMANDS
from fastast_hf.metrics.bootstrap import paired_difference_interval, resampled_accuracy
from fastast_hf.tagging.int8 import int8_works
from fastast_hf.tagging.presets import PRESETS
from fastast_hf.tagging.tagger import Tagger
from fastast_hf.training.results import check_fold

RESULTS = Path(__file__).parent / "results" / "precision"
DTYPES = ("float32", "bfloat16", "int8")
UNMERGED, OWN = "no merging", "the checkpoint's own r"


@dataclass(frozen=True)
class Row:
    """A model at one r or by a preset, in one dtype, on the test clips of all folds.

    Presets, which give scores instead of logits, have none that could have moved.
    """

    way: str
    dtype: str
    clips: int
    accuracy: float
    difference: float
    interval: tuple[float, float]
    changed: int
    moved_mean: float | None
    moved_most: float | None
    logits_std: float | None
    moved_mean_of_std: float | None
    moved_most_of_std: float | None


@dataclass(frozen=True)
class Scored:
    """Logits and targets (N, classes) of the test clips; whether logits can be compared: of presets, they can't."""

    scores: np.ndarray
    targets: np.ndarray
    are_logits: bool

    @property
    def first(self) -> np.ndarray:
        """(N,) indices of the best-scored class."""
        return self.scores.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """(N,)."""
        return self.first == self.targets.argmax(axis=1)


def tagger_named(name: str) -> str:
    """How the tables call it."""
    return f"Tagger, {name}"


def merging_named(config: Any) -> dict[str, list[int]]:
    """What is compared: no merging, and the checkpoint's own."""
    own = config.merges_per_layer()
    return {UNMERGED: [0] * config.num_hidden_layers} | ({OWN: own} if any(own) else {})


def folds_of(settings: Any, folder: str) -> list[int | None]:
    """Those of the corpus, and of a folder of fold-1 … those that it holds."""
    held = [fold for fold in settings.folds("all") if (Path(folder) / f"fold-{fold}").is_dir()]
    return held or settings.folds("all")


def scored(settings: Any, folder: str, split: str) -> dict[tuple[str, str], Scored]:
    """By way and dtype, over all folds."""
    parts: dict[tuple[str, str], list[Scored]] = {}
    for fold in folds_of(settings, folder):
        checkpoint = Method("", folder).folder(0, "", fold)
        if split == "test":
            check_fold(checkpoint, fold)
        corpus = settings.load(fold, checkpoint)
        if split not in corpus:
            raise ValueError(f"there is no split {split!r} in this corpus: give one of {', '.join(corpus)}")
        for dtype in DTYPES if int8_works() else DTYPES[:-1]:
            tagger = Tagger(checkpoint, dtype=dtype, device="cpu")
            for merging, merges in merging_named(tagger.model.config).items():
                found = predict(tagger, corpus, split, merges)
                parts.setdefault((merging, dtype), []).append(Scored(found.logits, found.targets, are_logits=True))
        for preset in PRESETS:
            tagger = Tagger(checkpoint, preset=preset, device="cpu")
            found, place = predict(tagger, corpus, split), (tagger_named(preset), tagger.dtype_name)
            parts.setdefault(place, []).append(Scored(found.logits, found.targets, are_logits=False))
    return {
        key: Scored(
            np.concatenate([part.scores for part in own]),
            np.concatenate([part.targets for part in own]),
            own[0].are_logits,
        )
        for key, own in parts.items()
    }


def rows_of(results: dict[tuple[str, str], Scored]) -> list[Row]:
    """Each beside float32 without merging, and beside the same in float32, or by the preset `exact`."""
    plain = results[UNMERGED, "float32"]
    ways = list(dict.fromkeys(way for way, _ in results))
    rows = []
    for (way, dtype), own in sorted(results.items(), key=lambda item: ways.index(item[0][0])):
        reference = results[way if own.are_logits else tagger_named("exact"), "float32"]
        resampled = resampled_accuracy(own.correct), resampled_accuracy(plain.correct)
        moved = np.abs(own.scores - reference.scores) if own.are_logits else None
        mean, most = (None, None) if moved is None else (float(moved.mean()), float(moved.max()))
        std = float(reference.scores.std()) if own.are_logits else None
        rows.append(
            Row(
                way=way,
                dtype=dtype,
                clips=len(own.scores),
                accuracy=float(own.correct.mean()),
                difference=float(own.correct.mean() - plain.correct.mean()),
                interval=paired_difference_interval(*resampled, len(own.scores)),
                changed=int((own.first != reference.first).sum()),
                moved_mean=mean,
                moved_most=most,
                logits_std=std,
                moved_mean_of_std=None if mean is None or std is None else mean / std,
                moved_most_of_std=None if most is None or std is None else most / std,
            )
        )
    return rows


def share(of_std: float | None) -> str:
    """As the table has it."""
    return "" if of_std is None else f"{100 * of_std:.2f} %"


def table(rows: list[Row]) -> str:
    """A line per way and dtype, accuracies in percent."""
    header = ["scored", "dtype", "accuracy", "difference", "changed", "moved, mean", "most"]
    lines = [
        [
            row.way,
            row.dtype,
            f"{100 * row.accuracy:.1f}",
            f"{100 * row.difference:+.1f} ({100 * row.interval[0]:+.1f} to {100 * row.interval[1]:+.1f})",
            str(row.changed),
            share(row.moved_mean_of_std),
            share(row.moved_most_of_std),
        ]
        for row in rows
    ]
    return format_table(header, lines, align="llrrrrr")


def main(arguments: Sequence[str] | None = None) -> None:
    """Score, print, and write as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_corpus_options(parser)
    parser.add_argument("--model", default=str(SPEECH_COMMANDS), metavar="ID", help="(default: the bundled one)")
    parser.add_argument("--split", default="test", help="train, validation or test (default: test)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args(arguments)
    try:
        settings = corpus_arguments(args)
        rows = rows_of(scored(settings, args.model, args.split))
    except (ValueError, OSError, ImportError) as error:
        parser.error(what_to_do(error))
    file = args.output / f"{args.corpus}-{Path(args.model).name}.json"
    folds = [fold for fold in folds_of(settings, args.model) if fold is not None]
    of_folds = f" of the folds {', '.join(map(str, folds))}" if folds else ""
    print(f"{rows[0].clips} clips{of_folds}\n\n{table(rows)}")
    write_rows(file, rows, corpus=args.corpus, split=args.split, folds=folds, model=Path(args.model).name)
    print(file)


if __name__ == "__main__":
    main()
