"""How far a faster model's scores are from those of the model that it was made of, clip by clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor
from torch.nn import functional as F

from ..metrics.bootstrap import (
    ResampledScore,
    bootstrap_interval,
    resampled_accuracy,
    resampled_mean_average_precision,
)
from ..tagging.activation import activated

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """What a faster model says beside the reference, over some clips. Intervals are of 95 %.

    Attributes:
        clips: How many.
        kept: Share of the clips whose first label is the reference's. Its interval is Wilson's: a bootstrap has none
            where every label is kept.
        kl: Mean KL divergence of the scores from the reference's, in nats; of independent labels summed over labels.
            It is by the bootstrap, as the following are.
        moved: The largest movement of any score. Resamples can only be below it, and so is its interval.
        score: Accuracy, or mean average precision of independent labels; None without labels.
    """

    clips: int
    kept: float
    kept_interval: Interval
    kl: float
    kl_interval: Interval
    moved: float
    moved_interval: Interval
    score: float | None = None
    score_interval: Interval | None = None


def divergences(reference: Tensor, logits: Tensor, activation: str) -> Tensor:
    """KL divergence (N,), in nats, of each clip's scores from the reference's.

    Args:
        reference: Logits (N, labels).
        logits: (N, labels).
        activation: `"softmax"`, or `"sigmoid"` for independent labels, whose divergences are summed.

    Example:
        >>> divergences(torch.zeros(1, 2), torch.zeros(1, 2), "softmax").tolist()
        [0.0]
    """
    reference, logits = reference.double(), logits.double()
    if activation == "softmax":
        terms = F.kl_div(logits.log_softmax(1), reference.log_softmax(1), reduction="none", log_target=True)
    else:
        # Each label is there, or it is not.
        own, other = (torch.stack([F.logsigmoid(each), F.logsigmoid(-each)]) for each in (logits, reference))
        terms = F.kl_div(own, other, reduction="none", log_target=True).sum(0)
    return terms.sum(1).clamp(min=0)


def faithfulness(
    reference: Tensor, logits: Tensor, activation: str, targets: NDArray[np.generic] | None = None
) -> Faithfulness:
    """Compare logits (N, labels) with the reference's.

    Args:
        reference: Of the model that is to be kept to.
        logits: Of the faster one.
        activation: What makes scores of them.
        targets: (N, labels) of 0 and 1.
    """
    count = len(reference)
    kl = divergences(reference, logits, activation).numpy()
    kept = int((reference.argmax(1) == logits.argmax(1)).sum())
    moved = (activated(logits.double(), activation) - activated(reference.double(), activation)).abs().amax(1).numpy()
    wilson = binomtest(kept, count).proportion_ci(method="wilson")
    score, interval = _score(logits.numpy(), activation, targets)
    return Faithfulness(
        clips=count,
        kept=kept / count,
        kept_interval=(float(wilson.low), float(wilson.high)),
        kl=float(kl.mean()),
        kl_interval=bootstrap_interval(lambda counts: counts @ kl / count, count),
        moved=float(moved.max()),
        moved_interval=bootstrap_interval(lambda counts: np.where(counts > 0, moved, 0).max(axis=1), count),
        score=score,
        score_interval=interval,
    )


def _score(
    logits: NDArray[np.float32], activation: str, targets: NDArray[np.generic] | None
) -> tuple[float | None, Interval | None]:
    """Accuracy or mean average precision with its interval; nothing where no clip has a label."""
    if targets is None or not targets.any():
        return None, None
    one = activation == "softmax"
    resampled: ResampledScore = (
        resampled_accuracy((logits.argmax(1) == targets.argmax(1)).astype(int))
        if one
        else resampled_mean_average_precision(logits, targets)
    )
    low, high = bootstrap_interval(resampled, len(logits), centred=not one)
    return float(resampled(np.ones((1, len(logits)), np.float32))[0]), (max(low, 0.0), min(high, 1.0))


def kept_and_kl(reference: Tensor, logits: Tensor, activation: str) -> tuple[float, float]:
    """The two that a choice is made by, without intervals."""
    same = (reference.argmax(1) == logits.argmax(1)).double().mean()
    return float(same), float(divergences(reference, logits, activation).mean())
