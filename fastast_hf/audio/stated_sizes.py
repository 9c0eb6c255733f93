"""Aiff, au, caf and w64 files whose header states less or more sound than there is, and ogg files without an end."""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO, NamedTuple

from .wav_header import MOST_CHUNKS, UNKNOWN, From, is_chunk

_OGG_PAGE = 65307  # bytes, the longest
_OGG_LAST = 4  # the flag of a stream's last page


class _Container(NamedTuple):
    first: int  # place of the first chunk
    head: str  # name and size of a chunk, as of struct
    own: int  # bytes of that head which its size counts
    even: int  # chunks begin at multiples of this
    sound: bytes  # the beginning of the name of the chunk with the samples
    before: int  # bytes in it in front of them


_CONTAINERS = {
    b"FORM": _Container(12, ">4sI", 0, 2, b"SSND", 8),
    b"caff": _Container(8, ">4sQ", 0, 1, b"data", 4),
    b"riff": _Container(40, "<16sQ", 24, 8, b"data", 0),  # w64
}


class Stated(NamedTuple):
    """What a header states about how much sound there is, where that is not true.

    Attributes:
        place: Of the number in the file, in bytes.
        true: What should stand there.
        share: How many times the sound that there is was stated; 1 where the header says that it does not know.
    """

    place: int
    true: bytes
    share: float


def untrue_size(file: BinaryIO) -> Stated | None:
    """What is wrong in the header of an aiff, au, caf or w64 file; None where nothing is, and for every other file.

    Example:
        >>> import io
        >>> untrue_size(io.BytesIO(b"no sound"))
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    kind = file.read(4)
    if kind == b".snd":
        begin = file.read(8)
        if len(begin) < 8:
            return None
        start, number = struct.unpack(">II", begin)
        return None if number == size - start else _untrue(8, ">I", start, number, 0, size)
    if kind not in _CONTAINERS:
        return None
    place, head, own, even, sound, before = _CONTAINERS[kind]
    long = struct.calcsize(head)
    for _ in range(MOST_CHUNKS):
        file.seek(place)
        begin = file.read(long)
        if len(begin) < long:
            break
        name, number = struct.unpack(head, begin)
        if name.startswith(sound):
            end = place + long + max(number - own, before)
            if end == size or (end < size and is_chunk(file, end, size, head, own, even)):
                break
            field = head[0] + head[-1]
            start = place + long
            return _untrue(start - struct.calcsize(field), field, start + before, number, own + before, size)
        place += long + max(0, number - own)
        place += -place % even
    return None


def _untrue(place: int, form: str, start: int, number: int, more: int, size: int) -> Stated | None:
    """A number that counts `more` bytes besides the sound from `start` on."""
    most, unknown = (2**32 - 1, UNKNOWN) if form.endswith("I") else (2**64 - 1, 2**62)
    there = size - start
    if there <= 0:
        return None
    share = 1.0 if number >= unknown else max(0, number - more) / there
    return Stated(place, struct.pack(form, min(there + more, most)), share)


class Overlaid(From):
    """A file as if other bytes stood in one place of it."""

    def __init__(self, file: BinaryIO, place: int, content: bytes) -> None:
        super().__init__(file, 0)
        self._place, self._content = place, content

    def readinto(self, buffer: Any) -> int:
        """As of any file."""
        at, view = self.tell(), memoryview(buffer).cast("B")
        count = super().readinto(view)
        for index, byte in enumerate(self._content, self._place - at):
            if 0 <= index < count:
                view[index] = byte
        return count


def ogg_without_end(file: BinaryIO) -> bool:
    """Whether it is an ogg file whose last page does not say that it is the last."""
    file.seek(0)
    if file.read(4) != b"OggS":
        return False
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _OGG_PAGE))
    *_, flags = file.read().rpartition(b"OggS\0")
    return not flags or not flags[0] & _OGG_LAST
