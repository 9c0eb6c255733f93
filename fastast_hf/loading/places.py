"""Whether a setting names something on this machine: to be asked when it is used, for later nobody can tell."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any


def is_here(place: Any) -> bool:
    """Whether this is a file or folder of this machine, and no name of the Hub or timm's.

    Example:
        >>> is_here("MIT/ast-finetuned-audioset-10-10-0.4593"), is_here(None)
        (False, False)
    """
    return isinstance(place, str) and bool(place) and not place.startswith("timm/") and Path(place).exists()


def check_output(path: Path, kind: str = "file") -> None:
    """Raise a ValueError where nothing can be written, before anything is computed for it.

    Args:
        path: Of a file, or of a folder that will be made where it is missing.
        kind: `"file"` or `"folder"`.
    """
    if kind == "file" and path.is_dir():
        raise ValueError(f"{path} is a folder: give the name of a file to write")
    folder = path if kind == "folder" else path.parent
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise ValueError(f"{path} can't be written: {there} is a file; give another --output")
    try:
        tempfile.TemporaryFile(dir=there).close()
        if kind == "file" and path.exists():
            path.open("ab").close()
    except OSError as error:
        raise ValueError(f"{path} can't be written ({error.strerror}): give another --output") from error


def short_name(place: str) -> str:
    """The last part of a path; where something is yet to be filled in, the parts from there on.

    Example:
        >>> short_name("/home/me/runs/esc"), short_name("runs/r{r}/best")
        ('esc', 'r{r}/best')
    """
    parts = Path(place).parts if Path(place).name not in ("", "..") else Path(place).resolve().parts
    first = next((index for index, part in enumerate(parts) if "{" in part), len(parts) - 1)
    return "/".join(parts[first:])
