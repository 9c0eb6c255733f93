"""A recording's scores from those of its windows."""

from __future__ import annotations

import pytest
import torch

from fastast_hf.tagging.pooling import pooled


def test_mean_maximum_and_the_mean_of_the_three_highest() -> None:
    scores = torch.tensor([[0.1, 0.9], [0.5, 0.8], [0.3, 0.1], [0.7, 0.4]])
    torch.testing.assert_close(pooled(scores, "mean"), torch.tensor([0.4, 0.55]))
    torch.testing.assert_close(pooled(scores, "max"), torch.tensor([0.7, 0.9]))
    torch.testing.assert_close(pooled(scores, "top3"), torch.tensor([0.5, 0.7]))
    for how in ("mean", "max", "top3"):
        torch.testing.assert_close(pooled(scores[:1], how), scores[0])
    torch.testing.assert_close(pooled(scores[:2], "top3"), pooled(scores[:2], "mean"))


def test_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="pool is 'median': choose one of mean, max, top3"):
        pooled(torch.zeros(1, 1), "median")
