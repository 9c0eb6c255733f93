"""The folders, lists and Hub copies that a corpus is read from."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from datasets import DatasetDict, IterableDatasetDict, load_dataset, load_dataset_builder

from ..audio import AudioError, is_audio, walk
from .corpus import UNDECODED, CorpusError

Copy = TypeVar("Copy", DatasetDict, IterableDatasetDict)


def check_folder(folder: Path, holds: str) -> None:
    """Raise a CorpusError unless the folder exists; `holds` says what should be in it."""
    if not folder.is_dir():
        problem = "is a file, not a folder" if folder.exists() else "no such folder"
        raise CorpusError(f"{folder}: {problem}; give the folder that holds {holds}")


def files_by_stem(folder: Path) -> dict[str, Path]:
    """The audio files at any depth by their names without ending; the first of the same name is taken.

    Raises:
        AudioError: A folder in there can't be listed.
    """
    files: dict[str, Path] = {}
    errors: list[AudioError] = []
    for path in filter(is_audio, walk(folder, errors)):
        files.setdefault(os.path.splitext(os.path.basename(path))[0], Path(path))  # noqa: PTH119, PTH122 - of millions
    if errors:
        raise errors[0]
    return files


def read_table(file: Path, columns: Iterable[str] = (), **form: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """Read a csv with a header: for each row "file, line n" and the values by column.

    Args:
        file: The csv.
        columns: That it must have.
        form: Of the csv, as Python's reader takes it.

    Raises:
        CorpusError: If the file is missing, is no csv, or lacks one of `columns`, or has one twice.
    """
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), **form)
    try:
        found = list(reader.fieldnames or [])
        if twice := [name for name in found if found.count(name) > 1]:
            raise CorpusError(f"{file}: column {twice[0]!r} is there twice; give each its own name")
        check_columns(str(file), found, columns)
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            if None in row or None in row.values():
                raise CorpusError(f"{where}: not the {len(found)} values that the header names; mend the line")
            yield where, row
    except csv.Error as error:
        raise CorpusError(f"{file}: no csv ({error}); write it again, or fetch it") from None


def read_text(file: Path) -> str:
    """Read a list of the corpus.

    Raises:
        CorpusError: If the file is missing or is no text in UTF-8.
    """
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{file}: no text in UTF-8 ({error}); save it as UTF-8, or fetch it again") from None
    except OSError as error:
        raise CorpusError(
            f"{file}: cannot be read ({error.strerror}); give a folder that has {file.name} where the corpus keeps it"
        ) from None


def check_columns(source: str, found: Iterable[str], wanted: Iterable[str]) -> None:
    """Raise a CorpusError unless all wanted columns are among those found."""
    found = list(found)
    lacking = [column for column in wanted if column not in found]
    if lacking:
        raise CorpusError(
            f"{source}: column {', '.join(lacking)} missing among {', '.join(found) or 'none'}; "
            f"wanted {', '.join(wanted)}"
        )


def load_hub(
    hub_id: str, columns: Iterable[str], config: str | None = None, streaming: bool = False
) -> DatasetDict | IterableDatasetDict:
    """Load a parquet copy; where `audio` is among the columns, it is undecoded.

    Raises:
        CorpusError: If the copy cannot be loaded or lacks one of `columns`.
    """
    with one_line_of(hub_id):
        copy = load_dataset(hub_id, config, streaming=streaming)
    return _undecoded(copy, hub_id, columns)


def load_hub_splits(
    hub_id: str, splits: Iterable[str], columns: Iterable[str], config: str | None = None
) -> DatasetDict:
    """Load some splits of a parquet copy whole, as `load_hub` does all of them: no file of another is downloaded.

    Raises:
        CorpusError: If the copy cannot be loaded or lacks one of `columns`.
    """
    with one_line_of(hub_id):
        files = load_dataset_builder(hub_id, config).config.data_files
        copy = load_dataset("parquet", data_files={split: list(files[split]) for split in splits})
    return _undecoded(copy, hub_id, columns)


@contextlib.contextmanager
def one_line_of(
    source: str, what_to_do: str = "check id and network, or give a folder as root", place: str = " from the Hub"
) -> Iterator[None]:
    """Turn whatever loading a copy raises into a [`CorpusError`]."""
    try:
        yield
    except Exception as error:  # of the network, the Hub, the files or the disk: each library has its own
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise CorpusError(f"{source}: cannot be loaded{place} ({reason}); {what_to_do}") from error


def _undecoded(copy: Copy, hub_id: str, columns: Iterable[str]) -> Copy:
    for data in copy.values():
        check_columns(hub_id, data.column_names or [], columns)
    return copy.cast_column("audio", UNDECODED) if "audio" in columns else copy
