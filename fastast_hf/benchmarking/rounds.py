"""Interleaved rounds, and the clock that is read in them.

A machine is never equally fast twice, so nothing is timed on its own: every round runs each candidate once, in an
order that changes from round to round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import TypeVar

import torch

WARM_UP_ROUNDS = 2
Result = TypeVar("Result")


def round_order(count: int, index: int) -> list[int]:
    """The order in which round `index` runs `count` candidates.

    Every other round is the one before it backwards, and every pair of rounds starts one candidate further on: in
    2 `count` rounds each candidate stands twice in each place, and runs before each other one as often as after it.

    Example:
        >>> [round_order(3, index) for index in range(4)]
        [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]]
    """
    start = index // 2
    order = [(start + place) % count for place in range(count)]
    return order[::-1] if index % 2 else order


def interleaved_rounds(
    runs: Sequence[Callable[[], Result]], rounds: int, warm_up: int = WARM_UP_ROUNDS
) -> Iterator[list[Result]]:
    """Run all of `runs` in every round, after `warm_up` rounds that do not count.

    Yields:
        For each round what the runs returned, in the order of `runs`, whatever the order they ran in.

    Example:
        >>> list(interleaved_rounds([lambda: "a", lambda: "b"], rounds=2))
        [['a', 'b'], ['a', 'b']]
    """
    for index in range(-warm_up, rounds):
        results = {candidate: runs[candidate]() for candidate in round_order(len(runs), max(index, 0))}
        if index >= 0:
            yield [results[candidate] for candidate in range(len(runs))]


def check_at_least(least: int, **numbers: int) -> None:
    """Raise a ValueError that names the first of `numbers` below `least`."""
    for name, number in numbers.items():
        if number < least:
            raise ValueError(f"{name} is {number}: give {least} or more")


def timed(run: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    """Seconds of one run on a device, and what it returned."""
    synchronize(device)
    start = perf_counter()
    result = run()
    synchronize(device)
    return perf_counter() - start, result


def synchronize(device: torch.device) -> None:
    """Wait for the device: an accelerator returns before its work is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
