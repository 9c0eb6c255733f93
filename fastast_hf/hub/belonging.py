"""Which files of a folder belong to a checkpoint: what is listed here goes to the Hub, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ..loading.saved_weights import INDEX, WHOLE, tensors_by_file
from .facts import RESULTS, TABLES

CARD = "README.md"
SAMPLES = "samples"  # a folder of clips that the Hub's page offers to try
CLIPS = tuple(f"{SAMPLES}/*{ending}" for ending in (".wav", ".flac", ".mp3", ".ogg"))
BESIDE_TABLES = (f"{TABLES}/*.csv", f"{TABLES}/*.png")
MEASURED = (RESULTS, f"{TABLES}/*.json", *BESIDE_TABLES)
MADE = ("config.json", "preprocessor_config.json", CARD, "handler.py", "requirements.txt")
# Known, and of no use to others; reports hold clips, which may be nobody else's to hear.
STAYING = ("split.csv", f"{TABLES}/*.md", f"{TABLES}/predictions/*", "report/*", f"{TABLES}/*-report*/*")
# In a repository that gets new weights, these are of the old ones unless they are pushed with them.
OF_OLD_WEIGHTS = (WHOLE, "model-*-of-*.safetensors", INDEX, *MEASURED)
# And these, in any folder: pickles, and weights of other libraries.
PICKLED = ("*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.h5")


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file's name is one of the patterns, part by part; no hidden file is.

    Example:
        >>> matches("samples/dog.wav", CLIPS), matches("samples/deep/dog.wav", CLIPS), matches("samples/.wav", CLIPS)
        (True, False, False)
    """
    parts = name.split("/")
    if any(part.startswith(".") for part in parts):
        return False
    wanted = (pattern.split("/") for pattern in patterns)
    return any(len(w) == len(parts) and all(map(fnmatchcase, parts, w)) for w in wanted)


def is_outdated(name: str) -> bool:
    """Whether a file of a repository is of its old weights.

    Example:
        >>> is_outdated("results.json"), is_outdated("checkpoint-5/optimizer.pt"), is_outdated("notes.txt")
        (True, True, False)
    """
    last = name.rpartition("/")[2].lower()
    return matches(name, OF_OLD_WEIGHTS) or any(fnmatchcase(last, pattern) for pattern in PICKLED)


def names(folder: Path) -> Iterator[str]:
    """Files of a folder and the folders in it, relative to it; a link to a folder counts as a file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() or path.is_symlink():
            yield path.relative_to(folder).as_posix()


def uploaded(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Files of a folder that are one of the patterns; csv and pictures only of the tables that are there as json."""
    return [name for name in names(folder) if matches(name, patterns) and _is_of_a_table(folder, name)]


def weight_files(folder: Path) -> list[str]:
    """The files that transformers loads the weights from."""
    files = [file.name for file in tensors_by_file(folder)]
    return files if files == [WHOLE] else [INDEX, *files]


def check_files(folder: Path, only_model: bool, code: Sequence[str] = ()) -> None:
    """Raise a ValueError for files that do not belong to a checkpoint: optimizer states, keys, caches.

    With `only_model` they are left out instead. `code` are the names of modules that belong to it.
    """
    belonging = set(uploaded(folder, (*weight_files(folder), *CLIPS, *MEASURED, *MADE, *STAYING, *code)))
    strange = [name for name in names(folder) if name not in belonging]
    # A foreign folder is named as a whole.
    ours = f"{SAMPLES}/", f"{TABLES}/"
    others = list(dict.fromkeys(name if name.startswith(ours) else re.sub("/.*", "/", name) for name in strange))
    if others and not only_model:
        listed = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        raise ValueError(
            f"{folder} holds files that do not belong to a checkpoint: {listed}. Remove them, or add --only-model to "
            "push the checkpoint without them"
        )


def _is_of_a_table(folder: Path, name: str) -> bool:
    return not matches(name, BESIDE_TABLES) or (folder / name).with_suffix(".json").is_file()
