"""From the scores of a recording's windows to one score for each label."""

from __future__ import annotations

from torch import Tensor

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
    if how == "mean":
        return scores.mean(dim=0)
    if how == "max":
        return scores.amax(dim=0)
    if how == "top3":
        return scores.topk(min(3, len(scores)), dim=0).values.mean(dim=0)
    raise ValueError(f"pool is {how!r}: choose one of {', '.join(POOLS)}")
