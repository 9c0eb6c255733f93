"""Checkpoints of a run: told to be whole by a file written last, and resumed by the same run alone."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from .results import write_json

logger = logging.getLogger(__name__)

COMPLETE = "complete.json"


def mark_complete(checkpoint: Path, run: dict[str, Any]) -> None:
    """Write which files a checkpoint has and which run it belongs to, once all the files are on the disk."""
    files = {}
    for file in sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != COMPLETE):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
        files[file.relative_to(checkpoint).as_posix()] = file.stat().st_size
    write_json(checkpoint / COMPLETE, {"files": files, "run": run})


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; a warning names each newer one that is not whole."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in found:
        if is_whole(checkpoint):
            return checkpoint
        logger.warning("%s is damaged or was cut off: it is passed over", checkpoint)
    return None


def is_whole(checkpoint: Path) -> bool:
    """Whether all files of a checkpoint are there, each as long as it was written."""
    try:
        files = json.loads((checkpoint / COMPLETE).read_text())["files"]
        return all((checkpoint / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError):
        return False


def check_same_run(checkpoint: Path, run: dict[str, Any]) -> None:
    """Refuse to resume a checkpoint with other settings than it was begun with.

    Args:
        checkpoint: The checkpoint.
        run: The settings now, by name.

    Raises:
        ValueError: It is not whole, or a setting differs. The message names each.
    """
    if not is_whole(checkpoint):
        raise ValueError(f"{checkpoint} is damaged or was cut off: resume from another checkpoint")
    begun = json.loads((checkpoint / COMPLETE).read_text())["run"]
    now = json.loads(json.dumps(run))
    if changed := [name for name in {**begun, **now} if begun.get(name) != now.get(name)]:
        differences = "; ".join(f"{name} {begun.get(name)} and not {now.get(name)}" for name in changed)
        raise ValueError(
            f"{checkpoint} was begun with other settings ({differences}): resume with the same ones, or give another "
            "output folder"
        )
