"""From logits to scores and labels: by which function, and from which score on a label counts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

logger = logging.getLogger(__name__)

ACTIVATIONS = ("auto", "softmax", "sigmoid")
AUDIOSET_LABELS = 527


def activation_of(config: PreTrainedConfig, wanted: str = "auto") -> str:
    """The function that makes scores of a model's logits: `"softmax"`, `"sigmoid"` or `"none"`.

    Args:
        config: Of the model. `"auto"` goes by its `problem_type`, as transformers' pipeline does. Where there is none,
            that means softmax, but for models with as many labels as AudioSet: these were trained with sigmoids.
        wanted: `"auto"`, `"softmax"` or `"sigmoid"`.

    Raises:
        ValueError: Another name.

    Example:
        >>> from fastast_hf import FastASTConfig
        >>> activation_of(FastASTConfig(problem_type="multi_label_classification"))
        'sigmoid'
    """
    if wanted not in ACTIVATIONS:
        raise ValueError(f"activation is {wanted!r}: choose one of {', '.join(ACTIVATIONS)}")
    if wanted != "auto":
        return wanted
    if config.problem_type is None and config.num_labels == AUDIOSET_LABELS:
        logger.warning(
            "%s has AudioSet's %d labels and no problem_type: scores are sigmoids, one for each label by itself "
            "(transformers' pipeline takes softmax here); choose by activation",
            config.name_or_path or "the model",
            AUDIOSET_LABELS,
        )
        return "sigmoid"
    return {"regression": "none", "multi_label_classification": "sigmoid"}.get(config.problem_type or "", "softmax")


def activated(logits: Tensor, activation: str) -> Tensor:
    """Scores of logits (…, labels); `"none"` leaves them as they are."""
    if activation == "none":
        return logits
    return logits.sigmoid() if activation == "sigmoid" else logits.softmax(dim=-1)


def thresholds_of(config: PreTrainedConfig, wanted: float | str | Sequence[float] | None) -> Tensor | None:
    """From which score on each label counts, (labels,); None for any score.

    Args:
        config: Of the model; `"auto"` takes its `thresholds`, a list in the order of its labels.
        wanted: A score for all labels, a list of one for each, `"auto"` or None.

    Raises:
        ValueError: Another number of them than there are labels, one that is no score, or a config without any.

    Example:
        >>> from fastast_hf import FastASTConfig
        >>> thresholds_of(FastASTConfig(num_labels=2), 0.25)
        tensor([0.2500, 0.2500])
    """
    if wanted is None:
        return None
    given: Any = getattr(config, "thresholds", None) if wanted == "auto" else wanted
    if given is None:
        raise ValueError(
            f"threshold is 'auto', and {config.name_or_path or 'the model'} has no thresholds in its config: give a "
            "score from 0 to 1"
        )
    each = [given] * config.num_labels if isinstance(given, (Real, str)) else list(given)
    if len(each) != config.num_labels:
        raise ValueError(f"{len(each)} thresholds for {config.num_labels} labels: give one, or one for each")
    for score in each:
        if isinstance(score, bool) or not isinstance(score, Real) or not 0 <= float(score) <= 1:
            raise ValueError(f"threshold is {score!r}: give a score from 0 to 1, or 'auto'")
    return torch.tensor(each, dtype=torch.float32)
