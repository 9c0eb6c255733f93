"""Bootstrap intervals of a metric over the clips it was measured on (Efron and Tibshirani 1993, chapter 13).

A resample is told by how often each clip is in it. A metric that takes such counts as weights need not rank the clips
anew for every resample, and systems given the same counts are compared on the same resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from .mean_average_precision import scores_and_targets

# The metric (R,) of resamples given as counts (R, N) float32.
ResampledScore: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float64]]

# Resamples scored at once: so many that the work of numpy's calls is shared, so few that they stay in the cache.
BATCH = 16


def bootstrap_interval(
    score: ResampledScore,
    count: int,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    centred: bool = False,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric over clips.

    Each resample is one `integers(count, size=count)` of numpy's `default_rng(seed)`: calls with the same count and
    seed see the same resamples. Resamples in which the metric is not defined (NaN) are left out.

    Args:
        score: The metric (R,) of resamples given as how often each clip is in them, (R, N).
        count: Number of clips N.
        resamples: How many are drawn.
        level: Share of the resampled metrics that the interval holds.
        seed: Of the draws.
        centred: Shift the interval by the difference between the metric of the clips themselves and the mean of the
            resampled ones. For metrics that resampling moves: a positive clip that is drawn twice shares its
            threshold with itself, which raises average precision, by more than the interval is wide where there are
            hundreds of classes with few positives.

    Returns:
        (low, high).

    Raises:
        ValueError: There are no clips or resamples, the level is not between 0 and 1, or the metric of the clips
            themselves is NaN.

    Example:
        >>> seconds = np.array([1.0, 2.0, 4.0, 5.0])
        >>> low, high = bootstrap_interval(lambda counts: counts @ seconds / 4, 4)
        >>> bool(low < seconds.mean() < high)
        True
    """
    if count < 1 or resamples < 1:
        raise ValueError(f"got {count} clips and {resamples} resamples: a bootstrap needs at least one of each")
    if not 0 < level < 1:
        raise ValueError(f"got level {level}: give a share between 0 and 1, such as 0.95")
    estimate = score(np.ones((1, count), np.float32))
    if np.isnan(estimate).any():
        raise ValueError("the metric of the clips themselves is NaN: it has no interval, check scores and labels")
    generator = np.random.default_rng(seed)
    values = []
    for start in range(0, resamples, BATCH):
        draws = [generator.integers(count, size=count) for _ in range(min(BATCH, resamples - start))]
        values.append(score(np.stack([np.bincount(draw, minlength=count) for draw in draws]).astype(np.float32)))
    resampled = np.concatenate(values)
    shift = float(estimate[0] - np.nanmean(resampled)) if centred else 0.0
    low, high = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low) + shift, float(high) + shift


def resampled_accuracy(correct: ArrayLike) -> ResampledScore:
    """Accuracy as a function of resamples.

    Args:
        correct: (N,) of 0 and 1, whether the class of each clip was predicted.

    Raises:
        ValueError: `correct` has another shape or holds something else.

    Example:
        >>> resampled_accuracy([1, 0, 1])(np.array([[1, 1, 1], [0, 3, 0], [2, 0, 1]]))
        array([0.66666667, 0.        , 1.        ])
    """
    hits = np.asarray(correct)
    if hits.ndim != 1 or not np.isin(hits, (0, 1)).all():
        raise ValueError(f"got an array of shape {hits.shape}: give (clips,) of 1 where right, 0 where wrong")
    hits = hits.astype(np.float64)
    return lambda counts: counts @ hits / counts.sum(axis=1, dtype=np.float64)


