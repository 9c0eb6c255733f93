"""Which files of a folder belong to a checkpoint: what is listed here goes to the Hub, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from .facts import RESULTS, TABLES

CARD = "README.md"
SAMPLES = "samples"  # a folder of clips that the Hub's page offers to try
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
CLIPS = tuple(f"{SAMPLES}/*{ending}" for ending in (".wav", ".flac", ".mp3", ".ogg"))
TABLES_READ = (f"{TABLES}/*.json", f"{TABLES}/*.csv")
PICTURES = (f"{TABLES}/*.png",)
BESIDE_TABLES = (f"{TABLES}/*.csv", *PICTURES)
MADE = ("config.json", "preprocessor_config.json", CARD, RESULTS, "handler.py", "requirements.txt")
# Known, and of no use to others.
STAYING = (f"{TABLES}/*.md", f"{TABLES}/predictions/*")
# In a repository that has new weights, these are of the old ones unless they are pushed with them.
OF_OLD_WEIGHTS = (*WEIGHTS, *TABLES_READ, *PICTURES, RESULTS)
# And these, in whichever folder: pickles, and weights of other libraries.
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
    """Files of a folder and the folders in it, relative to it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix()


def uploaded(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Files of a folder that are one of the patterns; csv and pictures only of the tables that are there as json."""
    return [name for name in names(folder) if matches(name, patterns) and _is_of_a_table(folder, name)]


def check_checkpoint(folder: Path) -> None:
    """Raise a FileNotFoundError for what is no checkpoint's folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give one that holds a checkpoint")
    for name in ("config.json", "preprocessor_config.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}: give a folder that training wrote, or save_pretrained of model and front end"
            )


def check_files(folder: Path, only_model: bool, code: Sequence[str] = ()) -> None:
    """Refuse a folder with files that do not belong to a checkpoint: optimizer states, keys, caches.

    With `only_model` they are left out instead. `code` are the names of modules that belong to it.

    Raises:
        ValueError: There are such files, or one that belongs is a link to somewhere else.
    """
    known = (*WEIGHTS, *CLIPS, *TABLES_READ, *PICTURES, *MADE, *STAYING, *code)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        belongs = name in (SAMPLES, TABLES) or matches(name, known)
        if belongs and path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{folder / name} is a link that leads out of the folder: put there what it leads to")
    belonging = set(uploaded(folder, known))
    strange = [name for name in names(folder) if name not in belonging]
    # A folder of nothing that belongs by its own name; one of ours by what is in it.
    parts = ((name, *name.partition("/")) for name in strange)
    others = list(
        dict.fromkeys(name if not slash or top in (SAMPLES, TABLES) else f"{top}/" for name, top, slash, _ in parts)
    )
    if others and not only_model:
        listed = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        raise ValueError(
            f"{folder} holds files that do not belong to a checkpoint: {listed}. Remove them, or add --only-model to "
            "push the checkpoint without them"
        )


def check_clips(folder: Path) -> None:
    """Raise a ValueError for a clip of a folder that is no audio, whatever it is called."""
    import soundfile

    for name in uploaded(folder, CLIPS):
        try:
            soundfile.info(folder / name)
        except soundfile.SoundFileError as error:
            said = str(getattr(error, "error_string", error)).rstrip(".")
            raise ValueError(f"{folder / name} is no audio ({said}): remove it, or put a clip there") from error


def _is_of_a_table(folder: Path, name: str) -> bool:
    return not matches(name, BESIDE_TABLES) or (folder / name).with_suffix(".json").is_file()
