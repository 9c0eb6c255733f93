"""The file that `fastast classify` writes line by line, so that a run that was killed goes on where it stopped.

Beside `results.csv` there is `results.csv.settings.json`, so that scores of two models or settings are never mixed.
While several processes write, each has a part, `results.csv.part0` and so on; in the end they become one file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .score_settings import DIGESTS

FORMATS = (".csv", ".jsonl")


class Output:
    """A file of results, with its settings and parts.

    Args:
        path: Its name ends in .csv (file, label_1, score_1, label_2, …) or .jsonl (an object per file, one on a line).

    Raises:
        ValueError: Another ending.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in FORMATS:
            raise ValueError(f"{path}: results are written as {' or '.join(FORMATS)}: give a name with such an ending")
        self.path = path
        self.settings_path = path.with_name(f"{path.name}.settings.json")

    def held(self, resume: bool) -> list[Path]:
        """The files with earlier results.

        Raises:
            ValueError: There are some, and `resume` is False.
        """
        held = [path for path in (self.path, *self.parts()) if path.is_file()]
        if held and not resume:
            raise ValueError(f"{held[0]} exists: add --resume to go on with it, or give another file")
        return held

    def begin(self, settings: Mapping[str, Any], resume: bool) -> set[str]:
        """Make sure that results may be written here, and write down their settings.

        Returns:
            The names of the files that have their results here already.

        Raises:
            ValueError: There are results and `resume` is False, or they are of other settings, or no results at all.
            OSError: Nothing can be written here.
        """
        held = self.held(resume)
        done = {name for path in held for name, _ in records(path)}
        if any(path.stat().st_size for path in held):
            self._check(settings)
        self.path.parent.mkdir(parents=True, exist_ok=True)
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
        if not self.path.parent.is_dir():
            return []
        found = [path for path in self.path.parent.iterdir() if path.name.startswith(start)]
        numbered = [path for path in found if path.name.removeprefix(start).isdecimal()]
        return sorted(numbered, key=lambda path: int(path.name.removeprefix(start)))

    def merge(self, order: Sequence[str]) -> int:
        """Make one file of the parts, in this order of names; what is none of them stays ahead of it.

        Returns:
            How many results it has.
        """
        parts = self.parts()
        rows: dict[str, bytes] = {}
        for path in (self.path, *parts):
            for name, raw in records(path) if path.is_file() else ():
                rows.setdefault(name, raw)
        places = {name: place for place, name in enumerate(order)}
        names = sorted(rows, key=lambda name: places.get(name, -1))
        if parts or names != list(rows):
            whole = next((header for path in (self.path, *parts) if (header := _header(path))), b"")
            partial = self.path.with_name(f"{self.path.name}.partial")
            with partial.open("wb") as file:
                file.write(whole)
                file.writelines(rows[name] for name in names)
            partial.replace(self.path)  # which is whole before any of its parts goes
            for path in parts:
                path.unlink()
        return len(rows)

    def _check(self, settings: Mapping[str, Any]) -> None:
        try:
            earlier = dict(json.loads(self.settings_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            no = "no" if isinstance(error, FileNotFoundError) else "a damaged"
            raise ValueError(
                f"{self.path} has {no} {self.settings_path.name} beside it, and its results may be of another model: "
                "give another file"
            ) from None
        names = [*settings, *(name for name in earlier if name not in settings)]
        other = [name for name in names if earlier.get(name) != settings.get(name)]
        if other:
            was = ", ".join(
                DIGESTS.get(name) or f"{name} {earlier.get(name)} and not {settings.get(name)}" for name in other
            )
            raise ValueError(f"{self.path} was begun with {was}: go on with the same settings, or give another file")


class Appender:
    """Adds results to a file, each whole as soon as it is given; half a line that an earlier run left is dropped.

    Args:
        path: Made where it is missing.
        kind: The ending that says its format.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._kind, self._path = kind, path
        whole = len(_header(path)) + sum(len(raw) for _, raw in records(path)) if path.is_file() else 0
        # No buffer: a row is in the file before the next one is computed.
        self._file = path.open("ab", buffering=0)
        self._file.truncate(whole)
        self._headed = whole > 0

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, name: str, labels: Sequence[Mapping[str, Any]]) -> None:
        """Write the labels of one file, best first.

        Raises:
            OSError: They do not fit on the disk, say. What stands there is still good to go on with.
        """
        if self._kind == ".jsonl":
            self._write(json_line(name, labels).encode("ascii") + b"\n")
            return
        if not self._headed:
            places = range(1, len(labels) + 1)
            self._write(_csv_line(["file", *(f"{column}_{k}" for k in places for column in ("label", "score"))]))
            self._headed = True
        cells = [cell for label in labels for cell in (label["label"], f"{label['score']:.6g}")]
        self._write(_csv_line([name, *cells]))

    def _write(self, line: bytes) -> None:
        try:
            while line:  # a disk that is nearly full takes a part, and says that it is full when asked for the rest
                line = line[self._file.write(line) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error


def json_line(name: str, labels: Sequence[Mapping[str, Any]]) -> str:
    r"""In ASCII, so that it parses whatever the file's name and the terminal's encoding are.

    Example:
        >>> json_line("dög.wav", [{"label": "dog", "score": 0.5}])
        '{"file": "d\\u00f6g.wav", "labels": [{"label": "dog", "score": 0.5}]}'
    """
    return json.dumps({"file": name, "labels": labels})


def records(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files that have whole results in `path`, with their rows as they stand there.

    Raises:
        ValueError: Something else is in there.
    """
    rows = _rows(path)
    if _kind(path) == ".csv":
        next(rows, None)  # the header
    yield from rows


def _header(path: Path) -> bytes:
    """The line ahead of the rows; empty where there is none."""
    if _kind(path) != ".csv" or not path.is_file():
        return b""
    return next((raw for _, raw in _rows(path)), b"")


def _kind(path: Path) -> str:
    return path.suffix if path.suffix in FORMATS else Path(path.stem).suffix  # of results.csv, or of its .part0


def _rows(path: Path) -> Iterator[tuple[str, bytes]]:
    """Whole rows, up to a cut one, which a killed run leaves at the end."""
    raw: list[bytes] = []
    ended = False

    def lines() -> Iterator[str]:
        nonlocal ended
        for line in file:
            if not line.endswith(b"\n"):
                break
            raw.append(line)
            yield line.decode("utf-8", errors="surrogateescape")
        ended = True

    with path.open("rb") as file:
        try:
            if _kind(path) == ".csv":
                fields = csv.reader(lines(), strict=True)
                for number, (name, *_) in enumerate(fields):
                    if number == 0 and name != "file":
                        raise ValueError
                    yield name, b"".join(raw)
                    raw.clear()
            else:
                for line in lines():
                    yield json.loads(line)["file"], raw.pop()
        except (csv.Error, ValueError, KeyError, TypeError):
            if ended and _kind(path) == ".csv":  # within a name of two lines
                return
            raise ValueError(f"{path} holds something else than fastast's results: give another file") from None


def _csv_line(cells: Sequence[str]) -> bytes:
    line = io.StringIO()
    # Python's readers take a bare \r for the end of a row, and its writer leaves one bare where rows end in \n.
    quoted = any("\r" in cell for cell in cells)
    csv.writer(line, lineterminator="\n", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL).writerow(cells)
    return line.getvalue().encode("utf-8", errors="surrogateescape")
