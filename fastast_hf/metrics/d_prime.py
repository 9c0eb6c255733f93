"""ROC-AUC and d' over classes as an `evaluate` module."""

# `evaluate.load` copies this file and runs the copy by itself, and looks for the package that each import
# line names: absolute imports alone, one package a line.
from __future__ import annotations

import evaluate
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from sklearn.metrics import roc_auc_score

from .mean_average_precision import multi_label_info, scores_and_targets


def d_prime(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """Macro ROC-AUC, and d' = √2·Φ⁻¹(AUC) of that mean, as AST reports it (Gong et al. 2021).

    Classes without a positive or without a negative clip have no ROC-AUC: they are left out of the mean and counted.

    Args:
        predictions: (N, C) scores; only their order within a class counts.
        references: (N, C) of 0 and 1.

    Returns:
        `d_prime`, infinite where the AUC is 1 (-infinite where it is 0); `roc_auc`, from 0 to 1; `classes`, the
        number it is the mean of; `classes_without_positives`; `classes_without_negatives`.

    Raises:
        ValueError: No class has both a positive and a negative clip, and as [`scores_and_targets`].

    Example:
        >>> result = d_prime([[0.9], [0.5], [0.1], [0.3], [0.2]], [[1], [0], [0], [1], [0]])
        >>> f"{result['roc_auc']:.4f} {result['d_prime']:.4f}"
        '0.8333 1.3681'
    """
    scores, targets = scores_and_targets(predictions, references)
    positives, negatives = targets.any(axis=0), (~targets).any(axis=0)
    scored = np.flatnonzero(positives & negatives)
    if not scored.size:
        raise ValueError(
            f"none of {targets.shape[1]} classes has both a positive and a negative clip among {len(targets)}: "
            "ROC-AUC needs both, check the labels"
        )
    roc_auc = float(np.mean([roc_auc_score(targets[:, column], scores[:, column]) for column in scored]))
    return {
        "d_prime": float(np.sqrt(2) * ndtri(roc_auc)),
        "roc_auc": roc_auc,
        "classes": len(scored),
        "classes_without_positives": int((~positives).sum()),
        "classes_without_negatives": int((~negatives).sum()),
    }


class DPrime(evaluate.Metric):
    """[`d_prime`] with `evaluate`'s `compute` and `add_batch`.

    Example:
        >>> metric = DPrime()
        >>> metric.compute(predictions=[[0.9], [0.5], [0.1]], references=[[0], [1], [0]])["roc_auc"]
        0.5
    """

    def _info(self) -> evaluate.MetricInfo:
        return multi_label_info(
            "Macro ROC-AUC over the classes that have positive and negative clips, and its d'.", d_prime
        )

    def _compute(self, predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
        return d_prime(predictions, references)
