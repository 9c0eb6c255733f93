"""The figures of a report, which scikit-learn and scipy compute from targets and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    precision_recall_fscore_support,
)

from ..metrics import bootstrap_interval, resampled_accuracy, resampled_mean_average_precision

BINS = 15  # of the reliability diagram, equally wide (Guo et al. 2017)
UNTUNED = 0.5  # the threshold of a class for which none was tuned

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """The clips of a split with what is true of them and what a model gives them.

    Attributes:
        targets: (N, C) bool, the true labels.
        scores: (N, C), from 0 to 1.
        given: (N, C) bool: the best label of each clip or, where clips have any number of labels, those whose score
            reaches their threshold.
        labels: Of the C classes.
        thresholds: (C,), where clips have any number of labels; else None.
    """

    targets: NDArray[np.bool_]
    scores: Floats
    given: NDArray[np.bool_]
    labels: Sequence[str]
    thresholds: Floats | None

    @property
    def wrong(self) -> NDArray[np.intp]:
        """Clips that do not get exactly their labels, the surest mistakes first.

        Those are the highest scores of wrong labels and, where clips have any number of labels, the lowest of missed
        ones.
        """
        mistakes = self.targets != self.given
        counted = mistakes if self.thresholds is not None else mistakes & self.given
        size = np.where(counted, np.abs(self.targets - self.scores), 0.0).max(axis=1)
        clips = np.flatnonzero(mistakes.any(axis=1))
        return clips[np.argsort(-size[clips], kind="stable")]


def scored(
    y_true: ArrayLike, scores: ArrayLike, labels: Sequence[str], thresholds: Sequence[float] | None = None
) -> Scored:
    """Check targets and scores, and decide on the labels that are given.

    Args:
        y_true: (N,) class ids, or (N, C) of 0 and 1 where clips have any number of labels.
        scores: (N, C), from 0 to 1.
        labels: Of the C classes.
        thresholds: (C,) the score that gives a label, where clips have any number of them; None for 0.5.

    Raises:
        ValueError: The shapes do not match, there are no clips, or a score is no share.

    Example:
        >>> scored([1, 0], [[0.2, 0.8], [0.4, 0.6]], ["dog", "rain"]).wrong
        array([1])
    """
    targets, shares = np.asarray(y_true), np.asarray(scores, dtype=np.float64)
    multi_label, count = targets.ndim == 2, len(labels)
    if shares.ndim != 2 or shares.shape != (len(targets), count) or not len(targets):
        raise ValueError(
            f"got targets of shape {targets.shape}, scores of shape {shares.shape} and {count} labels: give scores as "
            "(clips, labels) and targets as (clips,) class ids, or as (clips, labels) of 0 and 1"
        )
    if not ((shares >= 0) & (shares <= 1)).all():  # NaN is neither
        raise ValueError("a score is not from 0 to 1: give what softmax or sigmoid makes of logits")
    if multi_label:
        if not np.isin(targets, (0, 1)).all() or targets.shape != shares.shape:
            raise ValueError("a target is neither 0 nor 1, or they are not as many as the scores: one for each label")
        own = np.full(count, UNTUNED) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
        return Scored(targets.astype(bool), shares, shares >= own, labels, own)
    if not np.isin(targets, range(count)).all():
        raise ValueError(f"a class id is not one of 0 to {count - 1}: give the index of each clip's label")
    one_hot = np.eye(count, dtype=bool)
    return Scored(one_hot[targets.astype(int)], shares, one_hot[shares.argmax(axis=1)], labels, None)


@dataclass(frozen=True)
class ClassFigures:
    """A class: its clips, and shares of 1. What can't be told for want of clips is None.

    `recall_low` and `recall_high` are the 95 % interval of the recall (Wilson's).
    """

    label: str
    clips: int
    precision: float | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    f1: float | None
    average_precision: float | None
    threshold: float | None


def class_figures(of: Scored) -> list[ClassFigures]:
    """Every class, in the order of the labels."""
    precision, recall, f1, clips = precision_recall_fscore_support(of.targets, of.given, zero_division=np.nan)
    figures = []
    for index, label in enumerate(of.labels):
        there = int(clips[index])
        hits = int((of.targets & of.given)[:, index].sum())
        interval = binomtest(hits, there).proportion_ci(method="wilson") if there else (None, None)
        ranked = average_precision_score(of.targets[:, index], of.scores[:, index]) if there else np.nan
        shares = [None if np.isnan(s) else float(s) for s in (precision[index], recall[index], f1[index], ranked)]
        threshold = None if of.thresholds is None else float(of.thresholds[index])
        low, high = (None if bound is None else float(bound) for bound in interval)
        figures.append(ClassFigures(label, there, shares[0], shares[1], low, high, shares[2], shares[3], threshold))
    return figures


def headline(of: Scored) -> dict[str, tuple[float, float, float]]:
    """Accuracy, or mean average precision where clips have any number of labels, with its 95 % bootstrap interval."""
    if of.thresholds is None:
        name, resampled = "accuracy", resampled_accuracy((of.targets & of.given).any(axis=1).astype(np.int64))
    elif not of.targets.any():
        return {}
    else:
        name, resampled = "mAP", resampled_mean_average_precision(of.scores, of.targets)
    value = float(resampled(np.ones((1, len(of.targets)), np.float32))[0])
    low, high = bootstrap_interval(resampled, len(of.targets), centred=name == "mAP")
    return {name: (value, max(low, 0.0), min(high, 1.0))}


def confusions(of: Scored) -> NDArray[np.int64]:
    """(C, C): how many clips of the label of a row were given the label of a column.

    Where clips have any number of labels: in how many the label of a row was missed and that of a column was wrong.
    """
    if of.thresholds is None:
        return confusion_matrix(of.targets.argmax(axis=1), of.given.argmax(axis=1), labels=range(len(of.labels)))
    return (of.targets & ~of.given).T.astype(np.int64) @ (of.given & ~of.targets).astype(np.int64)


def together(counts: NDArray[np.int64]) -> list[int]:
    """An order of the classes in which those that are confused stand together (by average linkage)."""
    if len(counts) < 3:
        return list(range(len(counts)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    distance = 1 - np.clip(shares + shares.T, 0, 1)
    np.fill_diagonal(distance, 0)
    condensed = squareform(distance, checks=False)
    return [int(leaf) for leaf in leaves_list(optimal_leaf_ordering(linkage(condensed, "average"), condensed))]


def worst_pairs(counts: NDArray[np.int64], labels: Sequence[str], most: int = 20) -> list[tuple[str, str, int]]:
    """The pairs of labels that are confused most often: true, given, and how many clips."""
    off = counts - np.diag(np.diag(counts))
    worst = np.argsort(-off, axis=None, kind="stable")[:most]
    pairs = [(index // len(labels), index % len(labels)) for index in worst.tolist()]
    return [(labels[row], labels[column], int(off[row, column])) for row, column in pairs if off[row, column]]


@dataclass(frozen=True)
class Reliability:
    """Decisions by how sure they were, in the bins that hold any, and the expected calibration error.

    Attributes:
        sure: Mean score in each bin.
        right: Share of them that is right.
        counts: Decisions in each bin.
        error: Mean distance of the two, weighted by the counts (Guo et al. 2017, §2).
    """

    sure: Floats
    right: Floats
    counts: NDArray[np.int64]
    error: float


def reliability(of: Scored) -> Reliability:
    """Of the best label of each clip or, where clips have any number of labels, of every label of each clip."""
    if of.thresholds is None:
        sure, right = of.scores.max(axis=1), (of.targets & of.given).any(axis=1)
    else:
        sure, right = of.scores.ravel(), of.targets.ravel()
    share, mean = calibration_curve(right, sure, n_bins=BINS, pos_label=True)
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], sure), minlength=BINS)
    counts = counts[counts > 0]
    return Reliability(mean, share, counts, float(np.average(np.abs(share - mean), weights=counts)))


def best_thresholds(targets: ArrayLike, scores: ArrayLike) -> list[float]:
    """The threshold of each class with the best F1, half way to the next lower score.

    A class without clips, or in every clip, keeps 0.5.

    Args:
        targets: (N, C) of 0 and 1.
        scores: (N, C), from 0 to 1.

    Example:
        >>> best_thresholds([[1, 0], [1, 0], [0, 0]], [[0.9, 0.5], [0.3, 0.2], [0.1, 0.1]])
        [0.2, 0.5]
    """
    thresholds = []
    for own, shares in zip(np.asarray(targets, dtype=bool).T, np.asarray(scores, dtype=np.float64).T, strict=True):
        if own.all() or not own.any():
            thresholds.append(UNTUNED)
            continue
        precision, recall, places = precision_recall_curve(own, shares)
        f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
        best = int(f1[:-1].argmax())  # the last point is that of no threshold
        below = shares[shares < places[best]]
        thresholds.append(float((places[best] + below.max(initial=0.0)) / 2))
    return thresholds
