"""The batcher, with a model that says which windows it got together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastast_hf.serving.batching import Batcher


def windows(*values: float) -> list[np.ndarray]:
    return [np.array([value], np.float32) for value in values]


class Doubling:
    """Gives twice each window, and keeps the batches; the first one waits until `go`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.batches: list[tuple[Any, list[float]]] = []

    def __call__(self, key: Any, given: Sequence[np.ndarray]) -> list[Tensor]:
        self.batches.append((key, [float(window[0]) for window in given]))
        self.go.wait()
        if key == "broken":
            raise OSError("secret")
        return [torch.from_numpy(2 * window) for window in given]


async def asked(model: Doubling, requests: list[tuple[Any, list[np.ndarray]]], size: int = 4) -> list[Any]:
    """The answers to requests of which the first is computed while the others come."""
    batcher = Batcher(model, size)
    tasks = []
    for key, given in requests:
        tasks.append(asyncio.create_task(batcher.rows(key, given)))
        await asyncio.sleep(0)
        while not model.batches:
            await asyncio.sleep(0)
    model.go.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_what_waits_shares_batches_and_each_gets_its_own_rows() -> None:
    model = Doubling()
    answers = asyncio.run(asked(model, [("a", windows(value)) for value in range(10)]))
    assert [float(rows[0]) for rows in answers] == [2 * value for value in range(10)]
    assert [given for _, given in model.batches] == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_a_long_recording_does_not_hold_up_short_ones() -> None:
    model = Doubling()
    requests = [("a", windows(0)), ("a", windows(*range(100, 120))), *(("a", windows(n)) for n in range(1, 7))]
    answers = asyncio.run(asked(model, requests))
    assert torch.cat(answers[1]).tolist() == [2 * value for value in range(100, 120)]
    assert [given for _, given in model.batches][:4] == [[0], [100, 1, 2, 3], [4, 5, 6, 101], [102, 103, 104, 105]]


def test_keys_are_batched_apart_and_in_turn() -> None:
    model = Doubling()
    requests = [("a", windows(0)), ("a", windows(*range(1, 9))), ("b", windows(*range(11, 17)))]
    asyncio.run(asked(model, requests))
    assert [key for key, _ in model.batches] == ["a", "a", "b", "a", "b"]


def test_a_failure_is_that_of_its_key_alone() -> None:
    requests = [("a", windows(0)), ("broken", windows(1, 2, 3, 4, 5, 6)), ("a", windows(7))]
    first, failed, last = asyncio.run(asked(Doubling(), requests))
    assert float(first[0]) == 0 and float(last[0]) == 14
    assert isinstance(failed, OSError)


def test_what_nobody_waits_for_is_not_computed() -> None:
    async def leaving(model: Doubling) -> None:
        batcher = Batcher(model, 1)
        stays, leaves = (asyncio.create_task(batcher.rows("a", windows(*values))) for values in ([0, 1], [8, 9]))
        while not model.batches:
            await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.sleep(0)
        model.go.set()
        await stays
        with pytest.raises(asyncio.CancelledError):
            await leaves

    model = Doubling()
    asyncio.run(leaving(model))
    assert [given for _, given in model.batches] == [[0], [1]]
