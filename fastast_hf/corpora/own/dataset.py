"""Any dataset of the `datasets` library: of the Hub, of parquet files, saved to disk, or in memory."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
from datasets import (
    Audio,
    ClassLabel,
    Dataset,
    Features,
    IterableDataset,
    List,
    Value,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)

from ..corpus import UNDECODED, UNDECODED_STRUCT, Corpus, StreamingCorpus, first_of, label_feature
from ..errors import CorpusError
from ..overlap import check_overlap
from ..sources import load_hub, load_hub_splits, one_line_of
from .columns import Columns, describe, find_columns
from .entries import Row, class_names, has_several, label_columns, part_name, part_of, read_entries
from .splits import SPLITS, assign_splits, split_named

logger = logging.getLogger(__name__)

_SPLIT = "the split"  # a column's name


def load_own_dataset(
    root: Path | None = None,
    hub_id: str | None = None,
    streaming: bool = False,
    fold: int | None = None,
    columns: Mapping[str, Any] | None = None,
    config: str | None = None,
    label_separator: str | None = None,
    multi_label: bool | None = None,
    split_seed: int | None = None,
) -> Corpus | StreamingCorpus:
    """Load a dataset with a column of audio and one of labels.

    Args:
        root: A parquet file, a folder of them, or what `save_to_disk` wrote.
        hub_id: A dataset of the Hub; a folder as well.
        streaming: Read the Hub's training clips as they are used. Their labels must be `ClassLabel`.
        fold: The fold to test on, where there is a column of folds.
        columns: Names of columns by what they say: audio, and those of [`load_table`] but file.
        config: The dataset's configuration, of one that has several.
        label_separator: As [`load_table`].
        multi_label: As [`load_table`].
        split_seed: As [`load_table`].

    Raises:
        CorpusError: It can't be loaded, or has no column of audio or labels.
    """
    source, copy = _open(root, hub_id, config, streaming)
    return corpus_from_datasets(
        copy,
        fold=fold,
        columns=columns,
        label_separator=label_separator,
        multi_label=multi_label,
        split_seed=split_seed,
        source=source,
    )


def dataset_folds(
    root: Path | None, hub_id: str | None = None, columns: Mapping[str, Any] | None = None, config: str | None = None
) -> tuple[list[int], bool]:
    """The folds that a dataset lists, and whether it has splits beside them."""
    source, copy = _open(root, hub_id, config)
    splits = _known_splits(source, copy)
    name = _columns(source, next(iter(splits.values())).features, columns or {}).get("fold")
    folds = {str(fold).removesuffix(".0") for data in splits.values() for fold in data.unique(name)} if name else ()
    return sorted(int(fold) for fold in folds if fold.isdecimal()), len(splits) > 1


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def corpus_from_datasets(
    dataset: Any,
    audio: str | None = None,
    label: str | None = None,
    *,
    fold: int | None = None,
    columns: Mapping[str, Any] | None = None,
    label_separator: str | None = None,
    multi_label: bool | None = None,
    split_seed: int | None = None,
    source: str = "the dataset",
) -> Corpus | StreamingCorpus:
    """Make a corpus, which trainers take, of a dataset with audio and labels.

    Splits are those of the dataset; of one split, about a fifth is drawn for testing, as by [`load_table`].

    Args:
        dataset: A `DatasetDict` or `Dataset`, or a dict of splits whose `train` may be an `IterableDataset`. Audio may
            be decoded by datasets or not: it is read from its bytes or its path.
        audio: The column of audio; None for the one of type `Audio`, or with a usual name.
        label: The column of labels: `ClassLabel`, text or numbers, or lists of them. None for the one with a usual
            name, or the only `ClassLabel`.
        fold: The fold to test on, where there is a column of folds.
        columns: Other columns by what they say, `{"group": "speaker"}`; see [`load_table`].
        label_separator: As [`load_table`].
        multi_label: Whether clips carry several labels; None decides by the labels.
        split_seed: Of the draw; None for 0.
        source: What errors call it.

    Raises:
        CorpusError: There is no column of audio or labels, or a stream's labels are no `ClassLabel`.

    Example:
        >>> clips = [{"path": f"{number}.wav", "bytes": None} for number in range(4)]
        >>> data = Dataset.from_dict({"audio": clips, "label": ["dog", "rain"] * 2})
        >>> {split: len(rows) for split, rows in corpus_from_datasets(data).items()}
        {'train': 2, 'test': 2}
    """
    given = dict(columns or {}) | {what: name for what, name in (("audio", audio), ("label", label)) if name}
    splits = _known_splits(source, dataset if isinstance(dataset, Mapping) else {"train": dataset})
    first = next(iter(splits.values()))
    found = _columns(source, first.features, given)
    if any(isinstance(data, IterableDataset) for data in splits.values()):
        unused = {
            "fold": fold,
            "label_separator": label_separator,
            "multi_label": multi_label,
            "split_seed": split_seed,
        }
        unused |= {f"{what}_column": given.get(what) for what in ("split", "fold", "group")}
        if idle := [f"--{name.replace('_', '-')}" for name, value in unused.items() if value is not None]:
            raise CorpusError(f"{source}: a stream has no use for {', '.join(idle)}; leave out --streaming, or these")
        return _streamed(source, splits, found)
    sound = found.pop("audio")
    told = [name for name, feature in first.features.items() if name != sound and not _is_large(feature)]
    rows = list(
        _rows(source, {split: data.select_columns(told) for split, data in splits.items()}, found.get("label"))
    )
    found = label_columns(source, rows, found, told)
    said = describe({"audio": sound} | found)
    if len(splits) > 1:
        found["split"] = _SPLIT
    entries = read_entries(source, rows, found, label_separator)
    several, kind = has_several(source, entries, multi_label)
    logger.info("%s: %s; %s", source, said, kind)
    known = _names_of(first.features[found["label"]]) if isinstance(found["label"], str) else None
    classes = known or class_names(entries, rows, found)
    ids = {" ".join(name.split()): index for index, name in enumerate(classes)}
    labels: list[Any] = [[ids[name] for name in entry.labels] for entry in entries]
    # Columns are added to the whole and not to each split, for which datasets would write all audio once more.
    clips = _undecoded(source, concatenate_datasets(list(splits.values())), sound)
    feature = label_feature(classes, several)
    clips = clips.add_column(_label(several), labels if several else [own[0] for own in labels], feature=feature)
    clips = clips.add_column("id", _ids(clips, [entry.where for entry in entries]))
    recordings, contents = _recordings(clips)
    entries = [entry._replace(file=str(file)) for entry, file in zip(entries, recordings, strict=True)]
    chosen, drawn = assign_splits(source, entries, fold, split_seed)
    parts = any(entry.start is not None or entry.end is not None for entry in entries)
    check_overlap({split: [recordings[at] for at in indices] for split, indices in chosen.items()}, parts, contents)
    for what in ("start", "end"):
        if any(getattr(entry, what) is not None for entry in entries):
            clips = clips.add_column(what, [getattr(entry, what) for entry in entries])
    corpus = Corpus({split: clips.select(indices) for split, indices in chosen.items()}, dict.fromkeys(chosen, 0))
    corpus.own_splits = not drawn
    return corpus


def _open(
    root: Path | None, hub_id: str | None, config: str | None, streaming: bool = False
) -> tuple[str, dict[str, Any]]:
    """The dataset's name for messages, and its splits."""
    place = root if root is not None else Path(str(hub_id)).expanduser()
    if root is None and not place.exists():
        source = str(hub_id)
        copy: Any = dict(load_hub(source, (), config=config, streaming=streaming))
        held_out = [name for name in copy if split_named(name) not in ("train", None)]
        return source, copy | (dict(load_hub_splits(source, held_out, (), config)) if streaming and held_out else {})
    if not place.exists():
        raise CorpusError(
            f"{place}: no such file or folder; give the folder that holds parquet files, or that save_to_disk wrote"
        )
    with one_line_of(str(place), "check its files", ""):
        if place.is_file():
            copy = load_dataset("parquet", data_files={"train": str(place)})
        else:
            copy = load_from_disk(str(place)) if is_saved(place) else load_dataset(str(place), config)
    return str(place), dict(copy) if isinstance(copy, Mapping) else {"train": copy}


