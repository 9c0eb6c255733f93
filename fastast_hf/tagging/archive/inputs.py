"""What is in an archive: its recordings by name, and the shards that hold recordings."""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from glob import has_magic
from typing import Any, NamedTuple

from ...audio import AUDIO_EXTENSIONS, AudioError, find_audio, is_audio
from ...audio.addresses import filesystem_of, is_address
from ...errors import one_line

SHARDS = (".tar",)
TABLES = (".csv", ".parquet")
LISTS = (".txt", ".lst")
DEFAULT_COLUMN = "file"
ROWS_AT_ONCE = 64


class Shard(NamedTuple):
    """A file with many recordings: a WebDataset's tar, or parquet with their bytes in a column."""

    name: str
    column: str = ""


@dataclass
class Inputs:
    """What was found.

    Attributes:
        files: Paths, absolute, and addresses; each once.
        shards: Files that hold recordings.
        left_out: How many other files the folders hold, by their endings.
        errors: What can't be listed.
    """

    files: list[str] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


def list_inputs(places: list[str], column: str | None = None) -> Inputs:
    """List recordings.

    Args:
        places: Paths or addresses of files, of folders, or patterns of these. What ends in .txt or .lst has a name on
            each line, .csv and .parquet have one in each row, and .tar is a WebDataset shard. A parquet column may
            hold sound itself: bytes, or `{"bytes", "path"}`. Names that are not absolute start where their table lies.
        column: Of the tables.

    Raises:
        ValueError: A table has no such column, a column is given without a table, or nothing knows such addresses.
        OSError: A table can't be read.
    """
    found = Inputs()
    tables = False
    for place in places:
        for one in _matching(place):
            ending = posixpath.splitext(one)[1].lower()
            tables |= ending in TABLES
            if ending in SHARDS:
                found.shards.append(Shard(one))
            elif ending in (*TABLES, *LISTS):
                _add_named(one, ending, column, found)
            else:
                _add_files(one, found)
    if column is not None and not tables:
        raise ValueError(
            f"column is {column!r}, and no table is given: give one ({', '.join(TABLES)}), or leave it out"
        )
    found.files = list(dict.fromkeys(found.files))
    found.shards = list(dict.fromkeys(found.shards))
    return found


def samples_of(shard: Shard, done: Container[str] = ()) -> Iterator[tuple[str, bytes | None, str | None]]:
    """The recordings in a shard: `SHARD#MEMBER` in a tar, `SHARD#ROW/PATH` in parquet, and the bytes of each.

    Args:
        shard: As listed.
        done: Names to leave out.

    Yields:
        Name, bytes and None; or the shard's own name, None and the reason where it can't be read, or not to its end.
    """
    files, path = filesystem_of(shard.name)
    heard = False
    try:
        with files.open(path, "rb") as file:
            for member, content in _of_parquet(file, shard.column) if shard.column else _of_tar(file):
                heard = True
                name = f"{shard.name}#{member}"
                if name not in done:
                    yield name, content() or b"", None
        error = None if heard else f"{shard.name}: no audio in it; looked for {', '.join(AUDIO_EXTENSIONS)}"
    except Exception as raised:  # whatever it is, the other shards can be used
        error = f"{shard.name}: cannot be read to its end ({one_line(raised)}); fetch or make it again"
    if error:
        yield shard.name, None, error


def _of_tar(file: Any) -> Iterator[tuple[str, Any]]:
    with tarfile.open(fileobj=file, mode="r|*") as tar:
        for member in tar:
            if member.isfile() and is_audio(member.name):
                yield member.name, lambda member=member: _whole(tar, member)


