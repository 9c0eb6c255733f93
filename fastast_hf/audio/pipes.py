"""Sound in bytes that are still coming in: a pipe, or a file that is still written."""

from __future__ import annotations

import io
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from .arrays import average
from .errors import AudioError
from .wav_header import UNKNOWN, frame_bytes, layout_of

logger = logging.getLogger(__name__)

PCM = {"s16le": "PCM_16", "f32le": "FLOAT"}  # FFmpeg's names to libsndfile's
POLL = 0.05  # s between looks at a file that has not grown
_AT_ONCE = 65536  # bytes asked for; a pipe gives what it has

Read = Callable[[int], bytes]


def sound_in_bytes(
    read: Read, name: str, rate: int | None = None, pcm: str | None = None, channels: int = 1, to_end: bool = False
) -> tuple[int, Iterator[np.ndarray]]:
    """The sampling rate and the mono blocks (n,) of sound that comes in bytes, to iterate over once.

    Args:
        read: Gives up to so many bytes as soon as there are any; none at the end.
        name: For messages.
        rate: In Hz, of `pcm`.
        pcm: `"s16le"` or `"f32le"` for samples without a header; None for a wav file.
        channels: Of `pcm`.
        to_end: Whether the length in a wav header is not yet true.

    Raises:
        AudioError: It is no wav file, or one of compressed sound.
    """
    if pcm is not None:
        if rate is None or channels < 1:
            raise AudioError(f"{name}: {pcm} samples without a header; give their rate, and 1 channel or more")
        layout: dict[str, Any] = {"samplerate": rate, "channels": channels, "subtype": PCM[pcm]}
        return rate, _blocks(read, layout, None, name)
    head = _exactly(read, 12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        what = "zero bytes" if not head else "no wav file"
        raise AudioError(f"{name}: {what}; give wav, or say what it is (--pcm s16le --rate 16000, say)")
    found: dict[str, Any] | None = None
    while len(chunk := _exactly(read, 8)) == 8:
        kind, stated = struct.unpack("<4sI", chunk)
        if kind == b"data":
            if found is None:
                break
            known = not to_end and 0 < stated < UNKNOWN
            return found["samplerate"], _blocks(read, found, stated if known else None, name)
        content = _exactly(read, min(stated + stated % 2, 2**20))
        if kind == b"fmt ":
            found = layout_of(content)
    raise AudioError(f"{name}: a wav file without uncompressed sound; send it as PCM")


def growing(path: str | os.PathLike[str], name: str) -> Read:
    """Reads a file to its end and waits there for more, until it is removed or made shorter.

    Raises:
        AudioError: It can't be opened.
    """
    try:
        file = Path(path).open("rb", buffering=0)  # noqa: SIM115 - open as long as it is read
    except OSError as error:
        raise AudioError(f"{name}: cannot be opened ({error.strerror}); check the path") from None

    def read(count: int) -> bytes:
        while not (found := file.read(count)):
            state = os.fstat(file.fileno())
            if not state.st_nlink or state.st_size < file.tell():
                logger.warning("%s: was %s", name, "made shorter" if state.st_nlink else "removed")
                return b""
            time.sleep(POLL)
        return found

    return read


def _blocks(read: Read, layout: dict[str, Any], stated: int | None, name: str) -> Iterator[np.ndarray]:
    """Mono blocks. What stands behind the stated bytes is more sound, unless it is a chunk of a wav file."""
    each = frame_bytes(layout)
    done, held, over = 0, b"", False
    while not over:
        more = read(_AT_ONCE)
        held, over = held + more, not more
        usable = len(held)
        if stated is not None:
            left = stated - done
            follows = held[left : left + 8]
            usable = min(usable, left)
            if len(follows) == 8 and not all(32 <= byte < 127 for byte in follows[:4]):
                logger.warning("%s: its header states less sound than there is; reading to the end", name)
                stated, usable = None, len(held)
            elif len(follows) == 8:
                over = True
        whole = usable // each * each
        if whole:
            raw: Any = {"format": "RAW", "endian": "LITTLE", **layout}
            yield average(soundfile.read(io.BytesIO(held[:whole]), dtype="float32", always_2d=True, **raw)[0])
        done, held = done + whole, held[whole:]
    seconds = done / each / layout["samplerate"]
    if stated is not None and done < stated // each * each:
        wanted = stated / each / layout["samplerate"]
        logger.warning("%s: cut off, after %.2f s of the %.2f s that its header states", name, seconds, wanted)
    elif stated is None and held:
        logger.warning("%s: cut off within a sample, after %.2f s", name, seconds)


def _exactly(read: Read, count: int) -> bytes:
    """So many bytes; fewer at the end."""
    found = b""
    while len(found) < count and (more := read(count - len(found))):
        found += more
    return found
