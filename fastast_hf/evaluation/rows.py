"""The rows of the paper's two tables: what merging costs (Table 1), and ways of training compared (Table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..metrics import (
    bootstrap_interval,
    paired_difference_interval,
    resampled_accuracy,
    resampled_mean_average_precision,
)
from ..metrics.bootstrap import ResampledScore
from .sweep import Cell

INFERENCE, TRAINED, RANDOM = "Inf", "Train+Inf", "random r"
ACCURACY, MEAN_AVERAGE_PRECISION = "accuracy", "mean_average_precision"


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """A method's score at one r. Scores and intervals are shares, of 1.

    Attributes:
        method: Of Table 1: `"Inf"`, one checkpoint that merges only at inference; `"Train+Inf"`, a checkpoint trained
            at each r; `"random r"`, one checkpoint trained with r drawn at random. Of Table 2, a name of one's own.
        schedule: How r is spread over the layers.
        tome_r: Tokens merged in every layer.
        tokens_in: Entering the first layer.
        tokens_out: Left after the last.
        gmacs: 10^9 multiply-accumulates for a clip.
        mac_ratio: Those of r = 0 over these.
        metric: accuracy, or mean_average_precision.
        score: Over the clips of all folds together.
        low: Of the score's 95 % bootstrap interval over clips.
        high: Of the same.
        change: The score less that of the method "Inf" (else the first) at r = 0; of Table 2, less that of the same
            method at r = 0 (the paper's column "Drop"). None for that row itself.
        change_low: Of the change's 95 % interval, on the same clips; None where not the same clips could be read.
        change_high: Of the same.
        gain: Of Table 2, the score less that of the first method at the same r; None for the first method itself.
        gain_low: Of the gain's 95 % interval, on the same clips.
        gain_high: Of the same.
        clips: Scored.
        unreadable: Left out because they could not be read.
        samples_per_sec: Clips a second, from waveform to logits.
        weights: The digests of the weights that were scored, one for each fold that has its own checkpoint.
    """

    method: str
    schedule: str
    tome_r: int
    tokens_in: int
    tokens_out: int
    gmacs: float
    mac_ratio: float
    metric: str
    score: float
    low: float
    high: float
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    clips: int
    unreadable: int
    samples_per_sec: float | None = None
    weights: tuple[str, ...] = ()


def merging_rows(cells: Sequence[Cell], multi_label: bool) -> list[SweepRow]:
    """Table 1: the corpus' metric of each cell, and its change from the method "Inf" (else the first) at r = 0."""
    metric = MEAN_AVERAGE_PRECISION if multi_label else ACCURACY
    start = next((cell for cell in cells if cell.method.name == INFERENCE and cell.tome_r == 0), cells[0])
    return [_row(cell, metric, start, cell) for cell in cells]


def comparison_rows(cells: Sequence[Cell]) -> list[SweepRow]:
    """Table 2: accuracy and mean average precision of each cell, their change from r = 0 and gain on the first.

    Accuracy counts a clip as right whose best-scored class is one of its own, mean average precision is over classes
    (macro), and both are of the clips of all folds together: for a corpus of one label for each clip as for AudioSet.
    The paper does not say what its "Acc" is.

    Raises:
        ValueError: A method is not scored at r = 0, from which its change is told.
    """
    by_place = {(cell.method, cell.schedule if cell.tome_r else "", cell.tome_r): cell for cell in cells}
    rows = []
    for cell in cells:
        if (cell.method, "", 0) not in by_place:
            raise ValueError("the change of a score is told from r = 0: put 0 among the values of r")
        first = by_place[cells[0].method, cell.schedule if cell.tome_r else "", cell.tome_r]
        rows += [
            _row(cell, metric, by_place[cell.method, "", 0], first) for metric in (ACCURACY, MEAN_AVERAGE_PRECISION)
        ]
    return rows


def _row(cell: Cell, metric: str, start: Cell, first: Cell) -> SweepRow:
    """A cell by one metric, with its change from `start` and its gain on `first`, where these are other cells."""
    resampled, count = resampled_score(cell, metric), len(cell.predictions.logits)
    low, high = bootstrap_interval(resampled, count, centred=metric == MEAN_AVERAGE_PRECISION)
    change, change_low, change_high = _difference(cell, start, metric)
    gain, gain_low, gain_high = _difference(cell, first, metric)
    return SweepRow(
        method=cell.method.name,
        schedule=cell.schedule,
        tome_r=cell.tome_r,
        tokens_in=cell.cost.layers[0].tokens_in,
        tokens_out=cell.cost.tokens_out,
        gmacs=cell.cost.macs / 1e9,
        mac_ratio=cell.cost.speedup,
        metric=metric,
        score=_score(resampled, count),
        low=max(low, 0.0),
        high=min(high, 1.0),
        change=change,
        change_low=change_low,
        change_high=change_high,
        gain=gain,
        gain_low=gain_low,
        gain_high=gain_high,
        clips=count,
        unreadable=cell.predictions.unreadable,
        weights=cell.weights,
    )


def _difference(cell: Cell, other: Cell, metric: str) -> tuple[float | None, float | None, float | None]:
    """By how much a cell's score is above another's, with its interval."""
    if cell is other:
        return None, None, None
    counts = [len(one.predictions.logits) for one in (cell, other)]
    own, others = resampled_score(cell, metric), resampled_score(other, metric)
    difference = _score(own, counts[0]) - _score(others, counts[1])
    if counts[0] != counts[1]:
        return difference, None, None
    return difference, *paired_difference_interval(own, others, counts[0])


def _score(resampled: ResampledScore, count: int) -> float:
    """Each clip counted once."""
    return float(resampled(np.ones((1, count), dtype=np.float32))[0])


def resampled_score(cell: Cell, metric: str) -> ResampledScore:
    """A metric of a cell as a function of how often each clip is counted."""
    logits, targets = cell.predictions.logits.astype(np.float64), cell.predictions.targets
    if metric == ACCURACY:
        best = np.take_along_axis(targets, logits.argmax(axis=1, keepdims=True), axis=1)[:, 0]
        return resampled_accuracy((best > 0).astype(np.int64))
    # Average precision ranks clips by the score of one class: a softmax is part of that score, while a sigmoid keeps
    # the order of its logits.
    scores = torch.from_numpy(logits).log_softmax(dim=1).numpy() if cell.softmax else logits
    return resampled_mean_average_precision(scores, targets)
