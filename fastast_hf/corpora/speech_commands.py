"""Speech Commands V2: one-second recordings of 35 words (Warden, arXiv 1804.03209)."""

from __future__ import annotations

import logging
import os
import tarfile
import tempfile
import zlib
from pathlib import Path

from .corpus import Clip, Corpus, CorpusError, build_corpus
from .sources import check_folder, files_by_stem, read_text

logger = logging.getLogger(__name__)

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
# fmt: off
WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
    "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop",
    "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)
# fmt: on
UNKNOWN, SILENCE = "_unknown_", "_silence_"
ARCHIVE = "speech_commands_v0.02.tar.gz"
_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_ARCHIVE_ENDINGS = (".tar.gz", ".tgz")


def load_speech_commands(root: Path | None = None, hub_id: str | None = None, classes: int = 35) -> Corpus:
    """Load Speech Commands V2 in its official splits: `train`, `validation` and `test`.

    `validation_list.txt` and `testing_list.txt` name their clips. Absent clips are counted. All others are
    for training. A clip's `id` is its word and file name, `bed/0a7c2a8d_nohash_0`: speakers say several words.

    The 12 classes are the ten commands, `_unknown_` for every other word and for a folder of that name, and
    `_silence_` for the clips of that folder. The minute-long recordings of `_background_noise_` are not clips and are
    left out, so that a corpus with no folder `_silence_` has no clip of that class. Nothing is drawn at random, as the
    12-class task of TensorFlow does to make `_unknown_` and `_silence_` a tenth each: `_unknown_` is the larger part.

    Args:
        root: The official folder or archive; the archive is unpacked once, to a folder beside it.
        hub_id: Refused, see below.
        classes: 35 words in alphabetical order, or 12 classes in the order above. In the 35, folders with a name
            such as `_silence_` are left out.

    Raises:
        CorpusError: If `classes` is neither, a folder's or list's word is none of the corpus, the lists or the folder
            are missing, the archive is damaged, or a Hub copy is asked for, whose test split is another one.
    """
    if hub_id is not None:
        raise CorpusError(
            f"{hub_id}: Speech Commands is not loaded from the Hub, whose test split is another one (4,890 clips of "
            f"12 classes, not the official 11,005); give the official archive {ARCHIVE} or its folder as root"
        )
    if classes not in (35, 12):
        raise CorpusError(f"classes={classes!r} of Speech Commands; give 35 or 12")
    assert root is not None
    if root.name.endswith(_ARCHIVE_ENDINGS):
        root = unpack(root)
    check_folder(root, f"Speech Commands' words and {' and '.join(_LISTS.values())}")
    names = list(WORDS) if classes == 35 else [*COMMANDS, UNKNOWN, SILENCE]
    here: dict[str, Path] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if _class_of(folder.name, classes, str(folder)) is not None:
            here |= {f"{folder.name}/{stem}": file for stem, file in files_by_stem(folder).items()}
    entries = {split: _read_list(root / name) for split, name in _LISTS.items()}
    held_out = {entry for listed in entries.values() for entry in listed}
    entries = {"train": [entry for entry in here if entry not in held_out], **entries}
    clips: dict[str, list[Clip]] = {}
    for split, listed in entries.items():
        labels = [_class_of(entry.partition("/")[0], classes, f"{root}, {split} clips") for entry in listed]
        clips[split] = [
            Clip(entry, here.get(entry), names.index(label))
            for entry, label in zip(listed, labels, strict=True)
            if label is not None
        ]
    return build_corpus(clips, names, root)


def unpack(archive: Path) -> Path:
    """Unpack an archive to a folder of its name beside it, all or nothing; a folder that is there is used.

    Raises:
        CorpusError: If the archive is missing or damaged, or cannot be unpacked there.
    """
    ending = next(ending for ending in _ARCHIVE_ENDINGS if archive.name.endswith(ending))
    folder = archive.with_name(archive.name.removesuffix(ending))
    if folder.is_dir():
        return folder
    if not archive.is_file():
        raise CorpusError(f"{archive}: no such archive; give {ARCHIVE} or the folder that it was unpacked to")
    logger.info("unpacking %s to %s", archive, folder)
    try:
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=f".{folder.name}.") as temporary:
            whole = Path(temporary, folder.name)
            with tarfile.open(archive, "r:gz") as tar:
                tar.extractall(whole, filter="data")
            try:
                os.replace(whole, folder)  # noqa: PTH105 - Path.replace is the same; the name says that it is atomic
            except OSError:
                if not folder.is_dir():  # else another process was first, and has unpacked the same
                    raise
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise CorpusError(f"{archive}: no whole tar.gz archive ({error}); fetch it again") from None
    except OSError as error:
        raise CorpusError(
            f"{archive}: cannot be unpacked beside it ({error}); unpack it where there is room"
        ) from None
    return folder


def _class_of(word: str, classes: int, where: str) -> str | None:
    """The class of a word or folder name; None if this variant has no such class."""
    if word in WORDS:
        return word if classes == 35 or word in COMMANDS else UNKNOWN
    if word.startswith("_") and word.endswith("_"):
        return word if classes == 12 and word in (UNKNOWN, SILENCE) else None
    raise CorpusError(
        f"{where}: unknown label {word!r}; give Speech Commands V2, whose 35 words are {WORDS[0]} … {WORDS[-1]}"
    )


def _read_list(file: Path) -> list[str]:
    """Entries such as "bed/0a7c2a8d_nohash_0", without their extension."""
    lines = [line.strip() for line in read_text(file).splitlines()]
    return [os.path.splitext(line)[0] for line in lines if line]  # noqa: PTH122 - entries, not files
