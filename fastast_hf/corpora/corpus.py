"""What every corpus is made of: splits with the same columns, a count of what is missing, and one kind of error."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from datasets import (
    Audio,
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    IterableDataset,
    IterableDatasetDict,
    List,
    Value,
)

from ..audio import AUDIO_EXTENSIONS
from .errors import CorpusError
from .overlap import check_overlap

logger = logging.getLogger(__name__)

UNDECODED = Audio(decode=False)  # datasets decodes with torchcodec, which needs a system FFmpeg
# What such a column holds. datasets asks for torchcodec when it maps a stream whose column says it is audio.
UNDECODED_STRUCT = {"bytes": Value("binary"), "path": Value("string")}
_MAX_SHARDS = 128  # of a local corpus that is streamed: enough for the workers of a large node

Split = TypeVar("Split", Dataset, IterableDataset)


class Corpus(DatasetDict):
    """The splits of a corpus, each with `id`, `audio` (undecoded: bytes or path) and `label` or `labels`.

    Attributes:
        missing: For each split, the clips that the corpus' lists name and that are not there. Splits of unknown
            size, such as streams, are not in it. What `map` and its like return is a plain `DatasetDict`.
        own_splits: Whether the splits are the corpus' own; False where the loader kept clips for testing.
    """

    own_splits = True

    def __init__(self, splits: Mapping[str, Dataset], missing: Mapping[str, int]):
        super().__init__(splits)
        self.missing = dict(missing)


class StreamingCorpus(IterableDatasetDict):
    """A [`Corpus`] whose training clips are streamed.

    The other splits are not: each process scores its share of a split, for which it must know how large it is.
    """

    def __init__(self, splits: Mapping[str, Dataset | IterableDataset], missing: Mapping[str, int]):
        super().__init__(splits)
        self.missing = dict(missing)


class Clip(NamedTuple):
    """A clip that a corpus names. The file is None where it lacks it; a part of a recording has start and end in s."""

    id: str
    file: Path | None
    label: int | list[int]
    start: float | None = None
    end: float | None = None


def first_of(names: Sequence[str], most: int = 5) -> str:
    """The first few of many names, for a message.

    Example:
        >>> first_of(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def label_feature(names: Iterable[str], multi_label: bool = False) -> ClassLabel | List:
    """The feature of a `label` or `labels` column."""
    feature = ClassLabel(names=list(names))
    return List(feature) if multi_label else feature


def build_corpus(
    clips: Mapping[str, Iterable[Clip]], names: Iterable[str], folder: Path, multi_label: bool = False
) -> Corpus:
    """Make a corpus of the clips that are there and count the others; a split without any clip is left out.

    Where clips are parts of recordings, `start` and `end` are columns, too.

    Raises:
        CorpusError: If no clip at all is there, or one is in two splits.
    """
    column = "labels" if multi_label else "label"
    features = Features({"id": Value("string"), "audio": Value("string"), column: label_feature(names, multi_label)})
    whole = {split: list(listed) for split, listed in clips.items()}
    every = [clip for listed in whole.values() for clip in listed]
    parts = [name for name in ("start", "end") if any(getattr(clip, name) is not None for clip in every)]
    check_overlap({split: [c.file for c in listed if c.file] for split, listed in whole.items()}, bool(parts))
    features |= {name: Value("float64") for name in parts}
    splits: dict[str, Dataset] = {}
    missing: dict[str, int] = {}
    for split, listed in whole.items():
        found = [clip for clip in listed if clip.file is not None]
        missing[split] = len(listed) - len(found)
        if found:
            rows: dict[str, list[Any]] = {
                "id": [clip.id for clip in found],
                "audio": [str(clip.file) for clip in found],
                column: [clip.label for clip in found],
            }
            rows |= {name: [getattr(clip, name) for clip in found] for name in parts}
            # Built as text first: a dataset built with an Audio feature asks for torchcodec.
            splits[split] = Dataset.from_dict(rows, features=features).cast_column("audio", UNDECODED)
    if not splits:
        raise CorpusError(
            f"{folder}: none of the {sum(missing.values())} clips that the corpus lists is in this folder; looked for "
            f"{', '.join(AUDIO_EXTENSIONS)}; check the path, or unpack the clips there"
        )
    for split, listed in whole.items():
        if split not in splits:
            logger.warning("%s: no clip of split %s is there; the split is left out", folder, split)
        elif missing[split]:
            lacking = [clip.id for clip in listed if clip.file is None]
            logger.warning(
                "%s: %d clips of split %s are missing: %s", folder, missing[split], split, first_of(lacking)
            )
    return Corpus(splits, missing)


def stream(corpus: Corpus) -> StreamingCorpus:
    """The same corpus with the training clips as a stream, in shards that can be split over processes and workers.

    The stream is in an order drawn at random, always the same: in that of the lists, shards would hold one class each.
    """
    splits: dict[str, Any] = dict(corpus)
    if "train" in splits:
        train = corpus["train"].shuffle(seed=0, keep_in_memory=True)
        splits["train"] = train.to_iterable_dataset(min(_MAX_SHARDS, len(train)))
    return StreamingCorpus(splits, corpus.missing)


def replace_labels(dataset: Split, ids: Mapping[Any, int], names: Iterable[str]) -> Split:
    """Put `ids[value]` for each value in the column `label` or `labels`, and `names` for the ids in its feature."""
    multi_label = "labels" in dataset.column_names
    column, feature = "labels" if multi_label else "label", label_feature(names, multi_label)
    replace = partial(_replace, ids=ids, column=column)
    if isinstance(dataset, IterableDataset):
        dataset = dataset.cast_column("audio", UNDECODED_STRUCT)
        features = Features({**dataset.features, column: feature})
        return dataset.map(replace, input_columns=[column], features=features).cast_column("audio", UNDECODED)
    # The column alone: map would write the audio of the whole corpus once more.
    values = [replace(value)[column] for value in dataset[column]]
    return dataset.remove_columns(column).add_column(column, values, feature=feature)


def _replace(value: Any, ids: Mapping[Any, int], column: str) -> dict[str, int | list[int]]:
    """On the top level, not a lambda, for workers that are spawned."""
    try:
        return {column: [ids[one] for one in value] if isinstance(value, list) else ids[value]}
    except KeyError as error:
        raise CorpusError(
            f"unknown label {error.args[0]!r} among {len(ids)} known ones; give the corpus and the label list that "
            "belong together"
        ) from None
