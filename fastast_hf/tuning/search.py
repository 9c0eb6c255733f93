"""The search for how much each layer merges, at a given share of the arithmetic.

A list of merges is searched as weights: how the layers share what is merged. Every list that is tried is scaled to
take the same multiply-accumulates (MACs), so that two of them differ in what they cost in faithfulness alone.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from ..merging.complexity import complexity
from ..model.configuration_fastast import FastASTConfig

Weights = Sequence[float]
Loss = Callable[[list[int]], float]


class OutOfTrials(Exception):
    """All trials that a search may make are made."""


@dataclass(frozen=True)
class Arithmetic:
    """What lists of merges save on clips of some lengths.

    Attributes:
        config: Of the model.
        lengths: How many clips have so many frames.
    """

    config: FastASTConfig
    lengths: Counter[int]

    def ratio(self, merges: Sequence[int]) -> float:
        """MACs without merging over those with it, over all clips."""
        costs = [(complexity(self.config, merges, num_frames=frames), n) for frames, n in self.lengths.items()]
        return sum(cost.stock_macs * n for cost, n in costs) / sum(cost.macs * n for cost, n in costs)

    def merges(self, weights: Weights, ratio: float) -> list[int] | None:
        """The smallest merges in these proportions that reach a ratio; None where the 50 % cap keeps them from it.

        Example:
            >>> arithmetic = Arithmetic(FastASTConfig(num_hidden_layers=3, max_length=128), Counter({128: 1}))
            >>> arithmetic.merges([0, 1, 1], 1.2)
            [0, 32, 32]
        """
        total = sum(weights)

        def scaled(asked: int) -> list[int]:
            return [round(weight * asked / total) for weight in weights]

        longest = max(self.lengths)
        tokens = complexity(self.config, 0, num_frames=longest).tokens_out
        most = tokens * len(weights) * 4
        if self.ratio(scaled(most)) < ratio:
            return None
        asked = bisect_left(range(most), ratio, key=lambda asked: self.ratio(scaled(asked)))
        # What the cap takes off the longest clips it takes off all.
        layers = complexity(self.config, scaled(asked), num_frames=longest).layers
        return [layer.tokens_merged for layer in layers]

    def highest(self) -> float:
        """The largest ratio that the 50 % cap allows."""
        tokens = complexity(self.config, 0, num_frames=max(self.lengths)).tokens_out
        return self.ratio([tokens] * self.config.num_hidden_layers)


@dataclass
class Trials:
    """Lists tried at one ratio, and what they cost.

    Attributes:
        loss: What a list costs in faithfulness.
        arithmetic: Scales weights to the ratio.
        target: The ratio.
        most: Lists to try.
        deadline: Time of `monotonic` after which no more are.
        done: The loss of each list that was tried, in turn.
        best: The lowest loss with its weights and list.
    """

    loss: Loss
    arithmetic: Arithmetic
    target: float
    most: int
    deadline: float | None = None
    done: dict[tuple[int, ...], float] = field(default_factory=dict)
    best: tuple[float, list[float], list[int]] | None = None
    _proposed: int = 0

    def __call__(self, weights: Weights) -> float:
        """The loss of weights; infinite where they can't reach the ratio.

        Raises:
            OutOfTrials: All trials are made.
        """
        self._proposed += 1
        if self._proposed > 50 * self.most:  # where there are fewer lists than trials
            raise OutOfTrials
        merges = self.arithmetic.merges(weights, self.target)
        if merges is None:
            return float("inf")
        key = tuple(merges)
        if key not in self.done:
            late = self.deadline is not None and monotonic() > self.deadline
            if len(self.done) >= self.most or (late and self.done):
                raise OutOfTrials
            self.done[key] = self.loss(merges)
            if self.best is None or self.done[key] < self.best[0]:
                self.best = (self.done[key], list(weights), merges)
        return self.done[key]


def starts(layers: int) -> list[list[float]]:
    """Weights to begin with: constant, increasing, and little in the first layer, most in the next third.

    Example:
        >>> starts(3)
        [[1.0, 1.0, 1.0], [1.0, 2.0, 3.0], [0.3, 1.7, 1.0]]
    """
    third = -(-layers // 3)
    return [
        [1.0] * layers,
        [1.0 + layer for layer in range(layers)],
        [0.3] + [1.7 if layer <= third else 1.0 for layer in range(1, layers)],
    ]


def hill_climbing(trials: Trials, layers: int, drawn: random.Random) -> None:
    """Move a part of one layer's merges to another, and keep what is no worse.

    Args:
        trials: Ends the search, and has the best.
        layers: Of the model.
        drawn: Source of chance.

    Raises:
        OutOfTrials: At the end.
    """
    for start in starts(layers):
        trials(start)
    while True:
        if trials.best is None:
            raise OutOfTrials  # out of reach
        weights = list(trials.best[1])
        giver = drawn.choices(range(layers), weights)[0]
        taker = drawn.choice([layer for layer in range(layers) if layer != giver])
        moved = weights[giver] * drawn.uniform(0.2, 1.0)
        weights[giver] -= moved
        weights[taker] += moved
        trials(weights)
