"""Your own recordings: one folder a class."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path

from ..audio import find_audio, is_audio
from .corpus import Clip, Corpus, CorpusError, build_corpus, first_of
from .own.splits import SPLITS
from .sources import check_folder

logger = logging.getLogger(__name__)

_TEST_SHARE = 0.2

Classes = dict[str, list[Path]]


def load_audiofolder(root: Path | None = None, hub_id: str | None = None) -> Corpus:
    """Load a folder of class-named folders.

    With `train/` and `test/` (or `validation/`) in `root`, these are the splits, each with its class folders. Without,
    a fifth of every class is for testing: the clips whose paths relative to `root` have the smallest SHA-256, so that
    the same folder gives the same split everywhere; clips cut from one recording may fall on both sides. A class of
    two or more clips has at least one on each side.

    A clip's `id` is its path within its split. Folders inside a class folder belong to the class; files beside the
    class folders and class folders without audio are left out.

    Args:
        root: The folder.
        hub_id: Refused: give the folder that you downloaded.

    Raises:
        CorpusError: If the folder is missing, has fewer than two classes, or has classes that are not in `train/`.
    """
    if hub_id is not None:
        raise CorpusError(
            f"{hub_id}: an audio folder is not loaded from the Hub; download it and give its folder as root, or "
            "leave out --corpus for a dataset"
        )
    assert root is not None
    check_folder(root, "one folder of recordings for each class; a table of files and labels is --corpus csv")
    given = split_folders(root)
    if "train" in given and len(given) > 1:
        splits = {split: _find_classes(folder) for split, folder in given.items()}
    else:
        given = {"train": root, "test": root}
        splits = dict(zip(given, _split(root, _find_classes(root)), strict=True))
        logger.info("%s: no train/ and test/: a fifth of each class, one clip at least, is for testing", root)
    names = sorted(splits["train"])
    if len(names) < 2:
        raise CorpusError(
            f"{given['train']}: {len(names)} class folders with audio ({', '.join(names) or 'none'}); give two or "
            "more or, by --corpus csv or datasets, what labels your clips"
        )
    for split, classes in splits.items():
        unknown = sorted(set(classes) - set(names))
        if unknown:
            raise CorpusError(
                f"{given[split]}: unknown label {', '.join(map(repr, unknown[:5]))}, which {given['train']} lacks; "
                "give both the same folders, or add clips to train on"
            )
    clips = {
        split: [
            Clip(file.relative_to(given[split]).as_posix(), file, names.index(name))
            for name in sorted(classes)
            for file in classes[name]
        ]
        for split, classes in splits.items()
    }
    corpus = build_corpus(clips, names, root)
    corpus.own_splits = given.get("train") != root
    return corpus


def split_folders(root: Path) -> dict[str, Path]:
    """The folders in `root` that are named after splits."""
    folders = {split: [root / name for name in names if (root / name).is_dir()] for split, names in SPLITS.items()}
    return {split: found[0] for split, found in folders.items() if found}


def held_out(root: Path, files: list[Path]) -> set[Path]:
    """A fifth of the files, but not all: those whose paths relative to `root` have the smallest SHA-256."""
    count = min(max(1, round(_TEST_SHARE * len(files))), len(files) - 1)
    return set(sorted(files, key=lambda file: _digest(file.relative_to(root)))[:count])


def _find_classes(folder: Path) -> Classes:
    """The audio files of each class folder that has any; a CorpusError where the folders are folds."""
    classes = {}
    for child in folder.iterdir():
        if child.is_dir() and not child.name.startswith("."):
            found = find_audio(child)
            for line in (*found.errors, found.describe_left_out()):
                if line:
                    logger.warning("%s", line)
            if found.files:
                classes[child.name] = found.files
            else:
                logger.warning("%s: no audio in it, so %r is no class", child, child.name)
    beside = sorted(child.name for child in folder.iterdir() if child.is_file() and is_audio(child.name))
    if beside:
        count = f"{len(beside)} recording{'s' * (len(beside) > 1)}"
        logger.warning("%s: left out %s in no class folder, such as %s", folder, count, beside[0])
    if len(classes) > 1 and all(re.fullmatch(r"fold[ _-]?\d+", name, re.IGNORECASE) for name in classes):
        raise CorpusError(
            f"{folder}: its folders are {first_of(sorted(classes))}. Are they folds, not classes? Then give the table "
            "of the clips, labels and folds as --data; else give one folder for each class"
        )
    return classes


def _split(root: Path, classes: Classes) -> tuple[Classes, Classes]:
    """Clips to train and to test on, in their order within each class."""
    train: Classes = {}
    test: Classes = {}
    for name, files in classes.items():
        tested = held_out(root, files)
        train[name] = [file for file in files if file not in tested]
        test[name] = [file for file in files if file in tested]
    return train, test


def _digest(path: Path) -> str:
    return hashlib.sha256(path.as_posix().encode(errors="surrogateescape")).hexdigest()
