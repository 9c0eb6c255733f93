"""Lists of merges at equal arithmetic, and the search among them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from fastast_hf.merging.complexity import complexity
from fastast_hf.model.configuration_fastast import FastASTConfig
from fastast_hf.tuning.search import Arithmetic, OutOfTrials, Trials, hill_climbing, starts

LENGTHS = Counter({128: 3, 64: 1})


@pytest.fixture
def arithmetic(tiny: dict[str, Any]) -> Arithmetic:
    return Arithmetic(FastASTConfig(**tiny), LENGTHS)


def test_ratio_is_that_of_all_clips_together(arithmetic: Arithmetic) -> None:
    costs = [complexity(arithmetic.config, [4, 2, 1], num_frames=frames) for frames in (128, 128, 128, 64)]
    together = sum(cost.stock_macs for cost in costs) / sum(cost.macs for cost in costs)
    assert arithmetic.ratio([4, 2, 1]) == pytest.approx(together)


@pytest.mark.parametrize("weights", [[1, 1, 1], [0, 1, 1], [3, 1, 0.5]])
def test_merges_are_the_fewest_that_reach_the_ratio(arithmetic: Arithmetic, weights: list[float]) -> None:
    merges = arithmetic.merges(weights, 1.2)
    assert merges is not None and arithmetic.ratio(merges) >= 1.2
    # One less in every layer does not.
    assert arithmetic.ratio([max(merge - 1, 0) for merge in merges]) < 1.2


def test_merges_are_those_that_the_longest_clip_really_does(arithmetic: Arithmetic) -> None:
    merges = arithmetic.merges([1, 1, 1], arithmetic.highest() * 0.99)
    assert merges is not None
    layers = complexity(arithmetic.config, merges, num_frames=128).layers
    assert merges == [layer.tokens_merged for layer in layers]


def test_weights_that_the_cap_keeps_from_the_ratio_have_no_merges(arithmetic: Arithmetic) -> None:
    assert arithmetic.merges([0, 0, 1], arithmetic.highest()) is None
    assert arithmetic.merges([1, 1, 1], arithmetic.highest() * 1.01) is None


def searched(arithmetic: Arithmetic, loss: Callable[[list[int]], float], most: int, seed: int = 0) -> Trials:
    trials = Trials(loss, arithmetic, 1.3, most)
    with pytest.raises(OutOfTrials):
        hill_climbing(trials, 3, random.Random(seed))
    return trials


def test_hill_climbing_finds_what_no_start_has(arithmetic: Arithmetic) -> None:
    def loss(merges: list[int]) -> float:  # only the last layers may merge
        return float(merges[0] ** 2)

    begun = min(loss(merges) for weights in starts(3) if (merges := arithmetic.merges(weights, 1.3)) is not None)
    trials = searched(arithmetic, loss, most=40)
    assert trials.best is not None and trials.best[0] < begun
    assert trials.best[0] == min(trials.done.values()) == loss(trials.best[2])


def test_every_list_that_is_tried_reaches_the_ratio_and_none_is_tried_twice(arithmetic: Arithmetic) -> None:
    asked: list[list[int]] = []

    def loss(merges: list[int]) -> float:
        asked.append(merges)
        return float(merges[1])

    trials = searched(arithmetic, loss, most=15)
    assert len(asked) == len(trials.done) == 15
    assert all(arithmetic.ratio(merges) >= 1.3 for merges in asked)


def test_the_same_seed_tries_the_same_lists(arithmetic: Arithmetic) -> None:
    first, again = (searched(arithmetic, lambda merges: float(merges[0]), most=12).done for _ in range(2))
    other = searched(arithmetic, lambda merges: float(merges[0]), most=12, seed=1).done
    assert list(first) == list(again) != list(other)


def test_the_search_ends_where_there_are_fewer_lists_than_trials(tiny: dict[str, Any]) -> None:
    small = Arithmetic(FastASTConfig(**{**tiny, "max_length": 32}), Counter({32: 1}))  # 8 patches
    trials = Trials(lambda merges: 1.0, small, 1.02, 500)
    with pytest.raises(OutOfTrials):
        hill_climbing(trials, 3, random.Random(0))
    assert 0 < len(trials.done) < 500


def test_after_the_deadline_the_first_list_is_still_tried(arithmetic: Arithmetic) -> None:
    trials = Trials(lambda merges: 1.0, arithmetic, 1.3, 10, deadline=0.0)
    with pytest.raises(OutOfTrials):
        hill_climbing(trials, 3, random.Random(0))
    assert len(trials.done) == 1 and trials.best is not None
