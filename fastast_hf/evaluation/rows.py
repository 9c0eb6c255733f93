"""The rows of the paper's two tables: what merging costs (Table 1), and ways of training compared (Table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
        method: Of Table 1: `"Inf"`, one checkpoint that merges only now; `"Train+Inf"`, a checkpoint trained at each
            r; `"random r"`, one checkpoint trained with r drawn at random.
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
        change: The score less that of the method "Inf" (else the first) at r = 0.
        change_low: Of the change's 95 % interval, on the same clips.
        change_high: Of the same.
        clips: Scored.
        unreadable: Left out because they could not be read.
        front_end_samples_per_sec: Clips a second from waveform to spectrogram.
        model_samples_per_sec: From there to logits.
        samples_per_sec: From waveform to logits.
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
    change: float
    change_low: float
    change_high: float
    clips: int
    unreadable: int
    front_end_samples_per_sec: float | None = None
    model_samples_per_sec: float | None = None
    samples_per_sec: float | None = None
    weights: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ComparisonRow(SweepRow):
    """A row of Table 2, where each method has two of them, one for each metric.

    Attributes:
        change: The score less that of the same method at r = 0, below 0 where the score falls; the paper's
            column "Drop".
        gain: The score less that of the first method at the same r; None for the first method itself.
        gain_low: Of the gain's 95 % interval, on the same clips.
        gain_high: Of the same.
    """

    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None


def merging_rows(cells: Sequence[Cell], multi_label: bool) -> list[SweepRow]:
    """Table 1: the corpus' metric of each cell, and its change from the method "Inf" (else the first) at r = 0."""
    metric = MEAN_AVERAGE_PRECISION if multi_label else ACCURACY
    start = next((cell for cell in cells if cell.method.name == INFERENCE and cell.tome_r == 0), cells[0])
    scored = [_Scored(cell, metric) for cell in cells]
    reference = _Scored(start, metric)
    return [SweepRow(**part.columns(reference)) for part in scored]


def comparison_rows(cells: Sequence[Cell]) -> list[ComparisonRow]:
    """Table 2: accuracy and mean average precision of each cell, their change from r = 0 and gain on the first.

    Accuracy counts a clip as right whose best-scored class is one of its own, mean average precision is over classes
    (macro), and both are of the clips of all folds together: for a corpus of one label for each clip as for AudioSet.
    The paper does not say what its "Acc" is.

    Raises:
        ValueError: A method is not scored at r = 0, from which its change is told.
    """
    by_place = {(cell.method, cell.schedule if cell.tome_r else "", cell.tome_r): cell for cell in cells}
    first = cells[0].method
    rows = []
    for cell in cells:
        start = by_place.get((cell.method, "", 0))
        if start is None:
            raise ValueError("the change of a score is told from r = 0: put 0 among the values of r")
        plain = by_place[first, cell.schedule if cell.tome_r else "", cell.tome_r]
        for metric in (ACCURACY, MEAN_AVERAGE_PRECISION):
            scored = _Scored(cell, metric)
            columns = scored.columns(_Scored(start, metric))
            if cell.method != first:
                gain = scored.difference(_Scored(plain, metric))
                columns |= dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True))
            rows.append(ComparisonRow(**columns))
    return rows


class _Scored:
    """A cell by one metric."""

    def __init__(self, cell: Cell, metric: str) -> None:
        self.cell, self.metric = cell, metric
        self.count = len(cell.predictions.logits)
        self.resampled = resampled_score(cell, metric)
        self.score = float(self.resampled(np.ones((1, self.count), dtype=np.float32))[0])

    def difference(self, reference: _Scored) -> tuple[float, float, float]:
        """The score less another's, with its interval; without where not the same clips could be read."""
        change = self.score - reference.score
        if self.count != reference.count:
            return change, float("nan"), float("nan")
        return change, *paired_difference_interval(self.resampled, reference.resampled, self.count)

    def columns(self, reference: _Scored) -> dict[str, Any]:
        """The fields of a [`SweepRow`]."""
        cell = self.cell
        centred = self.metric == MEAN_AVERAGE_PRECISION
        low, high = bootstrap_interval(self.resampled, self.count, centred=centred)
        change, change_low, change_high = self.difference(reference)
        return {
            "method": cell.method.name,
            "schedule": cell.schedule,
            "tome_r": cell.tome_r,
            "tokens_in": cell.cost.layers[0].tokens_in,
            "tokens_out": cell.cost.tokens_out,
            "gmacs": cell.cost.macs / 1e9,
            "mac_ratio": cell.cost.speedup,
            "metric": self.metric,
            "score": self.score,
            "low": max(low, 0.0),
            "high": min(high, 1.0),
            "change": change,
            "change_low": change_low,
            "change_high": change_high,
            "clips": self.count,
            "unreadable": cell.predictions.unreadable,
            "weights": cell.weights,
        }


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
