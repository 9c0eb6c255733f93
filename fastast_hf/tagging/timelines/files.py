"""Events of recordings as files, in the formats that other programs read; a function for each."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..parquet import as_text
from ..results_file import csv_line

Result = dict[str, Any]  # of a recording: "file", "events" as [`Event`] has them, "seconds", perhaps "error"
COLUMNS = ("file", "start", "end", "label", "score", "mean", "error")


class Format(NamedTuple):
    """How events are written.

    Attributes:
        ending: Of such a file's name.
        many: Whether one file can hold the events of several recordings.
        write: Writes them, each line as soon as its result is known (but for parquet).
    """

    ending: str
    many: bool
    write: Callable[[Path, Iterable[Result]], None]


def write_csv(path: Path, results: Iterable[Result]) -> None:
    """A row for each event (file, start, end, label, score, mean), and one for each error.

    Times are in whole milliseconds, and scores have six digits.
    """
    digits = {"start": ".3f", "end": ".3f", "score": ".6g", "mean": ".6g"}
    with path.open("w", buffering=1, newline="", encoding="utf-8", errors="surrogateescape") as file:
        file.write(",".join(COLUMNS) + "\n")
        for row in _rows(results):
            cells = [format(row.get(name, ""), digits.get(name, "") if name in row else "") for name in COLUMNS]
            file.write(csv_line(cells).decode("utf-8", errors="surrogateescape"))


def write_jsonl(path: Path, results: Iterable[Result]) -> None:
    """An object for each recording, one on a line."""
    with path.open("w", buffering=1, encoding="ascii") as file:
        file.writelines(json.dumps(result) + "\n" for result in results)


def write_parquet(path: Path, results: Iterable[Result]) -> None:
    """The rows of the csv."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist([as_text(row) for row in _rows(results)], events_schema()), path)


def events_schema() -> Any:
    """The columns of the csv."""
    import pyarrow as pa

    numbers = ("start", "end", "score", "mean")
    return pa.schema([(name, pa.float64() if name in numbers else pa.string()) for name in COLUMNS])


def write_audacity(path: Path, results: Iterable[Result]) -> None:
    """Audacity's labels: start, end and label, by tabs."""
    _write_lines(path, ([f"{e['start']:.6f}", f"{e['end']:.6f}", e["label"]] for e in _events(results)))


def write_raven(path: Path, results: Iterable[Result]) -> None:
    """Raven's selection table. Times go on from one recording to the next, as when Raven opens them all in order."""
    header = ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"]

    def lines() -> Iterator[list[str]]:
        yield [*header, "Begin Path", "File Offset (s)", "Label", "Score"]
        number, before = 1, 0.0
        for result in results:
            for e in result["events"]:
                times = [f"{before + e['start']:.6f}", f"{before + e['end']:.6f}"]
                band = ["0", f"{result['hertz']:g}"]
                about = [result["file"], f"{e['start']:.6f}", e["label"], f"{e['score']:.4f}"]
                yield [str(number), "Spectrogram 1", "1", *times, *band, *about]
                number += 1
            before += result["seconds"]

    _write_lines(path, lines())


def write_rttm(path: Path, results: Iterable[Result]) -> None:
    """NIST's Rich Transcription Time Marked, whose fields hold no blanks: they become underscores."""

    def lines() -> Iterator[list[str]]:
        for result in results:
            for e in result["events"]:
                times = [f"{e['start']:.3f}", f"{e['end'] - e['start']:.3f}"]
                names = ["_".join(name.split()) or "_" for name in (result["file"], e["label"])]
                yield ["SPEAKER", names[0], "1", *times, "<NA>", "<NA>", names[1], f"{e['score']:.4f}", "<NA>"]

    _write_lines(path, lines(), " ")


def write_vtt(path: Path, results: Iterable[Result]) -> None:
    """WebVTT subtitles, which a video player shows: the label and its score."""
    with path.open("w", buffering=1, encoding="utf-8") as file:
        file.write("WEBVTT\n")
        for e in _events(results):
            text = html.escape(f"{' '.join(e['label'].split())} {e['score']:.2f}", quote=False)
            file.write(f"\n{_vtt_time(e['start'])} --> {_vtt_time(e['end'])}\n{text}\n")


FORMATS = {
    "csv": Format(".csv", True, write_csv),
    "jsonl": Format(".jsonl", True, write_jsonl),
    "parquet": Format(".parquet", True, write_parquet),
    "raven": Format(".selections.txt", True, write_raven),
    "audacity": Format(".txt", False, write_audacity),
    "rttm": Format(".rttm", True, write_rttm),
    "vtt": Format(".vtt", False, write_vtt),
}


def format_of(path: Path) -> str | None:
    """The format that a file's name ends like; None for another ending.

    Example:
        >>> format_of(Path("a.selections.txt")), format_of(Path("a.txt")), format_of(Path("a"))
        ('raven', 'audacity', None)
    """
    return next((name for name, kind in FORMATS.items() if path.name.endswith(kind.ending)), None)


def write_events(path: Path, results: Iterable[Result], name: str) -> None:
    """Write a file of events in the format of that name; it is whole as soon as it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    FORMATS[name].write(partial, results)
    partial.replace(path)


def _events(results: Iterable[Result]) -> Iterator[dict[str, Any]]:
    return (event for result in results for event in result["events"])


def _rows(results: Iterable[Result]) -> Iterator[dict[str, Any]]:
    for result in results:
        yield from ({"file": result["file"], **event} for event in result["events"])
        if "error" in result:
            yield {"file": result["file"], "error": result["error"]}


def _write_lines(path: Path, lines: Iterator[list[str]], between: str = "\t") -> None:
    with path.open("w", buffering=1, encoding="utf-8", errors="surrogateescape") as file:
        for line in lines:
            file.write(between.join(" ".join(field.split()) for field in line) + "\n")


def _vtt_time(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    hours, minutes = milliseconds // 3_600_000, milliseconds // 60_000 % 60
    return f"{hours:02}:{minutes:02}:{milliseconds % 60_000 / 1000:06.3f}"
