"""Checkpoints of a run: told to be whole by a file written last, and resumed by the same run alone."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers import TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

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
    for checkpoint in checkpoints(folder):
        if is_whole(checkpoint):
            return checkpoint
        logger.warning("%s is damaged or was cut off: it is passed over", checkpoint)
    return None


def settings_of(checkpoint: Path) -> dict[str, Any]:
    """The settings, by name, of the run that a whole checkpoint is of."""
    run: dict[str, Any] = json.loads((checkpoint / COMPLETE).read_text())["run"]
    return run


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints in a folder, whole or not, the newest first."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True)


def is_whole(checkpoint: Path) -> bool:
    """Whether all files of a checkpoint are there, each as long as it was written."""
    try:
        files = json.loads((checkpoint / COMPLETE).read_text())["files"]
        return all((checkpoint / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError):
        return False


def check_same_run(checkpoint: Path, run: dict[str, Any], options: Collection[str]) -> None:
    """Refuse to resume a checkpoint with other settings than it was begun with.

    Args:
        checkpoint: The checkpoint.
        run: The settings now, by name. A setting that only one of both has is not compared.
        options: Those of them that are options of the command.

    Raises:
        ValueError: It is not whole, or a setting differs. The message names each.
    """
    if not is_whole(checkpoint):
        raise ValueError(f"{checkpoint} is damaged or was cut off: resume from another checkpoint")
    begun = settings_of(checkpoint)
    now = json.loads(json.dumps(run))
    changed = [(name, was) for name, was in begun.items() if name in now and now[name] != was]
    if changed:
        names = {name: f"--{name.replace('_', '-')}" for name in options}
        differences = "; ".join(f"{names.get(name, name)} was {was} and is now {now[name]}" for name, was in changed)
        raise ValueError(
            f"{checkpoint} has other settings ({differences}): resume with the same ones, or give another --output"
        )


def check_no_shorter(checkpoint: Path, args: TrainingArguments) -> None:
    """Refuse to resume a run for fewer epochs or steps than it was begun for: its learning rates are of its length.

    Raises:
        ValueError: There are fewer.
    """
    length = "max_steps" if args.max_steps > 0 else "num_train_epochs"
    begun, now = (
        getattr(TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME)), length),
        getattr(args, length),
    )
    if math.ceil(now) < begun:
        option = f"--{length.replace('_', '-')}"
        raise ValueError(f"{option} is {now:g}, and the run was begun with {begun}: give {begun} or more")
