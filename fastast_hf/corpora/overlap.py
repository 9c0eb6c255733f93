"""Clips that are in two splits: what was trained on must not be tested on."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import CorpusError

logger = logging.getLogger(__name__)

_MOST = 10_000  # files whose contents are compared: more take minutes to open
_HEAD = 4096  # bytes that tell most files apart


def check_overlap(
    splits: Mapping[str, Sequence[Path]], parts: bool = False, digests: Mapping[Path, bytes] | None = None
) -> None:
    """Refuse a file that is in two splits, and warn of files with the same content (of up to 10,000 clips).

    Args:
        splits: The files of each.
        parts: Whether clips are parts of recordings, of which two splits may have some: a warning says so.
        digests: Of the contents that are no files on disk.

    Raises:
        CorpusError: A file is in two splits.
    """
    seen: dict[Path, str] = {}
    shared = set()
    for split, files in splits.items():
        for file in files:
            if seen.setdefault(file, split) != split:
                if parts:
                    shared.add(file)
                    continue
                raise CorpusError(f"{file}: in the splits {seen[file]} and {split}; list each clip in one split")
    if shared:
        logger.warning(
            "%d recordings have parts in two splits, %s say: scores will be too good", len(shared), min(shared)
        )
    copies = _same((digests or {}).items(), seen)
    if len(splits) > 1 and len(seen) <= _MOST:
        copies += _copies(seen)
    if copies:
        here, there = copies[0]
        logger.warning(
            "%d clips of one split have the content of a clip of another, %s that of %s: scores will be too good",
            len(copies), here, there,
        )  # fmt: skip


def check_held_out(files: Iterable[Path], held_out: Iterable[Mapping[str, Any]]) -> None:
    """Refuse files to train on that have the content of a clip to test on, wherever they lie.

    Args:
        files: To train on.
        held_out: The undecoded `audio` of the clips to test on.

    Raises:
        CorpusError: There is such a file.
    """
    trained_on: dict[bytes, Path] = {}
    for file in files:
        with suppress(OSError):
            trained_on[hashlib.sha256(file.read_bytes()).digest()] = file
    for audio in held_out:
        with suppress(OSError):
            content = Path(audio["path"]).read_bytes() if audio["bytes"] is None else audio["bytes"]
            if copy := trained_on.get(hashlib.sha256(content).digest()):
                raise CorpusError(f"{copy}: has the content of the held-out clip {audio['path']}; give other clips")


def _copies(splits: Mapping[Path, str]) -> list[tuple[Path, Path]]:
    """Files, each with an earlier one of the same content in another split."""
    alike: dict[tuple[int, bytes], list[Path]] = defaultdict(list)
    for file in splits:
        with suppress(OSError), file.open("rb") as opened:  # what can't be opened is told where it is read
            alike[file.stat().st_size, opened.read(_HEAD)].append(file)
    copies = []
    for files in alike.values():
        if len({splits[file] for file in files}) > 1:
            copies += _same(((file, hashlib.sha256(file.read_bytes()).digest()) for file in files), splits)
    return copies


def _same(digests: Iterable[tuple[Path, bytes]], splits: Mapping[Path, str]) -> list[tuple[Path, Path]]:
    """Files, each with an earlier one of the same digest in another split."""
    first: dict[bytes, Path] = {}
    return [
        (file, original)
        for file, digest in digests
        if file in splits and splits[original := first.setdefault(digest, file)] != splits[file]
    ]
