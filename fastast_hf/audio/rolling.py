"""Windows that overlap, of a recording that comes in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np


class RollingWindows:
    """As [`windows`], of a recording that comes in blocks."""

    def __init__(self, length: int, hop: int | None = None) -> None:
        self._length, self._hop = length, hop or length
        self._start = self._count = 0  # of the next window, and samples so far
        self._parts: list[np.ndarray] = []  # the last of them: what windows to come may need

    def push(self, block: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The windows that end in this block."""
        length = self._length
        self._parts.append(block)
        self._count += len(block)
        if self._start + length > self._count:
            return
        samples = np.concatenate(self._parts)
        self._parts = [samples[-length:]]
        first = self._count - len(samples)
        while self._start + length <= self._count:
            start = self._start
            self._start += self._hop
            yield start, samples[start - first : start - first + length]

    def close(self) -> Iterator[tuple[int, np.ndarray]]:
        """The window that ends with the recording, if no other did."""
        if not self._start or self._start - self._hop + self._length < self._count:
            yield max(0, self._count - self._length), np.concatenate(self._parts)[-self._length :]


def windows(blocks: Iterable[np.ndarray], length: int, hop: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Stretches of a recording of one length, one every `hop` samples; the last one ends where the recording does.

    They begin at 0, `hop`, 2 `hop` and so on, as long as they lie within the recording. If the last of them does not
    end with it, one more does. So all sound is in a window, and no window is filled up.

    Args:
        blocks: The recording, as [`read_audio`] gives it. Windows do not depend on the lengths of blocks.
        length: Samples of a window. A shorter recording is one window.
        hop: Samples from one window's start to the next, 1 to `length`; None for `length`.

    Yields:
        The first sample's place in the recording, and the samples (n,).

    Example:
        >>> [(start, window.tolist()) for start, window in windows([np.arange(3), np.arange(3, 6)], 3, 2)]
        [(0, [0, 1, 2]), (2, [2, 3, 4]), (3, [3, 4, 5])]
    """
    rolling = RollingWindows(length, hop)
    for block in blocks:
        yield from rolling.push(block)
    yield from rolling.close()
