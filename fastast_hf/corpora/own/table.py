"""A table of files and labels (csv, tsv, jsonl, parquet), with or without splits."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..corpus import Clip, Corpus, build_corpus, first_of
from ..errors import CorpusError
from .columns import describe
from .entries import Entry, class_names, has_several, label_columns, part_name, read_entries
from .files import find_files, tell_rates
from .reading import read_tables
from .splits import assign_splits, split_named

logger = logging.getLogger(__name__)

Given = Mapping[str, Any]  # columns by what they say


def load_table(
    root: Path | None = None,
    hub_id: str | None = None,
    fold: int | None = None,
    columns: Given | None = None,
    audio_folder: str | os.PathLike[str] | None = None,
    label_separator: str | None = None,
    multi_label: bool | None = None,
    split_seed: int | None = None,
) -> Corpus:
    """Load the clips that a table lists.

    Of a folder, the table in it is taken, that of each folder `train`, `test` …, or that of a folder in it, such as
    ESC-50's `meta`; `metadata.csv` and `metadata.jsonl` beside the recordings as `datasets`' audiofolder has them.

    Columns are recognised by their usual spellings: the file; the label, or else several columns of 0 and 1, a class
    each; and, where they are there, split, fold, group, and the start and end of a part in seconds. A clip with
    several labels or none makes the corpus multi-label. Splits may also be the first folders of all files. Without
    splits and folds, about a fifth of the clips is drawn
    for testing: the classes in proportion, and all clips of a group or of a recording on one side.

    Files are looked for from the table's folder and from `root`; those that are not there at any depth, by their
    names and the folders that are listed. A clip's `id` is its file as it is listed, with `@start-end` for a part of a
    recording.

    Args:
        root: The table, or a folder with it.
        hub_id: Refused: a table is not loaded from the Hub.
        fold: The fold to test on. Without one, splits are those of the table, or all clips of one with folds `train`.
        columns: Names of columns by what they say, `{"label": "species"}`: file, label (one name, or those of columns
            of 0 and 1), split, fold, group, start, end.
        audio_folder: Where the files are, instead.
        label_separator: Between the labels of a cell; see [`read_entries`].
        multi_label: Whether clips carry several labels; None decides by the table.
        split_seed: Of the draw; None for 0.

    Raises:
        CorpusError: There is no such table or column, a file is listed twice with other labels, a path leads out of
            the folder, or no file is there.
    """
    if hub_id is not None:
        raise CorpusError(f"{hub_id}: a table is read from a file; for a dataset of the Hub give --corpus datasets")
    assert root is not None
    rows, found, names, sources = read_tables(root, columns or {})
    source = str(sources[0] if len(sources) == 1 else root)
    found = label_columns(source, rows, found, names)
    entries = read_entries(source, rows, found, label_separator)
    if "split" not in found and "fold" not in found and fold is None:
        entries = _split_by_folder(source, entries)
    searched = Path(audio_folder).expanduser() if audio_folder is not None else _folder(root)
    files = find_files(source, entries, sources, searched, audio_folder is not None)
    classes = class_names(entries, rows, found)
    entries, files = _once(source, entries, files)
    several, kind = has_several(source, entries, multi_label)
    logger.info("%s: %s; %s", source, describe(found), kind)
    splits, drawn = assign_splits(source, entries, fold, split_seed)
    ids = {name: index for index, name in enumerate(classes)}
    clips = {
        split: [_clip(entries[index], files[index], ids, several) for index in indices]
        for split, indices in splits.items()
    }
    tell_rates(source, [file for file in files if file is not None])
    corpus = build_corpus(clips, classes, searched, several)
    corpus.own_splits = not drawn
    return corpus


def table_folds(root: Path, columns: Given | None = None) -> tuple[list[int], bool]:
    """The folds that a table lists, and whether it has splits beside them."""
    rows, found, _, _ = read_tables(root, columns or {})
    # What is no number, loading it tells.
    folds = {str(row[found["fold"]]).strip().removesuffix(".0") for _, row in rows} if "fold" in found else set()
    has_splits = "split" in found and any(str(row[found["split"]] or "").strip() for _, row in rows)
    return sorted(int(fold) for fold in folds if fold.isdecimal()), has_splits


def _split_by_folder(source: str, entries: list[Entry]) -> list[Entry]:
    """With the splits that all paths begin with (`train/dog.wav`), where there are two or more."""
    splits = [split_named(entry.file.replace("\\", "/").split("/")[0]) for entry in entries]
    if None in splits or len(set(splits)) < 2:
        return entries
    logger.info("%s: splits by the first folder of each file", source)
    return [entry._replace(split=split) for entry, split in zip(entries, splits, strict=True)]


def _folder(root: Path) -> Path:
    return root if root.is_dir() else root.parent


def _once(source: str, entries: list[Entry], files: list[Path | None]) -> tuple[list[Entry], list[Path | None]]:
    """Without rows that say again what another has said.

    Raises:
        CorpusError: A file is listed twice with other labels, or in another split or fold.
    """
    first: dict[Any, Entry] = {}
    kept, again, other = [], [], []
    for index, (entry, file) in enumerate(zip(entries, files, strict=True)):
        known = first.setdefault((file or entry.file, entry.start, entry.end), entry)
        if known is entry:
            kept.append(index)
        elif (set(known.labels), known.split, known.fold) == (set(entry.labels), entry.split, entry.fold):
            again.append(entry.where)
        else:
            other.append(f"{entry.file} ({known.where}, and {entry.where.rpartition(', ')[2]})")
    if other:
        raise CorpusError(
            f"{source}: {len(other)} rows list a clip again with other labels or in another split: {first_of(other)}; "
            "give a clip one row, with all its labels in one cell (a;b)"
        )
    if again:
        logger.warning(
            "%s: %d rows say again what another does, and are left out: %s", source, len(again), first_of(again)
        )
    return [entries[index] for index in kept], [files[index] for index in kept]


def _clip(entry: Entry, file: Path | None, ids: Mapping[str, int], several: bool) -> Clip:
    labels = [ids[label] for label in entry.labels]
    name = part_name(entry.file, entry.start, entry.end)
    return Clip(name, file, labels if several else labels[0], entry.start, entry.end)
