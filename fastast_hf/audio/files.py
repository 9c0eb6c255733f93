"""Any audio file or array to mono float32 at the rate a model wants, or one clear line saying why not."""

from __future__ import annotations

import io
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

logger = logging.getLogger(__name__)

AUDIO_EXTENSIONS = (".aif", ".aiff", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav")
MIN_SECONDS = 0.025  # one window of the log-mel front end: with less there is no frame to look at
MIN_SAMPLING_RATE = 1000  # Hz; below it a header is broken rather than a recording unusual

_HEAD = 65536  # bytes: enough for the header of any file
_BLOCK = 4096  # frames per read: what a damaged file loses, at most, ahead of the damage
_NOT_MPEG = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b"caff")
_MPG123_LINE = re.compile(rb"(?<!\w)(?:\[[^\]\n]*mpg123|Note: |Warning: )[^\n]*\n?")
_STDERR_LOCK = threading.Lock()
if hasattr(os, "register_at_fork"):
    # A data-loader worker must not be forked with the lock taken and its stderr pointing elsewhere.
    os.register_at_fork(
        before=_STDERR_LOCK.acquire, after_in_parent=_STDERR_LOCK.release, after_in_child=_STDERR_LOCK.release
    )


class AudioError(ValueError):
    """Audio that cannot be used. The message is one line: the source, what is wrong with it and what to do."""


class _Stream(soundfile.SoundFile):
    """A file read from front to back: between reads soundfile seeks, which fails where a file is damaged."""

    def seekable(self) -> bool:
        return False


def load_audio(
    source: str | os.PathLike[str] | dict[str, Any] | tuple[Any, int],
    sampling_rate: int = 16000,
    *,
    allow_silence: bool = False,
) -> np.ndarray:
    """Read a file or an array as mono samples at `sampling_rate`.

    Channels are averaged. Audio already at `sampling_rate` is not resampled, so mono samples come back bit for bit.
    A damaged file gives what can be decoded, with a logged warning, unless that is less than half of the clip.

    Args:
        source: An audio file, or samples with their rate in Hz: `(array, rate)` or `{"array": ..., "sampling_rate":
            ...}` (or `"raw"`), or what datasets leaves undecoded, `{"bytes": ..., "path": ...}`. The array is numpy,
            a torch tensor or a list, of shape (n,), (channels, n) or (n, channels), where the longer axis is time.
            Integers of 8 to 32 bits are scaled to [-1, 1).
        sampling_rate: The wanted rate in Hz.
        allow_silence: Take clips of silence too: a corpus may have a class of them.

    Returns:
        float32 samples of shape (n,).

    Raises:
        AudioError: If the source is missing, is no audio, or does not pass `check_samples`.

    Example:
        >>> load_audio(([0.0, 0.5] * 800, 32000), sampling_rate=16000).shape
        (800,)
    """
    if isinstance(source, dict) and "bytes" in source:
        undecoded, source = source["bytes"], source.get("path") or "clip"
        name = _one_line(source)
        samples, rate = _decode(Path(source) if undecoded is None else undecoded, name)
    elif isinstance(source, (str, os.PathLike)):
        name = _one_line(source)
        samples, rate = _decode(Path(source), name)
    else:
        name = _one_line(source.get("path") or "array") if isinstance(source, dict) else "array"
        array, rate = _split_array_and_rate(source, name)
        samples = _array_to_mono(array, name)
    _check_sampling_rate(sampling_rate, name)
    check_samples(samples, name, rate, allow_silence)
    if rate != sampling_rate:
        samples = soxr.resample(samples, rate, sampling_rate, quality="HQ")
        check_samples(samples, name, sampling_rate, allow_silence)
    return samples


