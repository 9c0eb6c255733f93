"""Tables in files: csv, tsv, jsonl and parquet, to rows that know where they are from."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from ..corpus import first_of
from ..errors import CorpusError
from ..sources import read_table, read_text
from .columns import SPELLINGS, Columns, find_columns, spelled
from .entries import Row
from .splits import split_named

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_METADATA = "metadata"  # the table's name in datasets' audiofolder
_SPLIT = "the table's name"  # a column's name, for what is said of it


def read_tables(root: Path, given: Mapping[str, Any]) -> tuple[list[Row], Columns, list[str], list[Path]]:
    """Rows, recognised columns, all columns and the tables."""
    tables = find_tables(root, given.get("file"))
    if not tables:
        raise CorpusError(f"{root}: holds no table with a column of files ({', '.join(ENDINGS)}); give one as --data")
    rows: list[Row] = []
    names: dict[str, None] = {}
    columns: dict[Path, dict[str, None]] = {}
    for table, split in tables.items():
        own = list(_rows(table))
        columns[table] = dict.fromkeys(name for _, row in own for name in row)
        names |= columns[table]
        if split is not None:
            own = [(where, {**row, _SPLIT: split}) for where, row in own]
        rows += own
    sources = list(tables)
    source = str(sources[0] if len(sources) == 1 else root)
    if not rows:
        raise CorpusError(f"{source}: no rows; give a row for each clip")
    rows = [(where, {**dict.fromkeys(names), **row}) for where, row in rows]  # a line of JSON may say less
    found = find_columns(source, list(names), given)
    if "file" not in found:
        raise CorpusError(
            f"{source}: no column of files ({', '.join(SPELLINGS['file'][:5])} …) among {', '.join(names) or 'none'}; "
            "give --file-column"
        )
    labels = found.get("label", [])
    for table, own_names in columns.items():
        for name in (found["file"], *([labels] if isinstance(labels, str) else labels)):
            if own_names and name not in own_names:
                raise CorpusError(f"{table}: no column {name!r}, which other tables have; mend it, or leave it out")
    if None not in tables.values():
        found["split"] = _SPLIT
    return rows, found, list(names), sources


def _rows(file: Path) -> Iterator[Row]:
    """Each with "file, line n"."""
    kind = file.suffix.lower()
    if kind == ".parquet":
        try:
            table = pyarrow.parquet.read_table(file)
        except (OSError, pyarrow.ArrowException) as error:
            raise CorpusError(f"{file}: no parquet ({error}); write it again") from None
        for index, row in enumerate(table.to_pylist()):
            yield f"{file}, row {index + 1}", row
    elif kind in (".jsonl", ".ndjson"):
        for number, line in enumerate(read_text(file).splitlines(), 1):
            if line.strip():
                yield f"{file}, line {number}", _object(f"{file}, line {number}", line)
    else:
        yield from read_table(file, delimiter=_delimiter(file), strict=True)


def _object(where: str, line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line).items())
    except (ValueError, AttributeError, RecursionError) as error:
        raise CorpusError(f"{where}: no JSON object ({error}); mend the line") from None


def _delimiter(file: Path) -> str:
    """A tab, or whichever of comma and semicolon the header has more of: Excel's depends on the country."""
    if file.suffix.lower() == ".tsv":
        return "\t"
    try:
        with file.open(encoding="utf-8-sig") as opened:
            first = opened.readline()
    except (OSError, UnicodeDecodeError):
        return ","  # which reading it tells
    return max(",;\t", key=first.count)


def find_tables(root: Path, file_column: str | None = None) -> dict[Path, str | None]:
    """The tables of files in a folder, each with the split that its name or its folder says; a file is itself.

    Raises:
        CorpusError: There are several, and nothing says which.
    """
    if not root.exists():
        raise CorpusError(f"{root}: no such file or folder; give the folder that holds the table, or the table")
    if root.is_file():
        if root.suffix.lower() not in ENDINGS:
            raise CorpusError(f"{root}: is no table; give a file that ends in {', '.join(ENDINGS)}, or a folder")
        return {root: None}
    tables = _tables_in(root, file_column)
    if not tables:
        folders = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
        inside = {folder: own for folder in folders if (own := _tables_in(folder, file_column))}
        splits = {folder: split_named(folder.name) for folder in inside}
        if inside and None not in splits.values() and all(len(own) == 1 for own in inside.values()):
            return {own[0]: splits[folder] for folder, own in inside.items()}
        tables = [table for own in inside.values() for table in own]
    if len(tables) == 1:
        return {tables[0]: None}
    by_name = {table: split_named(table.stem) for table in tables}
    if None in by_name.values() or len(set(by_name.values())) < len(tables):
        names = [table.relative_to(root).as_posix() for table in tables]
        raise CorpusError(f"{root}: holds {len(tables)} tables ({first_of(names)}); give one of them as --data")
    return by_name


def header(file: Path) -> list[str]:
    """The names of a table's columns of text and numbers; none where it can't be read."""
    try:
        if file.suffix.lower() == ".parquet":
            schema = pyarrow.parquet.read_schema(file)
            return [field.name for field in schema if not pyarrow.types.is_struct(field.type)]
        if file.suffix.lower() in (".jsonl", ".ndjson"):
            with file.open(encoding="utf-8-sig") as opened:
                return list(json.loads(opened.readline()))
        with file.open(encoding="utf-8-sig", newline="") as opened:
            return next(csv.reader([opened.readline()], delimiter=_delimiter(file)), [])
    except (OSError, ValueError, TypeError, RecursionError, csv.Error, pyarrow.ArrowException):
        return []


def _tables_in(folder: Path, file_column: str | None) -> list[Path]:
    """Those with a column of files; `metadata` alone, where there is one."""
    tables = [
        child
        for child in sorted(folder.iterdir())
        if child.is_file()
        and child.suffix.lower() in ENDINGS
        and not child.name.startswith(".")
        and any(name == file_column or spelled(name) in SPELLINGS["file"] for name in header(child))
    ]
    return [table for table in tables if table.stem == _METADATA] or tables