def resampled_mean_average_precision(scores: ArrayLike, targets: ArrayLike) -> ResampledScore:
    """Mean average precision as a function of resamples: scikit-learn's with the counts as `sample_weight`.

    Classes without a positive clip in a resample are left out of its mean; where no class has one it is NaN.

    Args:
        scores: (N, C); only their order within a class counts.
        targets: (N, C) of 0 and 1.

    Raises:
        ValueError: No class has a positive clip, or scores and targets are refused by the metric.

    Example:
        >>> score = resampled_mean_average_precision([[0.9], [0.5], [0.1]], [[1], [0], [1]])
        >>> score(np.array([[1, 1, 1], [0, 1, 2]]))
        array([0.83333333, 0.66666667])
    """
    scores, targets = scores_and_targets(scores, targets)
    with_positives = np.flatnonzero(targets.any(axis=0))
    if not with_positives.size:
        raise ValueError(f"none of {targets.shape[1]} classes has a positive clip: check the labels")

    # A class is ranked once and cut into segments, each up to a threshold that admits positives: only there does
    # recall rise. What a resample changes is the number of clips and of positives in each segment.
    ranked, hit, lengths, segments = [], [], [], []
    for column in with_positives:
        order = np.argsort(-scores[:, column])
        sorted_scores, positive = scores[order, column], targets[order, column]
        ends = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True)) + 1  # equal scores share a threshold
        ends = ends[np.diff(np.cumsum(positive)[ends - 1], prepend=0) > 0]
        ranked.append(order[: ends[-1]])
        hit.append(positive[: ends[-1]])
        lengths.append(np.diff(ends, prepend=0))
        segments.append(len(ends))
    bounds = np.append(0, np.cumsum(np.concatenate(lengths)))
    # float32 is exact, for counts below 2²⁴, and twice as fast as float64.
    shape = (len(bounds) - 1, len(scores))
    clips_of = csr_array((np.ones(bounds[-1], np.float32), np.concatenate(ranked), bounds), shape)
    # A copy, for the zeros are taken out of its arrays in place.
    positives_of = csr_array((np.concatenate(hit).astype(np.float32), clips_of.indices, bounds), shape, copy=True)
    positives_of.eliminate_zeros()
    first = np.append(0, np.cumsum(segments[:-1])).astype(int)

    def within_class(values: NDArray[np.float32]) -> NDArray[np.float64]:
        running = np.cumsum(values, axis=0, dtype=np.float64)
        before = np.concatenate([np.zeros_like(running[:1]), running[first[1:] - 1]])
        return running - np.repeat(before, segments, axis=0)

    def score(counts: NDArray[np.float32]) -> NDArray[np.float64]:
        by_clip = np.ascontiguousarray(counts.T, dtype=np.float32)
        positives = positives_of @ by_clip  # (segments, R)
        precision = within_class(positives) / np.maximum(within_class(clips_of @ by_clip), 1)
        totals = np.add.reduceat(positives, first, axis=0)  # (classes, R)
        averages = np.add.reduceat(positives * precision, first, axis=0) / np.maximum(totals, 1)
        present = (totals > 0).sum(axis=0)
        return np.where(present > 0, averages.sum(axis=0) / np.maximum(present, 1), np.nan)

    return score


def paired_difference_interval(
    first: ResampledScore,
    second: ResampledScore,
    count: int,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Centred [`bootstrap_interval`] of the first system's metric less the second's, on the same resamples of clips.

    Narrower than the systems' own intervals suggest where they are right on the same clips: it is this one that says
    whether they differ, when it does not hold 0.

    Args:
        first: Metric of one system, such as [`resampled_accuracy`] of it.
        second: The same metric of the other system, over the same clips in the same order.
        count: Number of clips N.
        resamples: As in [`bootstrap_interval`].
        level: As in [`bootstrap_interval`].
        seed: As in [`bootstrap_interval`].

    Returns:
        (low, high).

    Example:
        >>> right = resampled_accuracy([1] * 90 + [0] * 10)
        >>> paired_difference_interval(right, right, 100)
        (0.0, 0.0)
    """
    return bootstrap_interval(
        lambda counts: first(counts) - second(counts),
        count,
        resamples=resamples,
        level=level,
        seed=seed,
        centred=True,
    )