def _known_splits(source: str, splits: Mapping[str, Any]) -> dict[str, Any]:
    """The splits under their usual names; a split that is alone is `train`."""
    known: dict[str, Any] = {}
    others = []
    for name, data in splits.items():
        split = split_named(name) or ("train" if len(splits) == 1 else None)
        if split is None or split in known:
            others.append(name)
        else:
            known[split] = data
    if others:
        logger.warning("%s: left out the splits %s, none of %s", source, first_of(others), ", ".join(SPLITS))
    if not known:
        raise CorpusError(f"{source}: the splits {', '.join(splits) or 'none'}; give one of {', '.join(SPLITS)}")
    return {split: known[split] for split in SPLITS if split in known}


def _columns(source: str, features: Any, given: Mapping[str, Any]) -> Columns:
    """Those of [`find_columns`], with `audio`, and with `label` where there is one column of labels."""
    if features is None:
        raise CorpusError(f"{source}: a stream that does not say its columns; give datasets its features")
    found = find_columns(source, list(features), given)
    sounds = [name for name, feature in features.items() if _is_audio(feature)]
    files = found.pop("file", None)
    if "audio" not in found and (sounds or files):
        found["audio"] = files if files in sounds or not sounds else sounds[0]
    if "audio" not in found:
        raise CorpusError(f"{source}: no column of audio among {', '.join(features)}; give one as --audio-column")
    found = {what: name for what, name in found.items() if what == "audio" or name != found["audio"]}
    classes = [name for name, feature in features.items() if _names_of(feature)]
    if "label" not in found and len(classes) == 1:
        found["label"] = classes[0]
    return found


