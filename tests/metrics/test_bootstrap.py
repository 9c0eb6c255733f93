"""Bootstrap intervals: against resampling by hand, scikit-learn's sample weights, and what intervals must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fastast_hf.metrics.bootstrap import (
    bootstrap_interval,
    paired_difference_interval,
    resampled_accuracy,
    resampled_mean_average_precision,
)
from fastast_hf.metrics.mean_average_precision import mean_average_precision

# Rate of positives, decimals of the scores: few and many positives, no ties, some, and nearly nothing else.
CORPORA = [(0.03, 15), (0.4, 15), (0.1, 1), (0.3, 0)]


def corpus(rate: float, decimals: int, clips: int = 120, classes: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Scores and targets, with a class that nobody is of, one that all are of and one with a single clip."""
    generator = np.random.default_rng(decimals)
    targets = generator.random((clips, classes)) < rate
    targets[:, 0], targets[:, 1], targets[:, 2] = False, True, np.arange(clips) == 5
    return (generator.normal(size=targets.shape) + 2 * targets).round(decimals), targets.astype(int)


def accuracy_interval(correct: Any, **settings: Any) -> tuple[float, float]:
    return bootstrap_interval(resampled_accuracy(correct), np.size(correct), **settings)


def mean_average_precision_interval(scores: Any, targets: Any, **settings: Any) -> tuple[float, float]:
    score = resampled_mean_average_precision(scores, targets)
    return bootstrap_interval(score, len(scores), centred=True, **settings)


def counts_of(clips: int, resamples: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    draws = [generator.integers(clips, size=clips) for _ in range(resamples)]
    return np.stack([np.bincount(draw, minlength=clips) for draw in draws])


@pytest.mark.parametrize(("rate", "decimals"), CORPORA)
def test_resampled_mean_average_precision_is_scikit_learns_with_the_counts_as_weights(
    rate: float, decimals: int
) -> None:
    scores, targets = corpus(rate, decimals)
    counts = counts_of(len(scores), 20)
    assert any(not row[5] for row in counts), "the class of one clip was meant to drop out of some resamples"
    wanted = []
    for row in counts:
        scored = [column for column in range(scores.shape[1]) if (targets[:, column] * row).any()]
        wanted.append(
            np.mean([average_precision_score(targets[:, c], scores[:, c], sample_weight=row) for c in scored])
        )
    np.testing.assert_allclose(resampled_mean_average_precision(scores, targets)(counts), wanted, rtol=1e-12)


@pytest.mark.parametrize(("rate", "decimals"), CORPORA)
def test_every_clip_once_is_the_metric_itself(rate: float, decimals: int) -> None:
    scores, targets = corpus(rate, decimals)
    once = resampled_mean_average_precision(scores, targets)(np.ones((1, len(scores))))
    assert once == pytest.approx(mean_average_precision(scores, targets)["mean_average_precision"], rel=1e-12)


# Above, below and at a multiple of the resamples that are scored at once.
@pytest.mark.parametrize("resamples", [1, 32, 70])
def test_the_accuracys_interval_is_that_of_drawing_clips_by_hand(resamples: int) -> None:
    correct = np.random.default_rng(1).random(150) < 0.8
    generator = np.random.default_rng(7)
    accuracies = [correct[generator.integers(150, size=150)].mean() for _ in range(resamples)]
    wanted = np.quantile(accuracies, [0.05, 0.95])
    assert accuracy_interval(correct, resamples=resamples, level=0.9, seed=7) == pytest.approx(wanted, rel=1e-12)


def test_the_mean_average_precisions_interval_is_that_of_drawing_clips_by_hand() -> None:
    scores, targets = corpus(0.2, 15, clips=60, classes=5)
    generator = np.random.default_rng(3)
    values = []
    for _ in range(40):
        index = generator.integers(60, size=60)
        values.append(mean_average_precision(scores[index], targets[index])["mean_average_precision"])
    estimate = mean_average_precision(scores, targets)["mean_average_precision"]
    wanted = np.quantile(values, [0.025, 0.975]) - np.mean(values) + estimate
    assert mean_average_precision_interval(scores, targets, resamples=40, seed=3) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("clips", [100, 1600])
def test_the_accuracys_interval_is_as_wide_as_the_binomials(clips: int) -> None:
    low, high = accuracy_interval(np.arange(clips) % 10 < 8)
    assert low < 0.8 < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / clips), rel=0.1)


