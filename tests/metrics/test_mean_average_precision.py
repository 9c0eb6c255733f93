"""Macro mean average precision: against scikit-learn, a ranking worked out by hand, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fastast_hf.metrics.mean_average_precision import mean_average_precision

NAN, INFINITE = float("nan"), float("inf")
# One class, ranked + - + + -: precision 1/1 at the first positive, 2/3 at the second, 3/4 at the third.
RANKED = ([[5.0], [4.0], [3.0], [2.0], [1.0]], [[1], [0], [1], [1], [0]], (1 + 2 / 3 + 3 / 4) / 3)
# The second and third clip have one score and so one threshold: 2 of 3 are right there, for the second positive.
TIED = ([[5.0], [4.0], [4.0], [2.0]], [[1], [0], [1], [0]], (1 + 2 / 3) / 2)
WRONG = [
    ([[0.5, 0.1]], [[1]], r"scores of shape \(1, 2\) and targets of shape \(1, 1\)"),
    ([0.5, 0.1], [1, 0], r"shape \(2,\).*\(clips, classes\)"),
    ([[0.5, 0.1], [0.2]], [[1, 0], [1, 0]], "different lengths"),
    ([[NAN, 0.1], [0.2, 0.3]], [[1, 0], [0, 1]], "1 of 2 clips are NaN or infinite"),
    ([[INFINITE, 0.1], [0.2, NAN]], [[1, 0], [0, 1]], "2 of 2 clips are NaN or infinite"),
    ([[0.1], [0.2]], [[1], [0.5]], "a target is 0.5"),
    ([[0.1], [0.2]], [[1], [-100]], "a target is -100"),
    ([[0.1, 0.2], [0.3, 0.4]], [[0, 0], [0, 0]], "none of 2 classes has a positive clip among 2"),
]


@pytest.mark.parametrize("decimals", [15, 1])
def test_the_mean_is_that_of_scikit_learn_over_classes_with_positives(decimals: int) -> None:
    generator = np.random.default_rng(decimals)
    targets = generator.random((300, 12)) < 0.1
    targets[:, [2, 7]] = False
    targets[:, 4] = True
    scores = (generator.normal(size=targets.shape) + targets).round(decimals)
    scored = [column for column in range(12) if column not in (2, 7)]
    wanted = average_precision_score(targets[:, scored], scores[:, scored], average="macro")
    result = mean_average_precision(scores, targets.astype(np.float32))
    assert result["mean_average_precision"] == pytest.approx(wanted, rel=1e-12)
    assert (result["classes"], result["classes_without_positives"]) == (10, 2)


@pytest.mark.parametrize(("scores", "targets", "wanted"), [RANKED, TIED])
def test_one_class_worked_out_by_hand(scores: list, targets: Any, wanted: float) -> None:
    assert mean_average_precision(scores, targets)["mean_average_precision"] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("predictions", "references", "message"), WRONG)
def test_what_cannot_be_scored_is_refused_in_one_line(predictions: Any, references: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        mean_average_precision(predictions, references)
    assert "\n" not in str(error.value)
