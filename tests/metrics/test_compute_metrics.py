"""The metrics as Trainer takes them, and what importing them brings along."""

from __future__ import annotations

import pickle
import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import numpy as np
import pytest
from transformers import EvalPrediction

from fastast_hf import metrics
from fastast_hf.metrics import compute_metrics_for
from fastast_hf.metrics.d_prime import d_prime
from fastast_hf.metrics.mean_average_precision import mean_average_precision

GENERATOR = np.random.default_rng(0)
TARGETS = (GENERATOR.random((50, 6)) < 0.3).astype(np.float32)
TARGETS[:, 4] = 0
LOGITS = (GENERATOR.normal(size=TARGETS.shape) + TARGETS).astype(np.float32)
ONE_HOT = np.eye(6, dtype=np.float32)[GENERATOR.integers(6, size=50)]


def with_unreadable(logits: np.ndarray, targets: np.ndarray) -> EvalPrediction:
    """Two clips more that could not be read, whatever the model made of them."""
    logits = np.concatenate([np.full_like(logits[:1], np.nan), logits, np.zeros_like(logits[:1])])
    return EvalPrediction(logits, np.pad(targets, ((1, 1), (0, 0)), constant_values=-100))


def test_one_class_per_clip_gives_the_accuracy() -> None:
    result = compute_metrics_for(multi_label=False)(EvalPrediction(LOGITS, ONE_HOT))
    assert result == {"accuracy": np.mean(LOGITS.argmax(1) == ONE_HOT.argmax(1))}


def test_any_classes_per_clip_give_mean_average_precision_and_d_prime() -> None:
    result = compute_metrics_for(multi_label=True)(EvalPrediction(LOGITS, TARGETS))
    assert result == {**d_prime(LOGITS, TARGETS), **mean_average_precision(LOGITS, TARGETS)}
    assert result["classes_without_positives"] == 1


@pytest.mark.parametrize(("multi_label", "targets"), [(False, ONE_HOT), (True, TARGETS)])
def test_clips_that_could_not_be_read_are_left_out_and_counted(multi_label: bool, targets: Any) -> None:
    compute = compute_metrics_for(multi_label)
    wanted = compute(EvalPrediction(LOGITS, targets))
    assert "unreadable" not in wanted
    assert compute(with_unreadable(LOGITS, targets)) == {**wanted, "unreadable": 2}


def test_large_logits_do_not_tie() -> None:
    logits = np.array([[90.0], [80.0], [70.0], [60.0]], np.float32)  # whose sigmoids are all 1
    result = compute_metrics_for(multi_label=True)(EvalPrediction(logits, np.array([[1.0], [1], [0], [0]])))
    assert result["mean_average_precision"] == 1


def test_logits_come_first_where_the_model_returns_more() -> None:
    compute = compute_metrics_for(multi_label=True)
    more = (LOGITS, np.zeros((50, 3, 8)))
    assert compute(EvalPrediction(more, TARGETS)) == compute(EvalPrediction(LOGITS, TARGETS))


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.full_like(TARGETS, -100), "none of 50 clips could be read"),
        (np.zeros(50), r"logits of shape \(50, 6\) and targets of shape \(50,\)"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(multi_label: bool, targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        compute_metrics_for(multi_label)(EvalPrediction(LOGITS, targets))
    assert "\n" not in str(error.value)


def test_the_function_pickles_for_processes_that_are_started_afresh() -> None:
    compute = pickle.loads(pickle.dumps(compute_metrics_for(multi_label=False)))
    assert compute(EvalPrediction(ONE_HOT, ONE_HOT)) == {"accuracy": 1.0}


def test_importing_the_package_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("datasets", "evaluate", "scipy", "sklearn"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    spec = spec_from_file_location("fastast_hf.metrics", str(metrics.__file__))
    assert spec is not None
    assert spec.loader is not None
    fresh = module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert callable(fresh.compute_metrics_for(multi_label=True))


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(callable(getattr(metrics, name)) for name in metrics.__all__)
    with pytest.raises(AttributeError, match="no attribute 'f1'"):
        _ = metrics.f1
