"""Any audio file or array to mono float32 at the rate a model wants."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from ..errors import one_line
from .addresses import Address
from .arrays import array_and_rate, array_to_mono, block_to_mono, check_sampling_rate
from .decoding import decode
from .errors import AudioError, name_of
from .incoming import Incoming

RUN_IN = 0.1  # seconds that the resampler gets to hear before the part that is wanted

Source = str | os.PathLike[str] | bytes | BinaryIO | dict[str, Any] | tuple[Any, int]


def load_audio(source: Source, sampling_rate: int = 16000) -> np.ndarray:
    """Read a file or an array as mono samples at `sampling_rate`.

    Channels are averaged. Audio already at `sampling_rate` is not resampled, so mono samples come back bit for bit.
    A damaged file gives what can be decoded, with a logged warning, unless that is less than half of the clip.

    Args:
        source: An audio file: its path, an [`Address`], its bytes, a file object opened in binary mode
            (`sys.stdin.buffer`), or what datasets leaves undecoded, `{"bytes": ..., "path": ...}`. Or samples with
            their rate in Hz: `(array, rate)` or `{"array": ..., "sampling_rate": ...}` (or `"raw"`). The array is
            numpy, a torch tensor or a list, of shape (n,), (channels, n) or (n, channels), where the longer axis is
            time. Or an iterator of arrays (n,) or (n, channels). Integers of 8 to 32 bits are scaled to [-1, 1).
        sampling_rate: The wanted rate in Hz.

    Returns:
        float32 samples of shape (n,).

    Raises:
        AudioError: The source is missing or no audio, is shorter than `MIN_SECONDS`, or has a sample that is NaN or
            infinite.

    Example:
        >>> load_audio(([0.0, 0.5] * 800, 32000), sampling_rate=16000).shape
        (800,)
    """
    return np.concatenate(list(read_audio(source, sampling_rate)))


def load_part(source: Source, sampling_rate: int, start: int = 0, samples: int | None = None) -> np.ndarray:
    """Read a part of a recording; what comes after it is not decoded, and where the file can seek, nor is the rest.

    Args:
        source: What [`load_audio`] takes.
        sampling_rate: The wanted rate in Hz.
        start: The first sample at that rate.
        samples: How many; None for all.

    Returns:
        `load_audio(source, sampling_rate)[start : start + samples]`, to rounding where it is resampled or an mp3.

    Raises:
        AudioError: As [`load_audio`], or whatever else fails.
    """
    stop = sys.maxsize if samples is None else start + samples
    parts, done = [np.zeros(0, np.float32)], start
    try:
        for block in read_audio(source, sampling_rate, start):
            parts.append(block[: stop - done])
            done += len(block)
            if done >= stop:
                break
        return np.concatenate(parts)
    except AudioError:
        raise
    except Exception as error:  # no memory, say: the other clips can be used
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise AudioError(f"{name_of(source)}: cannot be read ({reason}); save it in another format") from error


def load_row(row: Mapping[str, Any], sampling_rate: int, samples: int | None = None, place: float = 0.0) -> np.ndarray:
    """Read a row's `audio`, from its `start` to its `end` in seconds where it has them.

    Args:
        row: Of a corpus.
        sampling_rate: The wanted rate in Hz.
        samples: At most so many; None for all.
        place: Where in a longer one they lie, in [0, 1): 0 for the first, and almost 1 for the last.

    Raises:
        AudioError: As [`load_audio`], or the recording ends before `start`.

    Example:
        >>> load_row({"audio": ([0.0, 0.5] * 8000, 16000), "start": 0.25, "end": 0.5}, 16000).shape
        (4000,)
    """
    start, stop = row_span(row, sampling_rate)
    if samples is None or place == 0:
        stops = [end - start for end in (stop, None if samples is None else start + samples) if end is not None]
        part = load_part(row["audio"], sampling_rate, start, min(stops, default=None))
    else:
        part = _stretch(row["audio"], sampling_rate, samples, place, start, stop)
    if not len(part):
        raise AudioError(f"{name_of(row['audio'])}: ends before {row['start']:g} s; export it again")
    return part


def row_span(row: Mapping[str, Any], sampling_rate: int) -> tuple[int, int | None]:
    """First sample of a row's clip in its recording, and the one after its last (None for the recording's end)."""
    start = round((row.get("start") or 0) * sampling_rate)
    return start, None if row.get("end") is None else max(start + 1, round(row["end"] * sampling_rate))


def _stretch(
    source: Source, sampling_rate: int, samples: int, place: float, start: int, stop: int | None
) -> np.ndarray:
    """So many samples at a place between `start` and `stop`, decoding no more than that where the file can seek."""
    total = num_samples(source, sampling_rate)
    if total is not None:
        end = total if stop is None else min(stop, total)
        first = start + int(place * (max(0, end - start - samples) + 1))
        wanted = min(samples, end - first)
        part = load_part(source, sampling_rate, first, wanted)
        if len(part) == wanted:
            return part
    # The header has no length, or not the true one.
    whole = load_part(source, sampling_rate, start, None if stop is None else stop - start)
    first = int(place * (max(0, len(whole) - samples) + 1))
    return whole[first : first + samples]


def num_samples(source: Source, sampling_rate: int) -> int | None:
    """How long a recording is at a rate, by its header alone; None where that does not say.

    Raises:
        AudioError: It is no audio.
    """
    rate, _, _, total = _opened(source, sampling_rate)
    return None if total is None else total * sampling_rate // rate


def read_audio(source: Source, sampling_rate: int = 16000, start: int = 0) -> Iterator[np.ndarray]:
    """Read a file or an array as [`load_audio`] does, block by block, so that it may be longer than the memory.

    Args:
        source: What [`load_audio`] takes.
        sampling_rate: The wanted rate in Hz.
        start: The first sample at that rate.

    Yields:
        Blocks (n,) whose concatenation is what [`load_audio`] returns, from `start` on.

    Raises:
        AudioError: As [`load_audio`]; when the error is found, blocks may have been given.
    """
    name = name_of(source)
    rate, blocks, first, _ = _opened(source, sampling_rate, start)
    skipped = first * sampling_rate // rate
    incoming = Incoming(rate, sampling_rate, name, first)
    for block in incoming.pushed(blocks):
        if skipped + len(block) > start:
            yield block[max(0, start - skipped) :]
        skipped += len(block)


def _opened(source: Source, sampling_rate: int, start: int = 0) -> tuple[int, Iterable[np.ndarray], int, int | None]:
    """A source's rate, its blocks, how many samples before them were skipped, and how many it has, all at its rate."""

    def skip(rate: int) -> int:
        """So many that the first one left falls on a sample at the wanted rate, and the resampler has run in."""
        if rate == sampling_rate:
            return start
        period = rate // math.gcd(rate, sampling_rate)
        return int((start / sampling_rate - RUN_IN) * rate) // period * period

    name = name_of(source)
    opened: tuple[int, Iterable[np.ndarray], int, int | None]
    file: Any = source
    if isinstance(source, dict) and "bytes" in source:
        file = source.get("path") or "" if source["bytes"] is None else source["bytes"]
    if isinstance(file, Address):
        file = file.open()
    if isinstance(file, (str, os.PathLike, bytes)) or hasattr(file, "read"):
        opened = decode(file, name, skip)
    else:
        array, rate = array_and_rate(source, name)
        if isinstance(array, Iterator):
            opened = rate, (block_to_mono(block, name) for block in array), 0, None
        else:
            samples = array_to_mono(array, name)
            opened = rate, [samples], 0, len(samples)
    for own in (sampling_rate, opened[0]):
        check_sampling_rate(own, name)
    return opened
