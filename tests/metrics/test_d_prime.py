"""ROC-AUC and d': against scikit-learn, AST's published pairs, a class worked out by hand."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fastast_hf.metrics import d_prime as module
from fastast_hf.metrics.d_prime import d_prime

# AST's logs on AudioSet, balanced and full: mean ROC-AUC and d' (Gong et al. 2021, the weight-averaged models).
PUBLISHED = [(0.9610, 2.493), (0.97856, 2.864)]
WRONG = [
    ([[0.5, 0.1]], [[1]], r"scores of shape \(1, 2\) and targets of shape \(1, 1\)"),
    ([[float("nan")], [0.2]], [[1], [0]], "1 of 2 clips are NaN"),
    ([[0.1, 0.2], [0.3, 0.4]], [[1, 0], [1, 0]], "none of 2 classes has both a positive and a negative clip"),
]


def test_the_mean_is_that_of_scikit_learn_over_classes_with_both() -> None:
    generator = np.random.default_rng(0)
    targets = generator.random((300, 9)) < 0.2
    targets[:, [1, 5]] = False
    targets[:, 3] = True
    scores = (generator.normal(size=targets.shape) + targets).round(1)
    aucs = [roc_auc_score(targets[:, column], scores[:, column]) for column in (0, 2, 4, 6, 7, 8)]
    result = d_prime(scores, targets)
    assert result["roc_auc"] == pytest.approx(np.mean(aucs), rel=1e-12)
    # AST takes d' of the mean, not the mean of the classes' d'.
    assert result["d_prime"] == pytest.approx(math.sqrt(2) * NormalDist().inv_cdf(float(np.mean(aucs))), rel=1e-9)
    assert (result["classes"], result["classes_without_positives"], result["classes_without_negatives"]) == (6, 2, 1)


def test_one_class_worked_out_by_hand() -> None:
    # Of 2 * 3 pairs of a positive and a negative, 4 are in order and one is a tie: (4 + 1/2) / 6.
    result = d_prime([[0.9], [0.5], [0.6], [0.5], [0.1]], [[1], [1], [0], [0], [0]])
    assert result["roc_auc"] == pytest.approx(0.75)
    assert result["d_prime"] == pytest.approx(0.9538726)  # √2 times the normal's upper quartile, 0.6744898


@pytest.mark.parametrize(("roc_auc", "wanted"), PUBLISHED)
def test_d_prime_of_a_roc_auc_is_that_of_ast(roc_auc: float, wanted: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "roc_auc_score", lambda targets, scores: roc_auc)
    assert d_prime([[0.1], [0.2]], [[0], [1]])["d_prime"] == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize(("targets", "wanted"), [([[0], [1]], math.inf), ([[1], [0]], -math.inf)])
def test_d_prime_of_a_ranking_without_error_is_infinite(targets: Any, wanted: float) -> None:
    assert d_prime([[0.1], [0.2]], targets)["d_prime"] == wanted


@pytest.mark.parametrize(("predictions", "references", "message"), WRONG)
def test_what_cannot_be_scored_is_refused_in_one_line(predictions: Any, references: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        d_prime(predictions, references)
    assert "\n" not in str(error.value)
