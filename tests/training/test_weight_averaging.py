"""Averages of weights over epochs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fastast_hf.training.weight_averaging import WeightAverage


def test_the_average_is_over_the_epochs_asked_for_each_once() -> None:
    average, model = WeightAverage(2, 4), nn.Linear(3, 2)
    taken = []
    for epoch in (1, 2, 3, 3, 4, 5):
        nn.init.normal_(model.weight)
        if epoch in (2, 3, 4) and epoch not in average.epochs:
            taken.append(model.weight.detach().clone())
        average.update(model, epoch)
    assert average.epochs == [2, 3, 4]
    torch.testing.assert_close(average.weights["weight"], torch.stack(taken).mean(dim=0))
    average.copy_to(model)
    torch.testing.assert_close(model.weight, torch.stack(taken).mean(dim=0))


def test_an_average_goes_on_after_a_stop(tmp_path: Path) -> None:
    whole, before, after, model = WeightAverage(1), WeightAverage(1), WeightAverage(1), nn.Linear(3, 2)
    after.load(tmp_path)
    assert after.epochs == []
    for epoch in (1, 2, 3):
        nn.init.normal_(model.weight)
        whole.update(model, epoch)
        (before if epoch < 3 else after).update(model, epoch)
        if epoch == 2:
            before.save(tmp_path)
            after.load(tmp_path)
    assert after.epochs == whole.epochs
    assert torch.equal(after.weights["weight"], whole.weights["weight"])


@pytest.mark.parametrize(("first", "last"), [(0, None), (3, 2)])
def test_no_epochs_are_refused(first: int, last: int | None) -> None:
    with pytest.raises(ValueError, match=f"over epochs {first} to {last}"):
        WeightAverage(first, last)