def check_samples(samples: np.ndarray, name: str, sampling_rate: int, allow_silence: bool = False) -> None:
    """Refuse samples that carry no sound a model could classify.

    Args:
        samples: Mono samples of shape (n,).
        name: What to call them in the message: the file name as the user gave it, or "array".
        sampling_rate: Their rate in Hz.
        allow_silence: Let silence pass.

    Raises:
        AudioError: If there are no samples, fewer than `MIN_SECONDS` of them, any NaN or infinity, or only silence
            (every sample the same); or if the rate is no int of at least `MIN_SAMPLING_RATE`.

    Example:
        >>> check_samples(np.zeros(16000), "clip.wav", 16000)
        Traceback (most recent call last):
        ...
        fastast_hf.audio.files.AudioError: clip.wav: the clip is silent (all samples are 0); give one with sound in it
    """
    _check_sampling_rate(sampling_rate, name)
    if not len(samples):
        raise AudioError(f"{name}: zero samples; give a clip with sound in it")
    wanted = int(MIN_SECONDS * sampling_rate)
    if len(samples) < wanted:
        raise AudioError(
            f"{name}: too short, {len(samples)} samples at {sampling_rate} Hz; give at least {wanted} "
            f"({1000 * MIN_SECONDS:.0f} ms)"
        )
    broken = len(samples) - np.count_nonzero(np.isfinite(samples))
    if broken:
        raise AudioError(f"{name}: {broken} of {len(samples)} samples are NaN or infinite; export the clip again")
    if not allow_silence and samples.min() == samples.max():
        raise AudioError(f"{name}: the clip is silent (all samples are {samples[0]:g}); give one with sound in it")


