"""Samples that come in blocks: checked, and brought to the rate that a model wants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import soxr

from .arrays import check_sampling_rate
from .errors import AudioError

MIN_SECONDS = 0.025  # one window of the log-mel front end: with less there is no frame to look at

MAX_AMPLITUDE = 1e15  # where samples should be in [-1, 1]; the power spectrum of larger ones is infinite in float32


class Incoming:
    """A recording that comes in mono blocks (n,): checked, and brought to a rate.

    Args:
        rate: Of the blocks, in Hz.
        sampling_rate: The wanted rate in Hz.
        name: For messages.
        skipped: Samples before the first block, at its rate.

    Raises:
        AudioError: A rate that can't be.

    Example:
        >>> incoming = Incoming(32000, 16000, "tone")
        >>> len(incoming.push(np.zeros(1600, np.float32))) + len(incoming.close())
        800
    """

    def __init__(self, rate: int, sampling_rate: int, name: str, skipped: int = 0) -> None:
        for own in (sampling_rate, rate):
            check_sampling_rate(own, name)
        self._checks = [_Check(rate, name, skipped)]
        self._resampler: Any = None
        if rate != sampling_rate:
            self._resampler = soxr.ResampleStream(rate, sampling_rate, 1, dtype="float32", quality="HQ")
            self._checks.append(_Check(sampling_rate, name, skipped * sampling_rate // rate))

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """The samples (n,) that are known now; n may be 0.

        Raises:
            AudioError: A sample is NaN, infinite or far out of [-1, 1].
        """
        self._checks[0].push(block)
        if self._resampler is not None:
            block = self._resampler.resample_chunk(block, last=last)
            self._checks[1].push(block)
        return block

    def close(self) -> np.ndarray:
        """The samples (n,) that were still missing.

        Raises:
            AudioError: The recording was too short.
        """
        block = self.push(np.zeros(0, np.float32), last=True)
        for check in self._checks:
            check.close()
        return block

    def pushed(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """What is known with each of the blocks, and at their end."""
        for block in blocks:
            yield self.push(block)
        yield self.close()


class _Check:
    """Refuses samples that no model could look at, and recordings that are too short."""

    def __init__(self, rate: int, name: str, count: int) -> None:
        self._rate, self._name, self._count = rate, name, count

    def push(self, block: np.ndarray) -> None:
        usable = np.abs(block) < MAX_AMPLITUDE
        if not usable.all():
            first = int(usable.argmin())
            where = f"a sample is {block[first]:g}, at {(self._count + first) / self._rate:.2f} s"
            raise AudioError(f"{self._name}: {where}; export the clip again, with samples in [-1, 1]")
        self._count += len(block)

    def close(self) -> None:
        count, rate, wanted = self._count, self._rate, int(MIN_SECONDS * self._rate)
        if not count:
            raise AudioError(f"{self._name}: zero samples; give a clip with sound in it")
        if count < wanted:
            raise AudioError(
                f"{self._name}: too short, {count} samples at {rate} Hz; give at least {wanted} "
                f"({1000 * MIN_SECONDS:.0f} ms)"
            )
