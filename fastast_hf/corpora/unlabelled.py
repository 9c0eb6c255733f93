"""Sound without labels, to be learned from a teacher alone: any folder, long recordings in excerpts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import soundfile

from ..audio import find_audio
from .audiofolder import held_out, split_folders
from .corpus import Clip, Corpus, CorpusError, build_corpus
from .sources import check_folder

logger = logging.getLogger(__name__)

SECONDS = 10.0  # of an excerpt
_SHORTEST = 1.0  # of a recording's last one, where it has others


def load_unlabelled(
    root: Path | None = None, hub_id: str | None = None, labels: Sequence[str] | None = None
) -> Corpus:
    """Load the recordings in a folder, at any depth, in excerpts of ten seconds.

    With `train/` and `test/` in `root`, these are the splits. Without, a fifth of the recordings is for testing: those
    whose paths relative to `root` have the smallest SHA-256. No clip has a label: `labels` is empty in every row, and
    `start` and `end` say where in its recording an excerpt is, in seconds.

    Args:
        root: The folder.
        hub_id: Refused: give the folder that you downloaded.
        labels: The names of the classes that a teacher tells apart.

    Raises:
        CorpusError: The folder is missing or has no audio, or there is no teacher to name the classes.
    """
    if hub_id is not None:
        raise CorpusError(f"{hub_id}: unlabelled sound is not loaded from the Hub; download it and give its folder")
    assert root is not None
    check_folder(root, "the recordings")
    if labels is None:
        raise CorpusError("unlabelled sound teaches nothing without a teacher; use fastast distill --teacher TEACHER")
    folders = split_folders(root)
    if "train" in folders and len(folders) > 1:
        splits = {split: (folder, _recordings(folder)) for split, folder in folders.items()}
    else:
        files = _recordings(root)
        tested = held_out(root, files)
        splits = {
            "train": (root, [file for file in files if file not in tested]),
            "test": (root, [file for file in files if file in tested]),
        }
    excerpts = {
        split: [(file, *span) for file in files for span in _spans(excerpt_starts(length_of(file)))]
        for split, (_, files) in splits.items()
    }
    clips = {
        split: [
            Clip(f"{file.relative_to(splits[split][0]).as_posix()}@{start:g}", file, [], start, end)
            for file, start, end in listed
        ]
        for split, listed in excerpts.items()
    }
    return build_corpus(clips, labels, root, multi_label=True)


def _spans(starts: Sequence[float]) -> list[tuple[float, float | None]]:
    """Each excerpt's start and end; the last one ends where the recording does."""
    return list(zip(starts, [*starts[1:], None], strict=True))


def _recordings(folder: Path) -> list[Path]:
    found = find_audio(folder)
    for line in (*found.errors, found.describe_left_out()):
        if line:
            logger.warning("%s", line)
    return found.files


def excerpt_starts(seconds: float) -> list[float]:
    """Where the excerpts of a recording of a length begin, in seconds.

    Example:
        >>> excerpt_starts(31.5), excerpt_starts(30.5), excerpt_starts(0.2)
        ([0.0, 10.0, 20.0, 30.0], [0.0, 10.0, 20.0], [0.0])
    """
    count = max(1, int((seconds - _SHORTEST) // SECONDS) + 1)
    return [index * SECONDS for index in range(count)]


def length_of(file: Path) -> float:
    """Seconds of a recording by its header.

    0 if the header can't be read; the error comes when the file is decoded.
    """
    try:
        return float(soundfile.info(str(file)).duration)
    except (soundfile.SoundFileError, OSError):
        return 0.0
