"""Arrays of samples in the forms that users have, to mono float32."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from .errors import AudioError

MIN_SAMPLING_RATE = 1000  # Hz; below it a header is broken rather than a recording unusual
MOST_CHANNELS = 256  # of a block; one with more has its axes the other way round


def array_and_rate(source: object, name: str) -> tuple[Any, int]:
    """The samples, as they are, and the sampling rate of `(array, rate)` or `{"array": ..., "sampling_rate": ...}`.

    Raises:
        AudioError: It is neither.
    """
    array = rate = None
    if isinstance(source, dict):
        array, rate = source.get("array", source.get("raw")), source.get("sampling_rate")
    elif isinstance(source, tuple) and len(source) == 2:
        array, rate = source
    if array is None or rate is None:
        given = f"{type(source).__name__} with no {'sampling rate' if rate is None else 'samples'}"
        raise AudioError(f'{name}: a {given}; give a file, (array, rate) or {{"array": ..., "sampling_rate": ...}}')
    check_sampling_rate(rate, name)
    return array, int(rate)


def array_to_mono(array: Any, name: str) -> np.ndarray:
    """Samples (n,) of (n,), (channels, n) or (n, channels), where the longer axis is time.

    Raises:
        AudioError: They are of no shape or type that can be read.
    """
    array = _scaled(array, name)
    return array if array.ndim == 1 else average(array if array.shape[0] >= array.shape[1] else array.T)


def block_to_mono(block: Any, name: str) -> np.ndarray:
    """Samples (n,) of a block (n,) or (n, channels): a short block does not tell which axis is the longer one.

    Raises:
        AudioError: It is of no shape or type that can be read.
    """
    array = _scaled(block, name)
    if array.ndim == 2 and array.shape[1] > MOST_CHANNELS:
        raise AudioError(f"{name}: a block of {array.shape[1]} channels; give blocks of shape (n,) or (n, channels)")
    return array if array.ndim == 1 else average(array)


def average(samples: np.ndarray) -> np.ndarray:
    """(n, channels) to (n,)."""
    if samples.shape[1] == 1:
        return np.ascontiguousarray(samples[:, 0])
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity are reported where samples are checked
        return samples.mean(axis=1) if samples.size else np.zeros(0, np.float32)


def check_sampling_rate(rate: object, name: str) -> None:
    """Refuse a rate that is no int of at least `MIN_SAMPLING_RATE`.

    Raises:
        AudioError: It is not.
    """
    if not isinstance(rate, Integral):
        given = f"{rate!r} " if isinstance(rate, (float, str)) else ""
        raise AudioError(f"{name}: sampling rate {given}is a {type(rate).__name__}; give an int in Hz, such as 16000")
    if rate < MIN_SAMPLING_RATE:
        raise AudioError(f"{name}: sampling rate {rate} Hz; give audio of at least {MIN_SAMPLING_RATE} Hz")


def _scaled(array: Any, name: str) -> np.ndarray:
    """The array in float32, of one or two axes; integers scaled to [-1, 1)."""
    if hasattr(array, "detach"):  # a torch tensor, told without importing torch; numpy has no bfloat16
        array = array.detach().cpu()
        array = array.float() if array.is_floating_point() else array
    try:
        array = np.asarray(array)
    except (TypeError, ValueError):
        raise AudioError(f"{name}: samples of uneven lengths; give (n,) or (channels, n) numbers") from None
    if array.ndim not in (1, 2):
        raise AudioError(f"{name}: {array.ndim}-D array of shape {array.shape}; give one clip, (n,) or (channels, n)")
    kind, half_range = array.dtype.kind, 2.0 ** (8 * array.dtype.itemsize - 1)
    if kind == "f":
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes inf, which is reported
            array = array.astype(np.float32)
    elif kind in "iu" and array.dtype.itemsize <= 4:
        centre = half_range if kind == "u" else 0.0
        array = ((array.astype(np.float64) - centre) / half_range).astype(np.float32)
    else:  # 64-bit integers are counts on their way to something else: divided by 2**63 any recording is silence
        raise AudioError(f"{name}: {array.dtype} samples; give floats in [-1, 1] or 8- to 32-bit integers")
    return array
