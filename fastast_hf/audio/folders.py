"""The audio files in folders, and what else is there."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from .errors import AudioError, name_of

# A file may be named after its format (flac, wav, w64 …), or as follows.
_OTHER_ENDINGS = {
    "AIFF": ("aif", "aifc"),
    "AU": ("snd",),
    "IRCAM": ("sf",),
    "NIST": ("sph",),
    "OGG": ("oga", "opus"),
    "SVX": ("iff", "8svx"),
    "WAV": ("wave", "bwf"),
}
AUDIO_EXTENSIONS = tuple(
    sorted(
        f".{ending}"
        for kind in soundfile.available_formats()
        if kind != "RAW"  # any bytes at all
        for ending in (kind.lower(), *_OTHER_ENDINGS.get(kind, ()))
    )
)


@dataclass
class AudioFiles:
    """What [`find_audio`] found.

    Attributes:
        files: Those given, and those in folders whose names end in one of `AUDIO_EXTENSIONS`.
        left_out: How many other files the folders hold, by the endings of their names.
        errors: Folders that can't be listed or hold no audio.
    """

    files: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    errors: list[AudioError] = field(default_factory=list)

    def describe_left_out(self) -> str:
        """One line on the files left out; empty if there are none.

        Example:
            >>> AudioFiles(left_out=Counter({".txt": 2, ".m4a": 1})).describe_left_out()
            'left out 3 files of kinds that libsndfile does not read: 2 .txt, 1 .m4a'
        """
        if not self.left_out:
            return ""
        count = sum(self.left_out.values())
        files = f"{count} file{'s' if count > 1 else ''}"
        return f"left out {files} of kinds that libsndfile does not read: {_count(self.left_out)}"


def find_audio(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> AudioFiles:
    """List audio files: files as given, folders searched at any depth.

    Inside a folder the order is natural ("clip2" before "clip10"). A path that does not exist is listed as a file, so
    that reading it tells.

    Args:
        paths: Files and folders. What is given twice is listed twice.

    Example:
        >>> [file.name for file in find_audio(["dog.wav", "dog.wav"]).files]
        ['dog.wav', 'dog.wav']
    """
    found = AudioFiles()
    for path in [paths] if isinstance(paths, (str, os.PathLike)) else paths:
        if not os.fspath(path):  # to pathlib, the current folder
            found.errors.append(AudioError(f"{name_of(path)}: an empty name; give a file or folder"))
        elif not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where this is False: a long name
            found.files.append(Path(path))
        else:
            _search(Path(path), found)
    return found


def walk(folder: str | os.PathLike[str], errors: list[AudioError]) -> Iterator[str]:
    """The files in a folder at any depth, but for hidden ones and those in hidden folders.

    Links to folders are followed. Each folder is listed once, however many ways lead to it: links come last.

    Args:
        folder: Where to start.
        errors: Folders that can't be listed are added here.

    Yields:
        Paths that begin with `folder`.
    """

    def cannot_list(error: OSError) -> None:
        name = name_of(error.filename)
        errors.append(AudioError(f"{name}: this folder can't be listed ({error.strerror}); check its permissions"))

    listed: set[tuple[int, int]] = set()
    starts = [os.fspath(folder)]
    for start in starts:  # which links add to
        for parent, folders, names in os.walk(start, onerror=cannot_list):
            status = os.stat(parent)  # noqa: PTH116 - AudioSet has two million files: paths stay text here
            if (status.st_dev, status.st_ino) in listed:
                folders.clear()
                continue
            listed.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside = [os.path.join(parent, name) for name in folders]  # noqa: PTH118
            starts += [path for path in inside if os.path.islink(path)]  # noqa: PTH114
            yield from (os.path.join(parent, name) for name in sorted(names) if not name.startswith("."))  # noqa: PTH118


def is_audio(path: str) -> bool:
    """Whether a file's name is that of audio which can be read.

    Example:
        >>> is_audio("dog.WAV"), is_audio("notes.txt")
        (True, False)
    """
    return _ending(path) in AUDIO_EXTENSIONS


def _search(folder: Path, found: AudioFiles) -> None:
    files: list[Path] = []
    left_out: Counter[str] = Counter()
    known = len(found.errors)
    for path in walk(folder, found.errors):
        if is_audio(path):
            files.append(Path(path))
        else:
            left_out[_ending(path)] += 1
    found.files += sorted(files, key=_natural_key)
    if files or len(found.errors) > known:
        found.left_out += left_out
    else:
        there = f" ({_count(left_out)})" if left_out else ""
        found.errors.append(
            AudioError(f"{name_of(folder)}: no audio in this folder{there}; looked for {', '.join(AUDIO_EXTENSIONS)}")
        )


def _count(left_out: Counter[str]) -> str:
    counts = [f"{count} {ending or 'with no ending'}" for ending, count in left_out.most_common(8)]
    return ", ".join([*counts, "…"] if len(left_out) > 8 else counts)


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122


def _natural_key(file: Path) -> tuple[list[list[str | int]], str]:
    parts = [[int(s) if s.isdecimal() else s.casefold() for s in re.split(r"(\d+)", part)] for part in file.parts]
    return parts, str(file)
