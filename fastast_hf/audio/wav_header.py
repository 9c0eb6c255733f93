"""Wav files whose header states less or more sound than there is: a recorder or a copy was cut off."""

from __future__ import annotations

import io
import os
import struct
from typing import Any, BinaryIO, NamedTuple

# libsndfile's names by the format tag and the bits of a sample.
_SUBTYPES = {
    (1, 8): "PCM_U8",
    (1, 16): "PCM_16",
    (1, 24): "PCM_24",
    (1, 32): "PCM_32",
    (3, 32): "FLOAT",
    (3, 64): "DOUBLE",
    (6, 8): "ALAW",
    (7, 8): "ULAW",
}
_EXTENSIBLE = 0xFFFE  # whose format tag stands 24 bytes on
UNKNOWN = 2**31 - 2**16  # bytes; programs that write into a pipe state about this, or the largest number


class Unstated(NamedTuple):
    """The sound of a wav file from its first sample to the end of the file, whatever its header states.

    Attributes:
        start: Bytes in front of the first sample.
        layout: What soundfile is told to read it as headerless sound.
    """

    start: int
    layout: dict[str, Any]


class _Sound(NamedTuple):
    start: int  # of the samples, in bytes
    stated: int  # bytes
    size: int  # of the file
    each: int  # bytes of a sample of all channels
    layout: dict[str, Any] | None


def unstated(file: BinaryIO) -> Unstated | None:
    """The sound of a wav file whose header states too little; None for every other file.

    A header states too little where the sound goes on behind its stated end: the bytes there are no chunk of a wav
    file.

    Example:
        >>> unstated(io.BytesIO(b"no wav"))
    """
    sound = _sound(file)
    if sound is None or sound.layout is None:
        return None
    end = sound.start + sound.stated
    return Unstated(sound.start, sound.layout) if end < sound.size and not _is_chunk(file, end, sound.size) else None


def cut_off_frames(file: BinaryIO) -> int:
    """Samples of a channel that the header of a wav file states, where it states more than there are; else 0.

    libsndfile reads what there is without a word. What a program states that writes into a pipe is no length.
    """
    sound = _sound(file)
    if sound is None or not sound.each or sound.stated >= UNKNOWN or sound.start + sound.stated <= sound.size:
        return 0
    return sound.stated // sound.each


def _sound(file: BinaryIO) -> _Sound | None:
    """Where the samples of a wav file stand; None of any other file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    layout: dict[str, Any] | None = None
    while len(chunk := file.read(8)) == 8:
        name, stated = struct.unpack("<4sI", chunk)
        start = file.tell()
        if name == b"data":
            return _Sound(start, stated, size, frame_bytes(layout) if layout else 0, layout)
        if name == b"fmt ":
            layout = layout_of(file.read(min(stated, 40)))
        file.seek(start + stated + stated % 2)
    return None


def layout_of(fmt: bytes) -> dict[str, Any] | None:
    """What soundfile is told to read the sound as that a wav file's `fmt ` chunk describes; None if compressed."""
    if len(fmt) < 16:
        return None
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", fmt[:16])
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        tag = struct.unpack("<H", fmt[24:26])[0]
    if not channels or (tag, bits) not in _SUBTYPES:
        return None
    return {"samplerate": rate, "channels": channels, "subtype": _SUBTYPES[tag, bits]}


def frame_bytes(layout: dict[str, Any]) -> int:
    """Bytes of one sample of all channels."""
    bits = next(bits for (_, bits), subtype in _SUBTYPES.items() if subtype == layout["subtype"])
    return int(layout["channels"]) * bits // 8


class From(io.RawIOBase):
    """A file as if its first `start` bytes were not there."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file, self._start = file, start
        self._file.seek(start)

    def readinto(self, buffer: Any) -> int:
        """As of any file."""
        return self._file.readinto(buffer)  # type: ignore[attr-defined]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        return self._file.seek(offset + (self._start if whence == os.SEEK_SET else 0), whence) - self._start

    def tell(self) -> int:
        """As of any file."""
        return self._file.tell() - self._start


def _is_chunk(file: BinaryIO, end: int, size: int) -> bool:
    """Whether a chunk, or no more than its beginning, comes after one that ends there."""
    for place in {end, end + end % 2}:  # chunks begin at even bytes, and not every program pads them
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return True
        name, stated = struct.unpack("<4sI", head)
        if all(32 <= byte < 127 for byte in name) and place + 8 + stated <= size:
            return True
    return False
