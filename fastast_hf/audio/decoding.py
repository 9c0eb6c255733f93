"""Audio files to blocks of mono float32 samples at their own rate."""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import soundfile

from .arrays import average
from .errors import AudioError
from .quiet import c_output_dropped
from .stated_sizes import Overlaid, ogg_without_end, untrue_size
from .wav_header import From, cut_off_frames, unstated

logger = logging.getLogger(__name__)

_HEAD = 65536  # bytes: enough for the header of any file
_BLOCK = 4096  # frames per read: what a damaged file loses, at most, ahead of the damage


class _Stream(soundfile.SoundFile):
    """A file read from front to back: between reads soundfile seeks, which fails where a file is damaged."""

    def seekable(self) -> bool:
        return False

    def skip(self, frames: int) -> bool:
        """Go to a frame; False where that can't be done to the sample, as in Ogg by libsndfile."""
        if not 0 < frames < self.frames or self.format == "OGG":
            return False
        try:
            return self.seek(frames) == frames
        except soundfile.SoundFileError:
            return False


def decode(
    source: str | os.PathLike[str] | bytes | BinaryIO, name: str, skip: Callable[[int], int] | None = None
) -> tuple[int, Iterator[np.ndarray], int, int | None]:
    """The sampling rate of a file, or of what was in one, and its samples in blocks (n,) to iterate over once.

    Args:
        source: A path, the bytes of a file, or a file object opened in binary mode, which is read from its start. One
            that cannot seek, such as stdin, is first copied into a temporary file.
        name: For messages.
        skip: From the sampling rate to the samples that need not be decoded.

    Returns:
        The rate, the blocks, how many samples before them were skipped (where the file can't seek, none), and how
        many samples the file has by its header (None where that does not say).

    Raises:
        AudioError: There is no such file, or no audio in it. The iterator raises it where less than half of the clip
            can be decoded; it logs a warning where more of it can, but not all.
    """
    opened: BinaryIO
    if isinstance(source, bytes):
        opened = io.BytesIO(source)
    elif isinstance(source, (str, os.PathLike)):
        opened = _open(source, name)
    else:
        opened = _seekable(source, name)
    head, whole, size = opened.read(_HEAD), unstated(opened), untrue_size(opened)
    cut, endless = cut_off_frames(opened), ogg_without_end(opened)
    opened.seek(0)
    given: object = opened
    if (whole is not None and whole.known) or (size is not None and size.share < 1):
        logger.warning("%s: its header states less sound than there is; reading to the end of the file", name)
    if whole is not None:
        given = From(opened, whole.start)
    elif size is not None:
        given = Overlaid(opened, size.place, size.true)
    elif isinstance(source, (str, os.PathLike)):
        opened.close()
        # A name as bytes: soundfile can't encode one that is not in UTF-8, which Windows does not have.
        given = os.fsencode(source) if os.name == "posix" else source
    if not head:
        raise AudioError(f"{name}: empty file (0 bytes); fetch or export it again")
    try:
        with c_output_dropped():
            file = _Stream(given, format="RAW", **whole.layout) if whole else _Stream(given)
        if file.format == "RAW" and not whole:  # libsndfile plays any bytes named .au, .snd, .vox or .gsm as that
            raise TypeError
    except (soundfile.SoundFileError, TypeError, ValueError):
        raise AudioError(
            f"{name}: no audio that can be decoded; give a whole wav, flac, ogg, opus, mp3, aiff, au, w64 or caf file"
        ) from None
    # Only these state a length, and not always: an mp3 without the tag has its length guessed from the bit rate of its
    # first frame, a FLAC encoded from a pipe has the largest integer there is. An ogg's is that of its last page.
    states_length = file.format in ("FLAC", "OGG") or (file.format == "MP3" and re.search(b"Xing|Info", head))
    stated = file.frames if states_length and file.frames < 2**62 else 0
    total = stated or (None if file.format in ("FLAC", "MP3") else file.frames)
    if size is not None and size.share > 1:
        cut = round(file.frames * size.share)
    first = 0
    if skip is not None and total and (wanted := skip(file.samplerate)) > 0:
        if file.skip(wanted):
            first = wanted
        else:  # a try may have moved it
            file.close()
            return decode(source, name)
    return file.samplerate, _blocks(file, stated, name, first, cut, endless), first, total


def _blocks(file: _Stream, stated: int, name: str, done: int, cut: int, failed: bool) -> Iterator[np.ndarray]:
    """Blocks of a file that states its length, or stated `cut` samples and has fewer, or has `failed` already."""
    with file:
        while True:
            # A FLAC's length is exact, and what stands behind it (a tag, say) is no FLAC.
            left = stated - done if stated and file.format == "FLAC" else _BLOCK
            try:
                with c_output_dropped():
                    block = file.read(min(_BLOCK, left), dtype="float32", always_2d=True)
            except soundfile.SoundFileError:
                failed = True
                break
            if not len(block):
                break
            done += len(block)
            yield average(block)
        of = f" of {(cut or stated) / file.samplerate:.2f} s" if (cut or stated) > done else ""
        heard = f"{done / file.samplerate:.2f} s{of}"
    if done < 0.5 * stated or (failed and not done):
        raise AudioError(f"{name}: cut off or damaged, only {heard} can be decoded; fetch or export it again")
    if failed or done < max(cut, 0.98 * stated):  # what is there of a file that was cut is whole
        logger.warning("%s: cut off or damaged, using the %s that can be decoded", name, heard)


def _open(path: str | os.PathLike[str], name: str) -> BinaryIO:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - to pathlib, an empty name is the current folder
        if stat.S_ISREG(mode):
            return open(path, "rb")  # noqa: PTH123 - closed by whoever reads it
    except (FileNotFoundError, ValueError):  # ValueError: a null byte in the path
        raise AudioError(f"{name}: no such file; check the path") from None
    except OSError as error:
        raise AudioError(f"{name}: cannot be opened ({error.strerror}); check the path") from None
    if stat.S_ISDIR(mode):
        raise AudioError(f"{name}: is a folder; give an audio file that is in it")
    raise AudioError(f"{name}: is a pipe or device; write the sound to a file, and give that")


def _seekable(file: BinaryIO, name: str) -> BinaryIO:
    """The file object at its start, or its copy on the disk: only a few formats can be read without seeking."""
    try:
        if not file.seekable():
            copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the last reference to it
            shutil.copyfileobj(file, copy)
            file = copy
        file.seek(0)
        if isinstance(file.read(0), bytes):
            return file
    except (TypeError, ValueError):  # text into the copy; a closed file
        pass
    raise AudioError(f'{name}: a file object that gives no bytes; give one that is open in binary mode ("rb")')
