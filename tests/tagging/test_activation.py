"""Scores as one wants them: softmax or sigmoid, and labels from a threshold on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fastast_hf import Tagger

Make = Callable[..., Any]
CLIP = (np.random.default_rng(0).normal(size=16000).astype(np.float32) / 5, 16000)


def scores(model: Any, **settings: Any) -> dict[str, float]:
    labels = Tagger(model, device="cpu", **{"top_k": None, **settings})(CLIP)
    return {label["label"]: label["score"] for label in labels}


@pytest.fixture
def logits(make_fastast: Make) -> torch.Tensor:
    """Of the clip, from the model that `make_fastast()` makes."""
    tagger = Tagger(make_fastast(), device="cpu")
    with torch.no_grad():
        return tagger.model(**tagger.features(list(tagger.windows(CLIP)))).logits[0]


@pytest.mark.parametrize(
    ("problem", "activation", "expected"),
    [
        (None, "auto", "softmax"),
        ("single_label_classification", "auto", "softmax"),
        ("multi_label_classification", "auto", "sigmoid"),
        ("regression", "auto", "none"),
        ("single_label_classification", "sigmoid", "sigmoid"),
        ("multi_label_classification", "softmax", "softmax"),
    ],
)
def test_scores_are_what_the_checkpoint_or_the_caller_says(
    problem: str | None, activation: str, expected: str, make_fastast: Make, logits: torch.Tensor
) -> None:
    made = {"softmax": logits.softmax(0), "sigmoid": 1 / (1 + (-logits).exp()), "none": logits}[expected]
    got = scores(make_fastast(problem_type=problem), activation=activation)
    assert [got[f"LABEL_{index}"] for index in range(5)] == pytest.approx(made.tolist(), abs=1e-5)


def test_audiosets_labels_without_a_problem_type_get_sigmoids_and_a_line(
    make_fastast: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        got = scores(make_fastast(num_labels=527))
    assert sum(got.values()) > 10
    (line,) = [record.getMessage() for record in caplog.records]
    assert "AudioSet's 527 labels" in line and "transformers' pipeline takes softmax here" in line
    caplog.clear()
    assert sum(scores(make_fastast(num_labels=527), activation="softmax").values()) == pytest.approx(1, abs=1e-4)
    assert not caplog.records


def test_a_threshold_gives_the_labels_that_reach_it_and_perhaps_none(make_fastast: Make) -> None:
    model = make_fastast()
    every = scores(model, activation="sigmoid")
    least = sorted(every.values())[2]
    kept = scores(model, activation="sigmoid", threshold=least)
    assert kept == {label: score for label, score in every.items() if score >= least} and len(kept) == 3
    assert scores(model, activation="sigmoid", threshold=1.0) == {}
    assert list(scores(model, activation="sigmoid", threshold=least, top_k=1)) == list(every)[:1]


def test_a_checkpoints_own_thresholds_hold_for_each_label(make_fastast: Make) -> None:
    every = scores(make_fastast(), activation="sigmoid")
    best, *_, worst = every  # of these, the worst alone is let through
    thresholds = [0.0 if f"LABEL_{index}" == worst else 1.0 for index in range(5)]
    model = make_fastast()
    model.config.thresholds = thresholds
    assert list(scores(model, activation="sigmoid", threshold="auto", top_k=1)) == [worst]
    assert list(scores(make_fastast(), activation="sigmoid", threshold=thresholds)) == [worst]
    assert next(iter(scores(model, activation="sigmoid"))) == best  # thresholds are taken where they are asked for


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"activation": "relu"}, "activation is 'relu': choose one of auto, softmax, sigmoid"),
        ({"threshold": 5}, "threshold is 5: give a score from 0 to 1"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"threshold": "high"}, "threshold is 'high'"),
        ({"threshold": [0.5]}, "1 thresholds for 5 labels"),
        ({"threshold": "auto"}, "has no thresholds in its config: give a score"),
    ],
)
def test_what_is_no_activation_or_threshold_is_refused(
    settings: dict[str, Any], said: str, make_fastast: Make
) -> None:
    with pytest.raises(ValueError, match=said):
        Tagger(make_fastast(), device="cpu", **settings)
