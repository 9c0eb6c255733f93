"""Mean average precision over classes as an `evaluate` module."""

# `evaluate.load` copies this file and runs the copy by itself, and looks for the package that each import
# line names: absolute imports alone, one package a line.
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score


def scores_and_targets(predictions: ArrayLike, references: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Check the scores and targets of a multi-label metric.

    Args:
        predictions: (N, C) scores; only their order within a class counts.
        references: (N, C) of 0 and 1.

    Returns:
        (N, C) float64 and (N, C) bool.

    Raises:
        ValueError: The shapes differ or are not (clips, classes), a score is NaN or infinite, a target is not 0 or 1.

    Example:
        >>> scores_and_targets([[0.5, -2]], [[0, 1]])
        (array([[ 0.5, -2. ]]), array([[False,  True]]))
    """
    try:
        scores, targets = np.asarray(predictions, dtype=np.float64), np.asarray(references)
    except ValueError:
        raise ValueError("the rows have different lengths: give every clip a score for every class") from None
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(
            f"got scores of shape {scores.shape} and targets of shape {targets.shape}: give both as (clips, classes)"
        )
    if not np.isfinite(scores).all():
        broken = int((~np.isfinite(scores)).any(axis=1).sum())
        raise ValueError(f"scores of {broken} of {len(scores)} clips are NaN or infinite: has the model diverged?")
    if not np.isin(targets, (0, 1)).all():
        other = targets[~np.isin(targets, (0, 1))][0]
        raise ValueError(f"a target is {other}: give 1 for the classes of a clip and 0 for the others")
    return scores, targets.astype(bool)


def mean_average_precision(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """Macro mean of the classes' average precision, that of scikit-learn, as AudioSet is scored.

    Classes without a positive clip have no average precision: they are left out of the mean and counted.

    Args:
        predictions: (N, C) scores; only their order within a class counts.
        references: (N, C) of 0 and 1.

    Returns:
        `mean_average_precision`, from 0 to 1; `classes`, the number it is the mean of; `classes_without_positives`.

    Raises:
        ValueError: No class has a positive clip, and as [`scores_and_targets`].

    Example:
        >>> mean_average_precision([[0.9, 0.2], [0.5, 0.4], [0.1, 0.3]], [[1, 0], [0, 0], [1, 0]])
        {'mean_average_precision': 0.8333333333333333, 'classes': 1, 'classes_without_positives': 1}
    """
    scores, targets = scores_and_targets(predictions, references)
    scored = np.flatnonzero(targets.any(axis=0))
    if not scored.size:
        raise ValueError(
            f"none of {targets.shape[1]} classes has a positive clip among {len(targets)}: "
            "average precision needs one, check the labels"
        )
    precisions = [average_precision_score(targets[:, column], scores[:, column]) for column in scored]
    return {
        "mean_average_precision": float(np.mean(precisions)),
        "classes": len(scored),
        "classes_without_positives": targets.shape[1] - len(scored),
    }


def multi_label_info(description: str, function: Callable[..., Any]) -> evaluate.MetricInfo:
    """What `evaluate` takes of a multi-label metric: scores and targets by class, documented as the function is."""
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


class MeanAveragePrecision(evaluate.Metric):
    """[`mean_average_precision`] with `evaluate`'s `compute` and `add_batch`.

    Example:
        >>> metric = MeanAveragePrecision()
        >>> metric.compute(predictions=[[0.9], [0.5], [0.1]], references=[[0], [1], [0]])["mean_average_precision"]
        0.5
    """

    def _info(self) -> evaluate.MetricInfo:
        return multi_label_info(
            "Macro mean of the average precision over the classes that have a positive clip.", mean_average_precision
        )

    def _compute(self, predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
        return mean_average_precision(predictions, references)
