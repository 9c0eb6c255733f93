"""What a sweep needs, checked from configurations alone before hours go into scoring."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError

from ..corpora.labels import check_label_names
from ..errors import what_to_do
from ..model.configuration_fastast import FastASTConfig
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from ..training.runs import check_fold
from .sweep import Method, planned


def check_output(folder: Path) -> None:
    """Raise a ValueError for a folder that results can't be written to, whether it is there yet or not."""
    # By access, which is False, too, where a parent may not be looked into.
    there = next(place for place in (folder, *folder.absolute().parents) if os.access(place, os.F_OK))
    if not there.is_dir():
        raise ValueError(f"{folder} can't hold the results, for {there} is a file: give another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{folder} can't hold the results, for {there} is not writable: give another folder")


def check_checkpoints(
    methods: Sequence[tuple[Method, Sequence[int]]],
    schedules: Sequence[str],
    folds: Sequence[int | None],
    split: str = "test",
) -> dict[tuple[str, str], list[str]]:
    """Look for the configuration and front end of every checkpoint that a sweep would load, and read no weights.

    Args:
        methods: As of a [`Sweep`].
        schedules: As of [`Sweep.cells`].
        folds: Of the corpus; `[None]` of one without.
        split: That is scored: those trained on a fold's test clips are refused.

    Returns:
        The classes that each knows in its order, by the method's name and the checkpoint.

    Raises:
        ValueError: A checkpoint is no AST, or was trained on what it would be tested on. The message, as that of the
            next, begins with the method's name.
        OSError: There is no such checkpoint.
    """
    known: dict[tuple[str, str], list[str]] = {}
    for method, schedule, r in planned(methods, schedules):
        for fold in folds:
            checkpoint = method.folder(r, schedule, fold)
            with named(method.name, checkpoint):
                if split == "test":
                    check_fold(checkpoint, fold)
                if (method.name, checkpoint) not in known:
                    config = FastASTConfig.from_pretrained(checkpoint)
                    FastASTFeatureExtractor.from_pretrained(checkpoint)
                    classes = [config.id2label[index] for index in range(config.num_labels)]
                    known[method.name, checkpoint] = classes
    return known


def with_own_r(
    methods: Sequence[tuple[Method, Sequence[int]]], schedule: str, fold: int | None
) -> list[tuple[Method, list[int]]]:
    """Methods to be scored at the `tome_r` that their checkpoints have of their own, too.

    Those of one checkpoint for every r get each other's, and stay at the same r; one with a checkpoint for each r
    keeps the r that it has.

    Args:
        methods: As of a [`Sweep`].
        schedule: Of the checkpoints.
        fold: Whose checkpoints' configurations are read.

    Raises:
        OSError: There is no such checkpoint.
        ValueError: It is no AST.
    """
    whole = [method for method, _ in methods if "{r}" not in method.checkpoint]
    configs = [FastASTConfig.from_pretrained(method.folder(0, schedule, fold)) for method in whole]
    own = {config.tome_r for config in configs if isinstance(config.tome_r, int)}
    return [(method, sorted({*values, *own}) if method in whole else list(values)) for method, values in methods]


def check_classes(known: Mapping[tuple[str, str], Sequence[str]], own: Sequence[str]) -> None:
    """Raise a ValueError, which begins with the method's name, for a checkpoint of other classes than the corpus'."""
    for (name, checkpoint), classes in known.items():
        with named(name, checkpoint):
            check_label_names(classes, own)


@contextmanager
def named(name: str, checkpoint: str) -> Iterator[None]:
    """Have errors within begin with a method's name and its checkpoint."""
    try:
        yield
    except (OSError, ValueError, StrictDataclassError) as error:
        said = what_to_do(error)
        place = name if str(Path(checkpoint)) in said else f"{name}, {checkpoint}"
        if not isinstance(error, OSError):
            raise ValueError(f"{place}: {said}") from error
        # Off line, transformers does not name it.
        hub = "" if place == name else "no such folder here, and from the Hub: "
        raise OSError(f"{place}: {hub}{said}") from error
