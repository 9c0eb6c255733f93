"""Accuracy from class ids and from scores, against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from fastast_hf.metrics.accuracy import accuracy

SCORES = [[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [-3.0, -2.0, -1.0], [0.9, 0.0, 0.1]]  # predicts 1, 0 (of a tie), 2, 0
WRONG = [
    ([1, 0, 1], [1, 0], r"shape \(3,\) and references of shape \(2,\)"),
    ([[0.1, 0.9]], [[0, 1]], r"shape \(1, 2\) and references of shape \(1, 2\)"),
    ([], [], r"shape \(0,\)"),
    ([[[1.0]]], [0], r"shape \(1, 1, 1\)"),
    ([[0.1, float("nan")]], [1], "scores are NaN"),
]


def test_class_ids_are_scored_as_scikit_learn_does() -> None:
    predicted, wanted = np.random.default_rng(0).integers(4, size=(2, 200))
    assert accuracy(predicted, wanted) == {"accuracy": accuracy_score(wanted, predicted)}


def test_the_highest_score_is_the_class_and_the_first_of_equal_ones() -> None:
    assert accuracy(SCORES, [1, 0, 2, 0]) == {"accuracy": 1.0}
    assert accuracy(SCORES, [1, 1, 2, 2]) == {"accuracy": 0.5}


@pytest.mark.parametrize(("predictions", "references", "message"), WRONG)
def test_what_cannot_be_scored_is_refused_in_one_line(predictions: Any, references: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        accuracy(predictions, references)
    assert "\n" not in str(error.value)
