"""The figures of a report against plain counting."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fastast_hf.reports.measures import (
    best_thresholds,
    class_figures,
    confusions,
    headline,
    reliability,
    scored,
    together,
    worst_pairs,
)

LABELS = ["dog", "rain", "siren"]
ONE = [0, 0, 1, 1, 1]
SCORES = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6], [0.0, 1.0, 0.0]]
SEVERAL = [[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]]
SHARES = [[0.9, 0.6, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.1], [0.8, 0.3, 0.2]]


def test_classes_have_precision_recall_and_clips_as_counted() -> None:
    dog, rain, siren = class_figures(scored(ONE, SCORES, LABELS))
    assert (dog.clips, dog.precision, dog.recall, dog.f1) == (2, 1.0, 0.5, pytest.approx(2 / 3))
    assert (rain.clips, rain.precision, rain.recall) == (3, pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert rain.recall_low == pytest.approx(0.2077, abs=1e-4) and rain.recall_high == pytest.approx(0.9385, abs=1e-4)
    # No clip of it is there: nothing can be said of its recall.
    assert (siren.clips, siren.precision, siren.recall, siren.recall_low, siren.average_precision) == (
        0, 0.0, None, None, None,
    )  # fmt: skip
    assert dog.threshold is None


def test_labels_are_given_where_scores_reach_their_thresholds() -> None:
    of = scored(SEVERAL, SHARES, LABELS, [0.5, 0.3, 0.5])
    assert of.given.astype(int).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0]]
    assert of.wrong.tolist() == [1, 3, 0]  # dog missed by 0.8, given by 0.8, rain given by 0.6
    dog, rain, siren = class_figures(of)
    assert (dog.precision, dog.recall, dog.threshold) == (0.5, 0.5, 0.5)
    assert rain.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert siren.clips == 0 and siren.average_precision is None
    assert scored(SEVERAL, SHARES, LABELS).given[3].tolist() == [True, False, False]  # at 0.5


def test_the_surest_mistake_is_that_of_the_highest_score() -> None:
    assert scored([0, 0, 1], [[0.0, 0.5, 0.5], [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]], LABELS).wrong.tolist() == [1, 0]


def test_headline_is_accuracy_or_map_with_its_interval() -> None:
    ((name, (value, low, high)),) = headline(scored(ONE, SCORES, LABELS)).items()
    assert name == "accuracy" and value == pytest.approx(0.6) and 0 <= low <= value <= high <= 1
    ((name, (value, _, _)),) = headline(scored(SEVERAL, SHARES, LABELS)).items()
    assert name == "mAP" and value == pytest.approx(np.mean([(1 / 1 + 2 / 3) / 2, (1 / 1 + 2 / 3) / 2]))


def test_confusions_and_their_worst_pairs_are_counted() -> None:
    counts = confusions(scored(ONE, SCORES, LABELS))
    assert counts.tolist() == [[1, 1, 0], [0, 2, 1], [0, 0, 0]]
    assert worst_pairs(counts, LABELS) == [("dog", "rain", 1), ("rain", "siren", 1)]
    missed = confusions(scored([[1, 0, 0]], [[0.1, 0.9, 0.8]], LABELS))
    assert missed.tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]


def test_confused_classes_stand_together() -> None:
    rng = np.random.default_rng(0)
    counts = np.diag(rng.integers(5, 9, size=6))
    for one, other in ((0, 3), (3, 5), (1, 4)):
        counts[one, other] = counts[other, one] = 6
    order = together(counts)
    assert sorted(order) == list(range(6))
    places = {label: order.index(label) for label in order}
    between = [abs(places[a] - places[b]) for a, b in ((0, 3), (3, 5), (1, 4))]
    best = min(sum(abs(p.index(a) - p.index(b)) for a, b in ((0, 3), (3, 5), (1, 4))) for p in permutations(range(6)))
    assert sum(between) == best
    assert together(np.eye(2, dtype=int)) == [0, 1]


def test_calibration_error_is_that_of_a_loop_over_bins() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([1, 1, 1], size=200)
    targets = rng.integers(3, size=200)
    sure, right = shares.max(axis=1), shares.argmax(axis=1) == targets
    error = 0.0
    for number in range(15):
        inside = (sure > number / 15) & (sure <= (number + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    measured = reliability(scored(targets, shares, LABELS))
    assert measured.error == pytest.approx(error)
    assert measured.counts.sum() == 200 and len(measured.counts) == len(measured.sure) == len(measured.right)
    every = reliability(scored(np.eye(3)[targets], shares, LABELS))
    assert every.counts.sum() == 600


def test_no_threshold_has_a_better_f1_than_the_tuned_one() -> None:
    rng = np.random.default_rng(0)
    targets = rng.random((60, 4)) < [0.5, 0.1, 0.0, 1.0]
    shares = np.clip(rng.normal(0.3 + 0.3 * targets, 0.2), 0, 1)
    thresholds = best_thresholds(targets, shares)
    assert thresholds[2:] == [0.5, 0.5]  # never there, always there: nothing to tune
    for column in (0, 1):
        tried = [f1_score(targets[:, column], shares[:, column] >= t, zero_division=0) for t in np.linspace(0, 1, 500)]
        assert f1_score(targets[:, column], shares[:, column] >= thresholds[column]) >= max(tried)
        assert thresholds[column] not in shares[:, column]  # between two scores


@pytest.mark.parametrize(
    ("targets", "shares", "said"),
    [
        ([0, 1], [[0.5, 0.5, 0.0]], "got targets of shape"),
        ([0], [[0.5, 0.5]], "3 labels"),
        ([], np.zeros((0, 3)), "got targets of shape"),
        ([0], [[2.0, -1.0, 0.0]], "not from 0 to 1"),
        ([0], [[np.nan, 0.5, 0.5]], "not from 0 to 1"),
        ([3], [[1.0, 0.0, 0.0]], "not one of 0 to 2"),
        ([[1, 0, 2]], [[1.0, 0.0, 0.0]], "neither 0 nor 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(targets: Any, shares: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        scored(targets, shares, LABELS)