def _label(several: bool) -> str:
    return "labels" if several else "label"


def _is_large(feature: Any) -> bool:
    """Whether a column holds more than text, numbers and lists of them."""
    feature = getattr(feature, "feature", feature) if isinstance(feature, (List, Sequence)) else feature
    return not isinstance(feature, (Value, ClassLabel)) or feature.dtype in ("binary", "large_binary")


def _is_audio(feature: Any) -> bool:
    return isinstance(feature, Audio) or (isinstance(feature, dict) and "bytes" in feature)


def _names_of(feature: Any) -> list[str] | None:
    """The classes of a column that knows them."""
    if isinstance(feature, (List, Sequence)) and not isinstance(feature, str):
        feature = getattr(feature, "feature", None)
    return list(feature.names) if isinstance(feature, ClassLabel) else None


def _rows(source: str, splits: Mapping[str, Dataset], label: Any) -> Iterator[Row]:
    """The splits' rows without audio, with the names of classes; each knows its split.

    Names in the column `label` come in lists: none is taken for several.
    """
    for split, data in splits.items():
        names = {name: known for name, feature in data.features.items() if (known := _names_of(feature))}
        for index, row in enumerate(data):
            told = {name: _named(row[name], known) for name, known in names.items()}
            if label in told and not isinstance(told[label], list):
                told[label] = [] if told[label] is None else [told[label]]
            yield f"{source}, {split} row {index}", {**row, **told, _SPLIT: split}


def _named(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [names[one] for one in value]
    return None if value is None or value < 0 else names[value]


def _undecoded(source: str, data: Any, sound: str) -> Any:
    try:
        data = data.select_columns([sound])
        data = data if sound == "audio" else data.rename_column(sound, "audio")
        return data.cast_column("audio", UNDECODED)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise CorpusError(
            f"{source}: column {sound} can't be read as audio ({' '.join(str(error).split())[:200]}); give a column "
            "of files, as bytes or paths"
        ) from None


def _ids(clips: Dataset, places: Sequence[str]) -> list[str]:
    """The files' names where all have their own, else the places of the rows."""
    paths = pyarrow.compute.struct_field(clips.data.column("audio"), "path").to_pylist()
    return paths if None not in paths and len(set(paths)) == len(paths) else list(places)


def _recordings(clips: Dataset) -> tuple[list[Path], dict[Path, bytes]]:
    """What tells recordings apart: the path, with a digest where the dataset holds the sound; and the digests.

    Paths alone do not: in many datasets they are but names.
    """
    recordings, contents = [], {}
    for audio in clips.data.column("audio"):
        recording = Path(audio["path"].as_py() or "")
        if audio["bytes"].is_valid:
            digest = hashlib.sha256(audio["bytes"].as_buffer()).digest()
            recording /= f"sha256:{digest.hex()[:16]}"
            contents[recording] = digest
        recordings.append(recording)
    return recordings, contents


def _streamed(source: str, splits: Mapping[str, Any], found: Columns) -> StreamingCorpus:
    """The splits with the columns of a corpus, `train` as a stream."""
    feature = splits["train"].features.get(found.get("label"))
    names = _names_of(feature)
    if names is None:
        raise CorpusError(
            f"{source}: the labels of a stream must be ClassLabel, for its classes must be known before it is read; "
            "leave out --streaming"
        )
    several = not isinstance(feature, ClassLabel)
    kind = "any number of labels" if several else "one label"
    logger.info("%s: %s; %s per clip, says the type of the column", source, describe(found), kind)
    column, label = _label(several), label_feature(names, several)
    features = Features({"id": Value("string"), "audio": UNDECODED_STRUCT, column: label})
    parts = [what for what in ("start", "end", "duration") if what in found]
    features |= {what: Value("float64") for what in ("start", "end") if parts}
    made = {}
    for split, data in splits.items():
        renamed = {found["audio"]: "audio", found["label"]: column} | {found[what]: what for what in parts}
        data = data.select_columns(list(renamed))
        data = data.rename_columns({old: new for old, new in renamed.items() if old != new})
        # As bytes and path: datasets asks for torchcodec when it maps a column of audio.
        data = data.cast_column("audio", UNDECODED_STRUCT).map(
            _with_id, features=features, remove_columns=["duration"] if "duration" in parts else None
        )
        made[split] = data.cast_column("audio", UNDECODED)
    return StreamingCorpus(made, {})


def _with_id(row: dict[str, Any]) -> dict[str, Any]:
    """On the top level, not a lambda, for workers that are spawned."""
    audio = row["audio"]
    name = audio["path"] or hashlib.sha256(audio["bytes"]).hexdigest()[:16]
    start, end = part_of(name, row, {what: what for what in ("start", "end", "duration") if what in row})
    times = {"start": start, "end": end} if "start" in row or "end" in row else {}
    return {"id": part_name(name, start, end), **times}