def _whole(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    content = file.read() if file else b""
    if len(content) < member.size:
        raise AudioError(f"{member.name} is cut off")
    return content


def _of_parquet(file: Any, column: str) -> Iterator[tuple[str, Any]]:
    from pyarrow import parquet

    row = 0
    for batch in parquet.ParquetFile(file).iter_batches(ROWS_AT_ONCE, columns=[column]):
        for value in batch.column(0):
            sound = value.as_py()
            path = sound.get("path") if isinstance(sound, dict) else None
            content = sound.get("bytes") if isinstance(sound, dict) else sound
            yield f"{row}/{path}" if path else str(row), lambda content=content: content
            row += 1


def _matching(place: str) -> list[str]:
    """Whole names: of what a pattern means, or the place itself."""
    if not is_address(place):
        place = os.path.abspath(place)  # noqa: PTH100 - a name of bytes that are no text, or with links, as it is
        if os.path.lexists(place) or not has_magic(place):
            return [place]
    files, path = filesystem_of(place)
    if not has_magic(path):
        return [place]
    return [_named(place, path, one) for one in sorted(files.glob(path))] or [place]


def _named(place: str, path: str, one: str) -> str:
    """What a filesystem calls `one`, as it calls `place` by `path`, as an address."""
    return place[: len(place) - len(path)] + one if place.endswith(path) else f"{place.partition('://')[0]}://{one}"


def _add_files(place: str, found: Inputs) -> None:
    if not is_address(place):
        local = find_audio(place)
        found.files += map(str, local.files)
        found.left_out += local.left_out
        found.errors += map(str, local.errors)
        return
    files, path = filesystem_of(place)
    if is_audio(place) or not files.isdir(path):
        found.files.append(place)
        return
    names = [_named(place, path, one) for one in files.find(path)]
    sounds = [name for name in names if is_audio(name)]
    found.files += sounds
    found.left_out += Counter(posixpath.splitext(name)[1].lower() for name in names if not is_audio(name))
    if not sounds:
        found.errors.append(f"{place}: no audio in this folder; looked for {', '.join(AUDIO_EXTENSIONS)}")


def _add_named(place: str, ending: str, column: str | None, found: Inputs) -> None:
    """What a table or a list names."""
    try:
        if ending in TABLES:
            _add_table(place, ending, column, found)
            return
        files, path = filesystem_of(place)
        names = files.cat_file(path).decode("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        raise FileNotFoundError(f"{place}: no such file; check the name") from None
    except OSError as error:
        raise OSError(f"{place}: cannot be read ({one_line(error)}); check the name and who may read it") from None
    _add_names(place, [name.strip() for name in names if name.strip()], found)


def _add_names(table: str, names: list[Any], found: Inputs) -> None:
    base = posixpath.dirname(table)
    if not names:
        found.errors.append(f"{table} names no recording: give a path or an address in each line or row")
    without = sum(not name for name in names)
    if without:
        found.errors.append(f"{table}: {without} rows name no file; fill them in, or leave them out")
    found.files += [name if is_address(name) else posixpath.join(base, name) for name in names if name]


def _add_table(table: str, ending: str, column: str | None, found: Inputs) -> None:
    import pyarrow as pa
    from pyarrow import csv, parquet

    files, path = filesystem_of(table)
    column = column or DEFAULT_COLUMN
    with files.open(path, "rb") as file:
        try:
            if ending == ".csv":
                text = csv.ConvertOptions(column_types={column: pa.string()}, strings_can_be_null=True)
                rows = csv.read_csv(file, convert_options=text)
                columns = rows.column_names
            else:
                parts = parquet.ParquetFile(file)
                columns = parts.schema_arrow.names
                if column in columns:
                    kind = parts.schema_arrow.field(column).type
                    if pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                        found.shards.append(Shard(table, column))
                        return
                    rows = parts.read([column])
        except pa.ArrowInvalid as error:
            raise ValueError(f"{table} can't be read ({one_line(error)}): give a whole {ending} file") from None
    if column not in columns:
        raise ValueError(f"{table} has no column {column!r}: give one of {', '.join(columns)} by --column")
    _add_names(table, rows[column].to_pylist(), found)
