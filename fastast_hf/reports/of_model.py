"""The report on a checkpoint of ours: its logits on a split of a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedConfig

from ..loading.checkpoint import labels_in_order
from ..tagging.activation import activated, thresholds_of
from .report import write_report


def write_model_report(
    folder: Path,
    config: PreTrainedConfig,
    activation: str,
    logits: np.ndarray,
    targets: np.ndarray,
    multi_label: bool,
    rows: Sequence[Any],
    names: Sequence[str],
    title: str,
    facts: Mapping[str, Any],
) -> Path:
    """Write [`write_report`]'s of a model's logits.

    Args:
        folder: Where the report goes.
        config: The model's. Its `thresholds` say which labels are given where clips have any number of labels.
        activation: `"softmax"` or `"sigmoid"`.
        logits: (N, classes).
        targets: (N, classes) of 0 and 1.
        multi_label: Whether clips of the corpus have any number of labels.
        rows: (N,) of the corpus; only those of wrong clips are read.
        names: (N,) of the clips.
        title: Of the page.
        facts: For its head.

    Returns:
        The page.
    """
    own = getattr(config, "thresholds", None) is not None and multi_label
    thresholds = thresholds_of(config, "auto") if own else None
    return write_report(
        targets if multi_label else targets.argmax(axis=1),
        activated(torch.from_numpy(logits).double(), activation).numpy(),
        labels_in_order(config),
        rows,
        folder,
        names=names,
        title=title,
        facts=facts,
        thresholds=None if thresholds is None else thresholds.tolist(),
    )
