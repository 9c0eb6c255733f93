"""Accuracy as an `evaluate` module."""

# `evaluate.load` copies this file and runs the copy by itself, and looks for the package that each import
# line names: absolute imports alone, one package a line.
from __future__ import annotations

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score


def accuracy(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """Share of the clips whose class is predicted.

    Args:
        predictions: (N,) class ids, or (N, C) scores: the highest is predicted, the first of equal ones.
        references: (N,) class ids.

    Returns:
        `accuracy`, from 0 to 1.

    Raises:
        ValueError: There are no clips, the shapes do not match, or a score is NaN.

    Example:
        >>> accuracy([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]], [1, 0, 0])
        {'accuracy': 0.6666666666666666}
    """
    predicted, wanted = np.asarray(predictions), np.asarray(references)
    if predicted.ndim not in (1, 2) or wanted.shape != predicted.shape[:1] or not wanted.size:
        raise ValueError(
            f"got predictions of shape {predicted.shape} and references of shape {wanted.shape}: "
            "give class ids (clips,) or scores (clips, classes), and the references as class ids (clips,)"
        )
    if predicted.ndim == 2:
        if np.isnan(predicted).any():
            raise ValueError("scores are NaN: has the model diverged? Accuracy needs numbers")
        predicted = predicted.argmax(axis=1)
    return {"accuracy": float(accuracy_score(wanted, predicted))}


class Accuracy(evaluate.Metric):
    """[`accuracy`] with `evaluate`'s `compute` and `add_batch`.

    Example:
        >>> Accuracy().compute(predictions=[1, 0, 1, 1], references=[1, 0, 0, 1])
        {'accuracy': 0.75}
    """

    def _info(self) -> evaluate.MetricInfo:
        class_id = datasets.Value("int64")
        return evaluate.MetricInfo(
            description="Share of the clips whose class is predicted.",
            citation="",
            inputs_description=accuracy.__doc__,
            features=[
                datasets.Features({"predictions": class_id, "references": class_id}),
                datasets.Features(
                    {"predictions": datasets.Sequence(datasets.Value("float64")), "references": class_id}
                ),
            ],
        )

    def _compute(self, predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
        return accuracy(predictions, references)
