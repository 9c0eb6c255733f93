"""What a sweep needs, checked from configurations alone before hours go into scoring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from datasets import concatenate_datasets
from huggingface_hub.errors import StrictDataclassError

from ..corpora import Corpus
from ..corpora.labels import check_label_names
from ..errors import counted, weights_readable, what_to_do
from ..loading.checkpoint import labels_in_order
from ..model.configuration_fastast import FastASTConfig
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from ..onnx.runtime import OnnxModel, is_onnx_file
from ..training.results import check_fold, clip_digest
from .paper import R_VALUES
from .sweep import Method, planned

ALL = "all"  # a split of its own: the clips of all splits together
Configs = dict[tuple[str, str], FastASTConfig]  # by the method's name and the checkpoint


def check_checkpoints(
    methods: Sequence[tuple[Method, Sequence[int | None]]],
    schedules: Sequence[str],
    folds: Sequence[int | None],
    split: str = "test",
) -> Configs:
    """Read the configuration and front end of every checkpoint that a sweep would load, and no weights.

    Args:
        methods: As of a [`Sweep`].
        schedules: As of [`Sweep.cells`].
        folds: Of the corpus; `[None]` of one without.
        split: That is scored: checkpoints trained on a fold's test clips are refused.

    Raises:
        ValueError: A checkpoint is no AST, or was trained on what it would be tested on. The message begins with
            the method's name.
        OSError: There is no such checkpoint.
    """
    known: Configs = {}
    for method, schedule, r in planned(methods, schedules):
        for fold in folds:
            checkpoint = method.folder(r, schedule, fold)
            with _named(method.name, checkpoint), weights_readable(checkpoint):
                if split == "test":
                    check_fold(checkpoint, fold)
                if (method.name, checkpoint) not in known:
                    known[method.name, checkpoint] = _config(checkpoint)
    return known


def split_to_score(corpus: Corpus, wanted: str | None, heard: Mapping[str, str]) -> tuple[Corpus, str, str]:
    """A corpus that has the split to score, the split, and a line on the choice.

    Args:
        corpus: To score.
        wanted: The user's split; None for `"test"`, or for all clips where the corpus has no splits of its own.
        heard: The clips that a checkpoint was trained or chosen on, as of [`clips_trained_on`]. They are left out, but
            where all clips or those to train on are asked for.

    Raises:
        ValueError: No clip is left.
    """
    all_said = wanted == ALL
    every = all_said or not (wanted or corpus.own_splits)
    said = ""
    if every:
        whole = concatenate_datasets(list(corpus.values()))
        held_out = len(corpus["test"]) if "test" in corpus else 0
        corpus, split = Corpus({ALL: whole}, {ALL: sum(corpus.missing.values())}), ALL
        if not all_said:
            said = f"There are no splits, and {counted(len(whole), 'clip')}: all are scored. --split test scores "
            said += f"the {held_out} that training would keep out."
    elif not wanted and "test" not in corpus and "validation" in corpus:
        split, said = "validation", "There is no test split: the validation split is scored."
    else:
        split = wanted or "test"
    if not heard or split not in corpus or wanted in (ALL, "train"):
        return corpus, split, said
    rows, left_out = corpus[split], {"train"} if split == "validation" else {"train", "validation"}
    kept = [
        place
        for place, row in enumerate(rows)
        if heard.get(clip_digest(row)) not in left_out and heard.get(row["id"]) not in left_out
    ]
    if len(kept) == len(rows):
        return corpus, split, said
    if not kept:
        raise ValueError(f"all {len(rows)} clips were trained on: give others, or --split {ALL} to score them anyway")
    name = "test" if every else split
    said = f"{len(kept)} of {len(rows)} clips are scored: training heard the others, says its split.csv."
    return (
        Corpus({name: rows.select(kept)}, {name: corpus.missing.get(split, 0)}),
        name,
        (f"{said} --split {ALL} scores all."),
    )


def default_r(methods: Sequence[Method], known: Configs, preset: bool = False) -> dict[str, list[int | None]]:
    """The r to score each method at where none is given, by its name.

    One checkpoint: r = 0 and its own, and the others' own where several are compared. A checkpoint for each r (`{r}`
    in it): the paper's, and those then for all. An exported file, a preset, and a checkpoint that has an r for each
    layer: None, what they merge by themselves.

    Args:
        methods: To score.
        known: Their configurations.
        preset: Whether a preset says what is merged.

    Raises:
        ValueError: One of several checkpoints has an r for each layer.
    """
    each = {method.name for method in methods if "{r}" in method.checkpoint}
    start: set[int] = set(R_VALUES) if each else {0}
    own = {config.tome_r for (name, _), config in known.items() if name not in each and isinstance(config.tome_r, int)}
    chosen: dict[str, list[int | None]] = {method.name: [*sorted(start | own)] for method in methods}
    for (name, checkpoint), config in known.items():
        if name in each:
            chosen[name] = [*sorted(start)]
        elif preset or is_onnx_file(checkpoint):
            chosen[name] = [None]
        elif isinstance(config.tome_r, list):
            if len(methods) > 1:
                raise ValueError(f"{name}, {checkpoint} has an r for each layer: give the r to score with --r")
            chosen[name] = [*sorted(start), None]
    return chosen


def check_r_can_be_set(known: Configs) -> None:
    """Raise a ValueError for an exported file, whose merging is part of it."""
    for name, checkpoint in known:
        if is_onnx_file(checkpoint):
            raise ValueError(f"{name}, {checkpoint} merges as it was exported: leave --r and --compare out")


def check_classes(known: Mapping[tuple[str, str], FastASTConfig], own: Sequence[str]) -> None:
    """Raise a ValueError for a checkpoint whose classes are not those of the corpus."""
    for (_, checkpoint), config in known.items():
        check_label_names(labels_in_order(config), own, checkpoint)


def _config(checkpoint: str) -> FastASTConfig:
    if is_onnx_file(checkpoint):
        return OnnxModel(checkpoint).config
    config = FastASTConfig.from_pretrained(checkpoint)
    FastASTFeatureExtractor.from_pretrained(checkpoint)
    return config


@contextmanager
def _named(name: str, checkpoint: str) -> Iterator[None]:
    """Have errors within begin with a method's name and its checkpoint."""
    try:
        yield
    except (OSError, ValueError, StrictDataclassError) as error:
        said = what_to_do(error)
        place = name if str(Path(checkpoint)) in said else f"{name}, {checkpoint}"
        raise (OSError if isinstance(error, OSError) else ValueError)(f"{place}: {said}") from error
