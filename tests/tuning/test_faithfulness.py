"""How far scores are from the unmerged model's, beside slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fastast_hf.tuning.faithfulness import divergences, faithfulness, kept_and_kl

REFERENCE = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5], [0.3, 0.2, 0.1], [-1.0, 0.0, 3.0]])
LOGITS = torch.tensor([[1.8, 0.1, -1.0], [0.0, 0.9, 0.7], [0.1, 0.4, 0.1], [-1.0, 0.0, 3.0]])


def slow_kl(activation: str) -> list[float]:
    """By the definition, in Python's own numbers."""
    found = []
    for truth, own in zip(REFERENCE.tolist(), LOGITS.tolist(), strict=True):
        if activation == "softmax":
            p, q = ([math.exp(x) / sum(map(math.exp, row)) for x in row] for row in (truth, own))
            found.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
        else:
            pairs = [(1 / (1 + math.exp(-a)), 1 / (1 + math.exp(-b))) for a, b in zip(truth, own, strict=True)]
            found.append(sum(a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b)) for a, b in pairs))
    return found


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_divergences_are_those_of_the_definition(activation: str) -> None:
    assert divergences(REFERENCE, LOGITS, activation).tolist() == pytest.approx(slow_kl(activation), abs=1e-7)


def test_labels_kept_movement_and_accuracy_are_counted() -> None:
    targets = np.eye(3)[[0, 1, 1, 0]]
    found = faithfulness(REFERENCE, LOGITS, "softmax", targets)
    assert found.kept == 0.75 and found.clips == 4 and found.score == 0.75
    assert found.kept_interval[0] < 0.75 < found.kept_interval[1]
    moved = (LOGITS.softmax(1) - REFERENCE.softmax(1)).abs().max()
    assert found.moved == pytest.approx(float(moved), abs=1e-6) and found.moved_interval[1] <= found.moved
    assert found.kl == pytest.approx(sum(slow_kl("softmax")) / 4)
    assert found.kl_interval[0] <= found.kl <= found.kl_interval[1]
    assert kept_and_kl(REFERENCE, LOGITS, "softmax") == pytest.approx((found.kept, found.kl))


def test_an_equal_model_keeps_all_and_its_interval_is_not_a_point() -> None:
    found = faithfulness(REFERENCE, REFERENCE, "softmax")
    assert (found.kept, found.kl, found.moved, found.score) == (1, 0, 0, None)
    assert found.kept_interval[0] < 0.6 and found.kept_interval[1] == 1


def test_of_independent_labels_the_score_is_mean_average_precision() -> None:
    targets = np.array([[1, 0, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1]])
    found = faithfulness(REFERENCE, LOGITS, "sigmoid", targets)
    assert found.score is not None and found.score_interval is not None
    assert 0.5 < found.score <= 1 and found.score_interval[0] <= found.score <= found.score_interval[1]
