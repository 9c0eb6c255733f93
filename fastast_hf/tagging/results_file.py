"""The file that `fastast classify` writes line by line, so that a run that was killed goes on where it stopped.

Beside `results.csv` there is `results.csv.settings.json`, so that scores of two models or settings are never mixed,
and while a run writes, `results.csv.lock`. Several processes write a part each, `results.csv.part0` and so on; in the
end these become one file.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from ..loading.places import check_output
from .score_settings import check_same_settings

FORMATS = (".csv", ".jsonl")

# The labels of a file, best first, or why it has none; or fields of its own, with "error" where it must be done again.
Result = Sequence[Mapping[str, Any]] | Mapping[str, Any] | Exception


class Record(NamedTuple):
    """A whole row: the name in it, where it stands, and whether it tells of an error."""

    name: str
    path: Path
    start: int
    end: int
    failed: bool

    @property
    def raw(self) -> bytes:
        """As it stands there; all rows of a file of vectors would fill the memory."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.end - self.start)


class Output:
    """A file of results, with its settings and parts. A context, at whose end other runs may write here.

    Args:
        path: Its name ends in .csv (file, label_1, score_1, label_2, …, error) or .jsonl (an object per file, one on a
            line).

    Raises:
        ValueError: Another ending.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in FORMATS:
            raise ValueError(
                f"{path}: results are written as .csv, .jsonl or .parquet: give a name with such an ending"
            )
        self.path = path
        self.settings_path = path.with_name(f"{path.name}.settings.json")
        self._lock = FileLock(f"{path}.lock", timeout=0)

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock.is_locked:
            with suppress(PermissionError):  # Windows removes no open file, and filelock does it there
                Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release(force=True)  # planning and writing acquire it once each

    def open(self, resume: bool) -> list[Path]:
        """Keep other runs from writing here, and find the files with earlier results.

        Raises:
            ValueError: Another run writes here, or there are earlier results and `resume` is False.
            OSError: Nothing can be written here.
        """
        check_output(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            if not Path(self._lock.lock_file).exists():
                raise OSError(f"{self.path.parent} takes no new file: give another folder") from None
            raise ValueError(
                f"{self.path} is being written by another run: wait for it, or give another file"
            ) from None
        held = [path for path in (self.path, *self.parts()) if path.is_file()]
        if held and not resume:
            raise ValueError(f"{held[0]} exists: add --resume to go on with it, or give another file")
        return held

    def begin(self, settings: Mapping[str, Any], resume: bool) -> set[str]:
        """Make sure that results may be written here, and write down their settings.

        Returns:
            The names of the files that have labels here already.

        Raises:
            ValueError: As [`open`], or the results are of other settings, or no results at all.
            OSError: Nothing can be written here.
        """
        held = self.open(resume)
        done = {record.name for path in held for record in read_file(path)[1] if not record.failed}
        if any(path.stat().st_size for path in held):
            self._check(settings)
        partial = self.settings_path.with_suffix(".partial")
        partial.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.settings_path)
        return done

    def part(self, index: int) -> Path:
        """What the process of that index writes."""
        return self.path.with_name(f"{self.path.name}.part{index}")

    def parts(self) -> list[Path]:
        """Of this run or an earlier one, which may have had another number of processes."""
        start = f"{self.path.name}.part"
        found = [path for path in self.path.parent.iterdir() if path.name.startswith(start)]
        numbered = [path for path in found if path.name.removeprefix(start).isdecimal()]
        return sorted(numbered, key=lambda path: int(path.name.removeprefix(start)))

    def merge(self, order: Sequence[str]) -> tuple[int, int]:
        """Make one file of the parts, in this order of names; what is none of them stays ahead of it.

        Returns:
            How many files in it have labels, and how many an error.

        Raises:
            OSError: A name of the order has no row: somebody removed what was written.
        """
        parts = self.parts()
        files = [read_file(path) for path in (self.path, *parts)]
        found = [record for _, records in files for record in records]
        rows: dict[str, Record] = {}
        for record in found:
            if record.name not in rows or rows[record.name].failed:  # else it was labelled before
                rows[record.name] = record
        if lost := sum(name not in rows for name in order):
            raise OSError(
                f"{self.path} lacks {lost} results that were written: it was removed or changed meanwhile; "
                "go on with --resume"
            )
        places = {name: place for place, name in enumerate(order)}
        sorted_rows = sorted(rows.values(), key=lambda record: places.get(record.name, -1))
        if parts or sorted_rows != found:
            partial = self.path.with_name(f"{self.path.name}.partial")
            with partial.open("wb") as file:
                file.write(max(header for header, _ in files))  # of a file without rows it may be missing
                file.writelines(record.raw for record in sorted_rows)
            partial.replace(self.path)  # which is whole before any of its parts goes
            for path in parts:
                path.unlink()
        failed = sum(record.failed for record in sorted_rows)
        return len(sorted_rows) - failed, failed

    def _check(self, settings: Mapping[str, Any]) -> None:
        there = self.settings_path.is_file()
        earlier = self.settings_path.read_text(encoding="utf-8", errors="replace") if there else None
        check_same_settings(self.path, self.settings_path.name, earlier, settings)


class Appender:
    """Adds results to a file, each whole as soon as it is given; half a line that an earlier run left is dropped.

    Args:
        path: Made where it is missing.
        kind: The ending that says its format.
        labels: For the columns: how many a file has, or the names of those whose scores (`"scores"`) it has.

    Raises:
        ValueError: The file has other columns.
    """

    def __init__(self, path: Path, kind: str, labels: int | Sequence[str]) -> None:
        self._kind, self._path = kind, path
        if isinstance(labels, int):
            labels = [f"{column}_{k}" for k in range(1, labels + 1) for column in ("label", "score")]
        self._columns = labels
        wanted = csv_line(["file", *labels, "error"]) if kind == ".csv" else b""
        header, rows = read_file(path)
        if header not in (b"", wanted):
            raise ValueError(f"{path} has other columns than are written now: give another file")
        # No buffer: a row is in the file before the next one is computed.
        self._file = path.open("ab", buffering=0)
        self._file.truncate(rows[-1].end if rows else len(header))
        if not header:
            self._write(wanted)

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, name: str, result: Result) -> None:
        """Write the labels of one file, or why it has none.

        Raises:
            OSError: They do not fit on the disk, or the file is gone. What stands there is still good to go on with.
        """
        if self._kind == ".jsonl":
            self._write(json_line(name, result).encode("ascii") + b"\n")
        elif isinstance(result, Exception):
            self._write(csv_line([name, *[""] * len(self._columns), str(result)]))
        elif isinstance(result, Mapping):
            scores = result["scores"]
            self._write(csv_line([name, *(f"{scores[label]:.6g}" for label in self._columns), ""]))
        else:
            cells = [cell for label in result for cell in (label["label"], f"{label['score']:.6g}")]
            cells += [""] * (len(self._columns) - len(cells))  # for labels below a threshold
            self._write(csv_line([name, *cells, ""]))

    def _write(self, line: bytes) -> None:
        try:
            while line:  # a disk that is nearly full takes a part, and says that it is full when asked for the rest
                line = line[self._file.write(line) :]
            there = os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            there = False
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        if not there:
            raise OSError(f"{self._path} was removed or replaced while it was written: start again")


def json_line(name: str, result: Result) -> str:
    r"""In ASCII, so that it parses whatever the file's name and the terminal's encoding are.

    Example:
        >>> json_line("dög.wav", [{"label": "dog", "score": 0.5}])
        '{"file": "d\\u00f6g.wav", "labels": [{"label": "dog", "score": 0.5}]}'
        >>> json_line("dog.wav", ValueError("dog.wav: no such file; check the path"))
        '{"file": "dog.wav", "error": "dog.wav: no such file; check the path"}'
    """
    return json.dumps(line_of(name, result))


def line_of(name: str, result: Result) -> dict[str, Any]:
    """What a line of JSON says of a file."""
    if isinstance(result, Exception):
        result = {"error": str(result)}
    return {"file": name, **(result if isinstance(result, Mapping) else {"labels": result})}


def read_file(path: Path) -> tuple[bytes, list[Record]]:
    """The header and the whole rows of a file, up to a cut one, which a killed run leaves at the end; or nothing.

    Raises:
        ValueError: Something else is in there.
    """
    rows: list[Record] = []
    start = end = 0  # of a row
    ended = False
    kind = path.suffix if path.suffix in FORMATS else Path(path.stem).suffix  # of results.csv, or of its .part0

    def lines() -> Iterator[str]:
        nonlocal end, ended
        for line in file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            yield line.decode("utf-8", errors="surrogateescape")
        ended = True

    if not path.is_file():
        return b"", []
    with path.open("rb") as file:
        try:
            if kind == ".csv":
                found = ((name, any(cells[-1:])) for name, *cells in csv.reader(lines(), strict=True))
            else:
                found = ((row["file"], "error" in row) for row in map(json.loads, lines()))
            for name, failed in found:
                if not isinstance(name, str) or (kind == ".csv" and not rows and name != "file"):
                    raise ValueError
                rows.append(Record(name, path, start, end, failed))
                start = end
        except (csv.Error, ValueError, KeyError, TypeError, RecursionError):
            if not ended or kind != ".csv":  # else it was cut within a name of two lines
                raise ValueError(f"{path} holds something else than fastast's results: give another file") from None
    header = rows.pop(0).raw if kind == ".csv" and rows else b""
    return header, rows


def csv_line(cells: Sequence[str]) -> bytes:
    """A row that any reader of csv reads back, whatever the names in it are."""
    line = io.StringIO()
    # Python's readers take a bare \r for the end of a row, and its writer leaves one bare where rows end in \n.
    quoted = any("\r" in cell for cell in cells)
    csv.writer(line, lineterminator="\n", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL).writerow(cells)
    return line.getvalue().encode("utf-8", errors="surrogateescape")
