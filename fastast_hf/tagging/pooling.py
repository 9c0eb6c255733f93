"""From the scores of a recording's windows to one score for each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

POOLS = ("mean", "max", "top3")


def pooled(scores: Tensor, how: str = "mean") -> Tensor:
    """The scores (labels,) of a recording whose windows have the scores (windows, labels).

    Args:
        scores: Of at least one window.
        how: `"mean"`, `"max"`, or `"top3"`: the mean of each label's three highest (of all where there are fewer). A
            mean is for what fills a recording, a maximum for what is heard in it once.

    Raises:
        ValueError: Another name.

    Example:
        >>> import torch
        >>> pooled(torch.tensor([[0.0], [0.3], [0.6], [0.9]]), "top3")
        tensor([0.6000])
    """
    return _counted(scores, how).mean(dim=0)


def _counted(scores: Tensor, how: str) -> Tensor:
    """Those of the windows' scores that count, for each label."""
    if how not in POOLS:
        raise ValueError(f"pool is {how!r}: choose one of {', '.join(POOLS)}")
    return scores if how == "mean" else scores.topk(min(1 if how == "max" else 3, len(scores)), dim=0).values


def pool_of(config: Any) -> str:
    """How a model's windows are scored together, as its training did."""
    return getattr(config, "window_pool", "mean")


def pooled_logits(logits: Tensor, counts: Sequence[int], multi_label: bool, how: str = "mean") -> Tensor:
    """Logits of recordings whose scores are what [`pooled`] makes of their windows' scores.

    Args:
        logits: (windows, labels), float32, those of each recording after those of the one before.
        counts: How many windows each recording has.
        multi_label: Whether scores are made by sigmoid; else by softmax.
        how: As of [`pooled`].

    Returns:
        (recordings, labels). Their sigmoid is the pooled score, and their softmax is in proportion to it: it is the
        score for the mean, and others need not add up to 1. Logits of a single window stay as they are.

    Example:
        >>> loud, quiet = torch.tensor([0.9, 0.1]).log(), torch.tensor([0.5, 0.5]).log()
        >>> pooled_logits(torch.stack([loud, quiet]), [2], multi_label=False).softmax(dim=1)
        tensor([[0.7000, 0.3000]])
    """
    whole = []
    for own in logits.split(list(counts)):
        if len(own) == 1:
            whole.append(own[0])
        elif multi_label:  # log(mean of p) - log(mean of 1 - p)
            own = _counted(own, how)
            whole.append(F.logsigmoid(own).logsumexp(dim=0) - F.logsigmoid(-own).logsumexp(dim=0))
        else:
            whole.append(_counted(own.log_softmax(dim=1), how).logsumexp(dim=0))
    return torch.stack(whole)
