"""Corpora to train and evaluate on: official folders or Hub copies in, `datasets` with undecoded audio out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from .audiofolder import load_audiofolder
from .audioset import load_audioset
from .corpus import Corpus, CorpusError, StreamingCorpus, stream
from .esc50 import load_esc50
from .labels import is_multi_label, label_names, targets_of, with_label_order
from .own.dataset import corpus_from_datasets, dataset_folds, load_own_dataset
from .own.recognition import recognise
from .own.table import load_table, table_folds
from .speech_commands import load_speech_commands
from .unlabelled import load_unlabelled

__all__ = [
    "CORPORA",
    "Corpus",
    "CorpusError",
    "StreamingCorpus",
    "corpus_folds",
    "corpus_from_datasets",
    "is_multi_label",
    "label_names",
    "load_corpus",
    "targets_of",
    "with_label_order",
]

_LOADERS = {
    "esc50": load_esc50,
    "speech_commands": load_speech_commands,
    "audioset": load_audioset,
    "audiofolder": load_audiofolder,
    "csv": load_table,
    "datasets": load_own_dataset,
    "unlabelled": load_unlabelled,
}
CORPORA = tuple(_LOADERS)


def load_corpus(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    hub_id: str | None = None,
    fold: int | None = None,
    streaming: bool = False,
    **options: Any,
) -> Corpus | StreamingCorpus:
    """Load a corpus from its official folder or from a parquet copy on the Hub.

    Every split has the columns `id` (string), `audio` (undecoded: `{"bytes": ..., "path": ...}`; one may be
    None) and `label` (`ClassLabel`) or, where clips have several, `labels` (a list of them). Files are matched to the
    corpus' lists by name without extension; clips that are listed and not there are left out and counted in `missing`.

    Streams are not split over processes here: `accelerate` and `transformers.Trainer` do that, or
    `datasets.distributed.split_dataset_by_node`.

    Args:
        name: "esc50", "speech_commands", "audioset", "audiofolder", "csv", "datasets" or "unlabelled"; the functions
            `load_…` say what they read, [`load_table`] of "csv" and [`load_own_dataset`] of "datasets". Empty: what
            `root` holds, or "datasets" for a `hub_id`.
        root: The corpus' folder (of Speech Commands also its archive).
        hub_id: A parquet copy on the Hub or in a local folder, instead of `root`.
        fold: The fold to test on, of ESC-50 or of a table or dataset with folds.
        streaming: Return `train` as an `IterableDataset`. A Hub copy of AudioSet is then read as it is used; what is
            local, and ESC-50's copy, is listed first and streamed in shards. Other splits are read whole.
        options: `classes` of Speech Commands; `subset` and `labels` of AudioSet; `labels` of unlabelled sound; those
            of [`load_table`] and [`load_own_dataset`].

    Returns:
        The splits, and `missing`.

    Raises:
        CorpusError: If the corpus is not as described, or an option is not the corpus' own.

    Example:
        >>> load_corpus("esc50", root="nowhere", fold=1)
        Traceback (most recent call last):
        ...
        fastast_hf.corpora.errors.CorpusError: nowhere: no such folder; give the folder that holds audio/ and ...
    """
    if not name and (root is None) != (hub_id is None):
        name = "datasets" if root is None else recognise(Path(root).expanduser())[0]
    if name not in _LOADERS:
        given = f"there is no corpus {name!r}" if name else "no corpus is given"
        raise CorpusError(f"{given}: give --corpus, one of {', '.join(CORPORA)}")
    if (root is None) == (hub_id is None):
        given = "no corpus to read" if root is None else "two to read from"
        raise CorpusError(
            f"{name}: {given}; give its folder (--data, in Python root) or a copy on the Hub (--hub-id, hub_id)"
        )
    loader: Any = _LOADERS[name]
    known = set(signature(loader).parameters) - {"root", "hub_id", "streaming"}
    if fold is not None:
        options["fold"] = fold
    unknown = sorted(set(options) - known)
    if unknown:
        raise CorpusError(
            f"{name}: unknown option {', '.join(unknown)}; this corpus has {', '.join(sorted(known)) or 'none'}"
        )
    if "streaming" in signature(loader).parameters:
        options["streaming"] = streaming
    corpus = loader(root=None if root is None else Path(root).expanduser(), hub_id=hub_id, **options)
    return stream(corpus) if streaming and isinstance(corpus, Corpus) else corpus


def corpus_folds(
    name: str, root: Path | None, hub_id: str | None, columns: Mapping[str, Any], config: str | None = None
) -> tuple[list[int], bool]:
    """The folds that a table ("csv") or dataset ("datasets") lists, and whether it has splits beside them.

    Raises:
        CorpusError: It can't be read.
    """
    if name == "csv" and root is not None:
        return table_folds(root, columns)
    return dataset_folds(root, hub_id, columns, config) if name == "datasets" else ([], False)