def find_audio_files(paths: Iterable[str | Path]) -> list[Path]:
    """List audio files: files as given, folders searched for `AUDIO_EXTENSIONS` at any depth.

    Inside a folder the order is natural ("clip2" before "clip10") and hidden files and folders are skipped. A path
    that does not exist is kept, so that `load_audio` can report it beside the files that are fine.

    Args:
        paths: Files and folders.

    Returns:
        The files, in the order of `paths`; what is given twice is listed twice.

    Raises:
        AudioError: If a folder holds no audio file.

    Example:
        >>> [file.name for file in find_audio_files(["dog.wav", "dog.wav"])]
        ['dog.wav', 'dog.wav']
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]  # a string is iterable too: its letters would become file names
    files: list[Path] = []
    for path in map(Path, paths):
        if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where this is False: a long name
            files.append(path)
            continue
        found = sorted((file for file in path.rglob("*") if _is_listed(file, path)), key=_natural_key)
        if not found:
            raise AudioError(f"{_one_line(path)}: no audio in this folder; looked for {', '.join(AUDIO_EXTENSIONS)}")
        files += found
    return files


def _decode(source: Path | bytes, name: str) -> tuple[np.ndarray, int]:
    """Decode a file, or what was in one, to mono float32 samples at its own rate."""
    head = _read_head(source, name) if isinstance(source, Path) else source[:_HEAD]
    if not head:
        raise AudioError(f"{name}: empty file (0 bytes); fetch or export it again")
    blocks: list[np.ndarray] = []
    stopped_early = False
    try:
        with ExitStack() as stack:
            if head[:4] not in _NOT_MPEG:
                stack.enter_context(_mpg123_hushed())
            # A name as bytes: soundfile can't encode one that is not in UTF-8, which Windows does not have.
            named = os.fsencode(source) if isinstance(source, Path) and os.name == "posix" else source
            file = stack.enter_context(_Stream(io.BytesIO(source) if isinstance(source, bytes) else named))
            if file.format == "RAW":  # libsndfile plays any bytes named .au, .snd, .vox or .gsm as headerless audio
                raise TypeError
            rate = file.samplerate
            # Only these headers state a length, and not always: an mp3 without the tag has its length guessed from the
            # bit rate of its first frame, a FLAC encoded from a pipe has the largest integer there is.
            states_length = file.format == "FLAC" or (file.format == "MP3" and re.search(b"Xing|Info", head))
            stated = file.frames if states_length and file.frames < 2**62 else 0
            try:
                while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                    blocks.append(_average(block))
            except soundfile.SoundFileError:
                stopped_early = True
    except (soundfile.SoundFileError, TypeError, ValueError):
        raise AudioError(
            f"{name}: no audio that can be decoded; give a whole wav, flac, ogg, opus, mp3, aiff or caf file"
        ) from None
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    heard = f"{len(samples) / rate:.2f} s" + (f" of {stated / rate:.2f} s" if stated else "")
    if len(samples) < 0.5 * stated or (stopped_early and not blocks):
        raise AudioError(f"{name}: cut off or damaged, only {heard} can be decoded; fetch or export it again")
    if stopped_early or len(samples) < 0.98 * stated:
        logger.warning("%s: cut off or damaged, using the %s that can be decoded", name, heard)
    return samples, rate


def _read_head(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except (FileNotFoundError, ValueError):  # ValueError: a null byte in the path
        raise AudioError(f"{name}: no such file; check the path") from None
    except IsADirectoryError:
        raise AudioError(f"{name}: is a folder; give an audio file, or list its files with find_audio_files") from None
    except OSError as error:
        raise AudioError(f"{name}: cannot be opened ({error.strerror}); check the path") from None


@contextmanager
def _mpg123_hushed() -> Iterator[None]:
    """Drop what the mp3 decoder writes to file descriptor 2; what other threads write there is passed on after."""
    with _STDERR_LOCK, ExitStack() as stack:
        try:
            caught = stack.enter_context(tempfile.TemporaryFile())
            stderr = os.dup(2)
        except OSError:  # no stderr to protect, or nowhere to write: notes are a smaller evil than no audio
            stderr = None
        if stderr is None:
            yield
            return
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            caught.seek(0)
            others = _MPG123_LINE.sub(b"", caught.read())
            if others.strip(b"\n"):
                os.write(2, others)


def _split_array_and_rate(source: object, name: str) -> tuple[Any, int]:
    array = rate = None
    if isinstance(source, dict):
        array, rate = source.get("array", source.get("raw")), source.get("sampling_rate")
    elif isinstance(source, tuple) and len(source) == 2:
        array, rate = source
    if array is None or rate is None:
        given = f"{type(source).__name__} with no {'sampling rate' if rate is None else 'samples'}"
        raise AudioError(f'{name}: a {given}; give a file, (array, rate) or {{"array": ..., "sampling_rate": ...}}')
    _check_sampling_rate(rate, name)
    return array, int(rate)


def _array_to_mono(array: Any, name: str) -> np.ndarray:
    """Scale and average (n,), (channels, n) or (n, channels) to a fresh float32 array of shape (n,)."""
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
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes inf, which check_samples reports
            array = array.astype(np.float32)
    elif kind in "iu" and array.dtype.itemsize <= 4:
        centre = half_range if kind == "u" else 0.0
        array = ((array.astype(np.float64) - centre) / half_range).astype(np.float32)
    else:  # 64-bit integers are counts on their way to something else: divided by 2**63 any recording is silence
        raise AudioError(f"{name}: {array.dtype} samples; give floats in [-1, 1] or 8- to 32-bit integers")
    if array.ndim == 1:
        return array
    return _average(array if array.shape[0] >= array.shape[1] else array.T)


def _average(samples: np.ndarray) -> np.ndarray:
    """(n, channels) to (n,)."""
    if samples.shape[1] == 1:
        return np.ascontiguousarray(samples[:, 0])
    with np.errstate(invalid="ignore", over="ignore"):  # inf and NaN are reported by check_samples
        return samples.mean(axis=1) if samples.size else np.zeros(0, np.float32)


def _check_sampling_rate(rate: object, name: str) -> None:
    if not isinstance(rate, Integral):
        given = f"{rate!r} " if isinstance(rate, (float, str)) else ""
        raise AudioError(f"{name}: sampling rate {given}is a {type(rate).__name__}; give an int in Hz, such as 16000")
    if rate < MIN_SAMPLING_RATE:
        raise AudioError(f"{name}: sampling rate {rate} Hz; give audio of at least {MIN_SAMPLING_RATE} Hz")


def _is_listed(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    # A link to nothing is listed, so that it gets its line.
    return file.suffix.lower() in AUDIO_EXTENSIONS and not hidden and (file.is_file() or not file.exists())


def _natural_key(file: Path) -> tuple[list[list[str | int]], str]:
    parts = [[int(s) if s.isdecimal() else s.casefold() for s in re.split(r"(\d+)", part)] for part in file.parts]
    return parts, str(file)


def _one_line(name: object) -> str:
    return " ".join(str(name).splitlines()) or "''"