def test_the_interval_holds_the_accuracy_of_the_population_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for seed in range(150):
        low, high = accuracy_interval(generator.random(200) < 0.7, resamples=100, level=0.8, seed=seed)
        held += low <= 0.7 <= high
    assert 0.7 < held / 150 < 0.9  # 0.8, give or take three standard deviations


def test_the_mean_average_precisions_interval_holds_it_where_the_resamples_are_all_above() -> None:
    generator = np.random.default_rng(0)
    targets = generator.random((1000, 200)) < 0.004
    scores = generator.normal(size=targets.shape) + 2 * targets
    estimate = mean_average_precision(scores, targets)["mean_average_precision"]
    # A clip that is drawn twice shares its threshold with itself.
    low, high = bootstrap_interval(resampled_mean_average_precision(scores, targets), 1000, resamples=64)
    assert estimate < low
    low, high = mean_average_precision_interval(scores, targets, resamples=64)
    assert 0 <= low < estimate < high <= 1


def test_the_mean_average_precisions_interval_shrinks_with_clips() -> None:
    widths = []
    for clips in (100, 1600):
        scores, targets = corpus(0.2, 15, clips)
        # Without the class of one clip, of which every set has one.
        low, high = mean_average_precision_interval(scores[:, 3:], targets[:, 3:], resamples=200)
        widths.append(high - low)
    assert widths[0] / 6 < widths[1] < widths[0] / 2.5  # a quarter, as the root of 16


def test_a_difference_of_systems_right_on_the_same_clips_is_seen_though_their_intervals_overlap() -> None:
    first = np.arange(400) % 10 < 8
    second = first & (np.arange(400) % 40 > 0)  # wrong on ten clips more
    (low, _), (_, high) = accuracy_interval(first), accuracy_interval(second)
    assert low < high
    difference = paired_difference_interval(resampled_accuracy(first), resampled_accuracy(second), 400)
    assert 0 < difference[0] < 0.025 < difference[1]


def test_a_difference_of_mean_average_precisions_is_that_on_the_same_resamples() -> None:
    scores, targets = corpus(0.2, 15)
    first = resampled_mean_average_precision(scores, targets)
    second = resampled_mean_average_precision(scores + np.random.default_rng(0).normal(size=scores.shape), targets)
    counts, once = counts_of(120, 50, seed=4), np.ones((1, 120))
    values = first(counts) - second(counts)
    wanted = np.quantile(values, [0.025, 0.975]) - values.mean() + first(once) - second(once)
    got = paired_difference_interval(first, second, 120, resamples=50, seed=4)
    assert got == pytest.approx(wanted, rel=1e-9)


def test_resamples_without_any_positive_are_left_out() -> None:
    scores, targets = [[0.9], [0.5], [0.1]], [[0], [1], [0]]
    score = resampled_mean_average_precision(scores, targets)
    assert np.isnan(score(np.array([[2, 0, 1]]))).all()
    low, high = bootstrap_interval(score, 3)
    assert (low, high) == (pytest.approx(1 / 3), 1.0)  # of a resample 2 0 + or 0 0 0 3 and the like


def test_a_seed_gives_one_interval_and_another_another() -> None:
    correct = np.random.default_rng(0).random(500) < 0.6
    assert accuracy_interval(correct, seed=1) == accuracy_interval(correct, seed=1)
    assert accuracy_interval(correct, seed=1, resamples=50) != accuracy_interval(correct, seed=2, resamples=50)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy_interval([]), "0 clips"),
        (lambda: accuracy_interval([1, 0], resamples=0), "0 resamples"),
        (lambda: accuracy_interval([1, 0], level=95), "level 95: give a share between 0 and 1"),
        (lambda: accuracy_interval([2, 0]), "1 where right, 0 where wrong"),
        (lambda: accuracy_interval([[1, 0]]), r"shape \(1, 2\)"),
        (lambda: bootstrap_interval(lambda counts: counts[:, 0] * np.nan, 3), "clips themselves is NaN"),
        (lambda: mean_average_precision_interval([[0.1]], [[0]]), "none of 1 classes has a positive"),
        (lambda: mean_average_precision_interval([[0.1]], [[0, 1]]), r"shape \(1, 1\) and targets of shape \(1, 2\)"),
    ],
)
def test_what_has_no_interval_is_refused_in_one_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
