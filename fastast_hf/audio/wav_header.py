"""Wav and rf64 files whose header states less or more sound than there is: a recorder or a copy was cut off."""

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
_MOST_CHANNELS = 1024  # of libsndfile
_EXTENSIBLE = 0xFFFE  # whose format tag stands 24 bytes on
MOST_CHUNKS = 1000  # before the sound; a file of zeros is nothing but empty ones
UNKNOWN = 2**31 - 2**16  # bytes; programs that write into a pipe state about this, or the largest number


class Unstated(NamedTuple):
    """The sound of a wav or rf64 file from its first sample to the end of the file, whatever its header states.

    Attributes:
        start: Bytes in front of the first sample.
        layout: What soundfile is told to read it as headerless sound.
        known: Whether the header does not say that it does not know.
    """

    start: int
    layout: dict[str, Any]
    known: bool


class _Sound(NamedTuple):
    start: int  # of the samples, in bytes
    stated: int  # bytes
    size: int  # of the file
    each: int  # bytes of a sample of all channels
    layout: dict[str, Any] | None
    rf64: bool

    @property
    def unknown(self) -> int:
        """From so many bytes on, `stated` is none."""
        return 2**62 if self.rf64 else UNKNOWN


def unstated(file: BinaryIO) -> Unstated | None:
    """The sound of a wav or rf64 file whose header states too little, or nothing; None for every other file.

    A header states too little where the sound goes on behind its stated end: the bytes there are no chunk.

    Example:
        >>> unstated(io.BytesIO(b"no wav"))
    """
    sound = _sound(file)
    if sound is None or sound.layout is None:
        return None
    end, known = sound.start + sound.stated, sound.stated < sound.unknown
    if end >= sound.size and (known or not sound.rf64):  # libsndfile refuses rf64 of unknown size
        return None
    if end < sound.size and is_chunk(file, end, sound.size):
        return None
    return Unstated(sound.start, sound.layout, known)


def cut_off_frames(file: BinaryIO) -> int:
    """Samples of a channel that the header of a wav or rf64 file states, where it states more than there are; else 0.

    libsndfile reads what there is without a word. What a program states that writes into a pipe is no length.
    """
    sound = _sound(file)
    if sound is None or not sound.each or sound.stated >= sound.unknown or sound.start + sound.stated <= sound.size:
        return 0
    return sound.stated // sound.each


def _sound(file: BinaryIO) -> _Sound | None:
    """Where the samples of a wav file stand; None of any other file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        return None
    layout: dict[str, Any] | None = None
    rf64, wide = head[:4] == b"RF64", 2**64 - 1  # which stands for unknown
    for _ in range(MOST_CHUNKS):
        if len(chunk := file.read(8)) < 8:
            break
        name, stated = struct.unpack("<4sI", chunk)
        start = file.tell()
        if name == b"data":
            if rf64 and stated == 2**32 - 1:
                stated = wide
            return _Sound(start, stated, size, frame_bytes(layout) if layout else 0, layout, rf64)
        if name == b"ds64" and len(sizes := file.read(16)) == 16:
            wide = struct.unpack("<8xQ", sizes)[0]
        if name == b"fmt ":
            layout = layout_of(file.read(min(stated, 40)))
        file.seek(start + stated + stated % 2)
    return None


def layout_of(fmt: bytes) -> dict[str, Any] | None:
    """What soundfile reads the sound as that a wav file's `fmt ` chunk describes; None if compressed or broken."""
    if len(fmt) < 16:
        return None
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", fmt[:16])
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        tag = struct.unpack("<H", fmt[24:26])[0]
    if not 0 < channels <= _MOST_CHANNELS or not 0 < rate < 2**31 or (tag, bits) not in _SUBTYPES:
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


def is_chunk(file: BinaryIO, end: int, size: int, head: str = "<4sI", own: int = 0, even: int = 2) -> bool:
    """Whether a chunk, or no more than its beginning, comes after one that ends there.

    Args:
        file: Of `size` bytes.
        end: In bytes.
        size: In bytes.
        head: A chunk's name and size, as of struct.
        own: Bytes of that head which the size counts.
        even: Chunks begin at multiples of this; not every program pads them.
    """
    long = struct.calcsize(head)
    for place in {end, end + -end % even}:
        file.seek(place)
        begin = file.read(long)
        if len(begin) < long:
            return True
        name, stated = struct.unpack(head, begin)
        if all(32 <= byte < 127 for byte in name[:4]) and place + long + stated - own <= size:
            return True
    return False
