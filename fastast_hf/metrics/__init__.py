"""Accuracy, mean average precision and d' as `evaluate` modules that need no network, with bootstrap intervals.

They need the extra `train` (evaluate and scikit-learn), which is imported when the first of them is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import EvalPrediction

    from .accuracy import Accuracy
    from .bootstrap import (
        bootstrap_interval,
        paired_difference_interval,
        resampled_accuracy,
        resampled_mean_average_precision,
    )
    from .d_prime import DPrime
    from .mean_average_precision import MeanAveragePrecision

__all__ = [
    "Accuracy",
    "DPrime",
    "MeanAveragePrecision",
    "bootstrap_interval",
    "compute_metrics_for",
    "paired_difference_interval",
    "resampled_accuracy",
    "resampled_mean_average_precision",
]

# The target of every class of a clip that could not be read.
UNREADABLE = -100.0

_MODULES = {"Accuracy": "accuracy", "DPrime": "d_prime", "MeanAveragePrecision": "mean_average_precision"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fastast_hf.metrics' has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES.get(name, 'bootstrap')}", __name__), name)


def compute_metrics_for(multi_label: bool) -> Callable[[EvalPrediction], dict[str, float]]:
    """The metrics of a corpus, as transformers' Trainer takes them (`compute_metrics`).

    The predictions are logits (N, C), the label ids targets (N, C). A clip whose targets are all -100 could not be
    read: it is left out, and `unreadable` counts such clips where there are any.

    Logits are ranked as they are: a sigmoid keeps their order, but large ones would all become 1 and tie.

    Args:
        multi_label: True for targets of 0 and 1 with any number of classes per clip, which gives
            `mean_average_precision`, `d_prime`, `roc_auc` and counts of classes; False for one class per clip, that
            of the highest target, which gives `accuracy`.

    Returns:
        A function of a `transformers.EvalPrediction` that returns the metrics by name. It raises ValueError where no
        clip could be read, and as the metrics do.

    Example:
        >>> from transformers import EvalPrediction
        >>> compute_metrics_for(multi_label=False)(EvalPrediction(np.eye(3), np.eye(3)))
        {'accuracy': 1.0}
    """
    return partial(_compute_metrics, multi_label=multi_label)


def _compute_metrics(prediction: EvalPrediction, *, multi_label: bool) -> dict[str, float]:
    from .accuracy import accuracy
    from .d_prime import d_prime
    from .mean_average_precision import mean_average_precision

    # Trainer gives a tuple where the model returns more than its logits, hidden states say; the logits come first.
    first = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    logits, targets = np.asarray(first, dtype=np.float64), np.asarray(prediction.label_ids)
    if logits.ndim != 2 or logits.shape != targets.shape:
        raise ValueError(
            f"got logits of shape {logits.shape} and targets of shape {targets.shape}: "
            "give both as (clips, classes), a target for every class"
        )
    readable = (targets != UNREADABLE).any(axis=1)
    if not readable.any():
        raise ValueError(f"none of {len(targets)} clips could be read: check the corpus' audio files")
    unreadable = {} if readable.all() else {"unreadable": int((~readable).sum())}
    logits, targets = logits[readable], targets[readable]
    if not multi_label:
        return {**accuracy(logits, targets.argmax(axis=1)), **unreadable}
    # The number of classes scored is that of the mean average precision: AP needs no negatives.
    return {**d_prime(logits, targets), **mean_average_precision(logits, targets), **unreadable}
