"""Whether a setting names something on this machine: to be asked when it is used, for later nobody can tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def is_here(place: Any) -> bool:
    """Whether this is a file or folder of this machine, and no name of the Hub or timm's.

    Example:
        >>> is_here("MIT/ast-finetuned-audioset-10-10-0.4593"), is_here(None)
        (False, False)
    """
    return isinstance(place, str) and bool(place) and not place.startswith("timm/") and Path(place).exists()


def short_name(place: str) -> str:
    """The last part of a path; where something is yet to be filled in, the parts from there on.

    Example:
        >>> short_name("/home/me/runs/esc"), short_name("runs/r{r}/best")
        ('esc', 'r{r}/best')
    """
    parts = Path(place).parts if Path(place).name not in ("", "..") else Path(place).resolve().parts
    first = next((index for index, part in enumerate(parts) if "{" in part), len(parts) - 1)
    return "/".join(parts[first:])
