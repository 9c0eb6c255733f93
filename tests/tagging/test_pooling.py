"""A recording's scores from those of its windows."""

from __future__ import annotations

import pytest
import torch

from fastast_hf.tagging.pooling import POOLS, pooled, pooled_logits


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


@pytest.mark.parametrize("how", POOLS)
@pytest.mark.parametrize("multi_label", [True, False])
def test_pooled_logits_have_the_pooled_scores(multi_label: bool, how: str) -> None:
    logits = 4 * torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    whole = pooled_logits(logits, [4, 1, 2], multi_label, how)
    assert torch.equal(whole[1], logits[4])
    scores = logits.sigmoid() if multi_label else logits.softmax(dim=1)
    for made, own in zip(whole, scores.split([4, 1, 2]), strict=True):
        expected = pooled(own, how)
        made = made.sigmoid() if multi_label else made.softmax(dim=0) * expected.sum()
        torch.testing.assert_close(made, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("multi_label", [True, False])
def test_windows_without_doubt_give_finite_logits(multi_label: bool) -> None:
    logits = torch.tensor([[300.0, -300.0], [-300.0, 300.0]])
    for how in POOLS:
        assert pooled_logits(logits, [2], multi_label, how).isfinite().all()
