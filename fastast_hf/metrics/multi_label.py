"""What `evaluate` takes of a multi-label metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import evaluate


def multi_label_info(description: str, function: Callable[..., Any]) -> evaluate.MetricInfo:
    """Scores and targets by class, and the function's own documentation."""
    return evaluate.MetricInfo(
        description=description,
        citation="",
        inputs_description=function.__doc__,
        features=datasets.Features(
            {
                "predictions": datasets.Sequence(datasets.Value("float64")),
                # Floats, so that a target between 0 and 1 is refused rather than cut to 0.
                "references": datasets.Sequence(datasets.Value("float32")),
            }
        ),
    )
