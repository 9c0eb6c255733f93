"""The rows of a table as labelled clips: labels, parts of recordings in seconds, splits, folds and groups."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..corpus import first_of
from ..errors import CorpusError
from .columns import NUMBERS, SEVERAL, SPELLINGS, Columns, spelled

logger = logging.getLogger(__name__)

_BITS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}

Row = tuple[str, Mapping[str, Any]]  # where it is, and its values by column


class Entry(NamedTuple):
    """What a row says; None and no label where it says nothing."""

    where: str
    file: str
    labels: list[str]
    split: str | None
    fold: int | None
    group: str | None
    start: float | None
    end: float | None


def read_entries(source: str, rows: Iterable[Row], columns: Columns, separator: str | None = None) -> list[Entry]:
    """What the rows say.

    Args:
        source: What errors call the table.
        rows: With their places.
        columns: Of [`find_columns`], with `label`.
        separator: Between the labels of a cell. None: of ";", "|" and "," the first that a cell has, but "," only in
            columns with a name such as `labels`; in `label` it is part of a name.

    Raises:
        CorpusError: A fold, start or end that is no number.
    """
    marks = (separator,) if separator else (";", "|", ",") if _holds_several(columns["label"]) else (";", "|")
    entries, nameless, broken = [], [], 0
    for where, row in rows:
        cell = {what: _text(row[name]) for what, name in columns.items() if what != "label"}
        if "file" in columns and not cell["file"]:
            nameless.append(where)
            continue
        labels = _labels(where, row, columns["label"], marks)
        broken += any("\n" in label or "\r" in label for label in labels)
        labels = list(dict.fromkeys(filter(None, (" ".join(label.split()) for label in labels))))
        start, end = part_of(where, row, columns)
        fold = _number(where, columns, "fold", cell.get("fold"))
        if fold is not None and fold != int(fold):
            raise CorpusError(f"{where}: fold {fold:g}; give whole numbers in column {columns['fold']}")
        entries.append(
            Entry(
                where,
                cell.get("file") or "",
                labels,
                cell.get("split"),
                None if fold is None else int(fold),
                cell.get("group"),
                start,
                end,
            )
        )
    if nameless:
        logger.warning("%s: %d rows name no file and are left out: %s", source, len(nameless), first_of(nameless))
    if broken:
        logger.warning("%s: %d rows have a label with a line break, which is taken for a space", source, broken)
    if not entries:
        raise CorpusError(f"{source}: no rows; give a row for each clip")
    return entries


def part_of(where: str, row: Mapping[str, Any], columns: Columns) -> tuple[float | None, float | None]:
    """Where the clip starts and ends in its recording, in s; None where the row does not say.

    Raises:
        CorpusError: These are no numbers, or no part.
    """
    start, end, duration = (
        _number(where, columns, what, _text(row[columns[what]])) if what in columns else None
        for what in ("start", "end", "duration")
    )
    end = end if duration is None else (start or 0) + duration
    if (start or 0) < 0 or (end is not None and end <= (start or 0)):
        raise CorpusError(f"{where}: from {start or 0:g} s to {end} s; give a start of 0 or more, and a later end")
    return start, end


def part_name(name: str, start: float | None, end: float | None) -> str:
    """The name of a part of a recording: `name@start-end`.

    Example:
        >>> part_name("1.wav", 0.5, 2.0), part_name("1.wav", 0.5, None), part_name("1.wav", None, None)
        ('1.wav@0.5-2', '1.wav@0.5', '1.wav')
    """
    if start is None and end is None:
        return name
    return f"{name}@{start or 0:.12g}" + ("" if end is None else f"-{end:.12g}")


def label_columns(source: str, rows: Sequence[Row], columns: Columns, names: Sequence[str]) -> Columns:
    """The columns with that of labels, or with all that hold nothing but 0 and 1, a class each.

    Raises:
        CorpusError: There is neither.
    """
    if "label" in columns:
        return columns
    others = [name for name in names if name not in columns.values()]
    classes = [name for name in others if all(_text(row[name]).lower() in _BITS for _, row in rows)]
    if len(classes) < 2:
        raise CorpusError(
            f"{source}: no column of labels ({', '.join(SPELLINGS['label'])}), and no columns of 0 and 1, a class "
            f"each, among {', '.join(names) or 'none'}; give --label-column"
        )
    return {**columns, "label": classes}


def class_names(entries: Sequence[Entry], rows: Sequence[Row], columns: Columns) -> list[str]:
    """The classes in the order of the numbers beside them (`target`, `class_id` …), else of their own names.

    Columns of 0 and 1 keep the order of the table.
    """
    if isinstance(columns["label"], list):
        return [" ".join(name.split()) for name in columns["label"]]
    names = {label for entry in entries for label in entry.labels}
    if names and all(name.isdecimal() for name in names):
        return sorted(names, key=int)
    for column in (name for name in (rows[0][1] if rows else ()) if spelled(name) in NUMBERS):
        values = {(" ".join(_text(row[columns["label"]]).split()), _text(row[column])) for _, row in rows}
        numbers = dict(values)
        one_to_one = len(values) == len(numbers) == len(set(numbers.values()))
        if one_to_one and set(numbers) == names and all(number.isdecimal() for number in numbers.values()):
            return sorted(names, key=lambda name: int(numbers[name]))
    return sorted(names)


def has_several(source: str, entries: Sequence[Entry], given: bool | None = None) -> tuple[bool, str]:
    """Whether clips carry several labels, and why: as it is given, else where one has several, or none at all.

    Raises:
        CorpusError: They were said not to, and some do.
    """
    several, none = sum(len(entry.labels) > 1 for entry in entries), sum(not entry.labels for entry in entries)
    if given is False and (several or none):
        raise CorpusError(
            f"{source}: {several} clips have several labels and {none} have none; leave out --multi-label false, or "
            "mend these rows"
        )
    if none:
        logger.warning(
            "%s: %d clips have no label: they count as negatives, so clips may have any number of labels. Remove "
            "these rows to train with one label per clip",
            source,
            none,
        )
    if given is not None or not (several or none):
        return bool(given), f"{'any number of labels' if given else 'one label'} per clip" + (
            ", as --multi-label says" * bool(given)
        )
    first = next(entry for entry in entries if len(entry.labels) != 1)
    place, labels = first.where.rpartition(", ")[2], first_of(first.labels) or "none"
    return (
        True,
        f"any number of labels per clip, because {several} clips have several and {none} none ({place}: {labels})",
    )


def _holds_several(column: str | list[str]) -> bool:
    return isinstance(column, str) and spelled(column) in SEVERAL


def _labels(where: str, row: Mapping[str, Any], column: str | list[str], marks: tuple[str, ...]) -> list[str]:
    if isinstance(column, list):
        try:
            return [name for name in column if _BITS[_text(row[name]).lower()]]
        except KeyError as error:
            raise CorpusError(f"{where}: {error.args[0]!r} in a column of a class; give 0 or 1") from None
    value = row[column]
    if isinstance(value, (list, tuple)):
        return [_text(one) for one in value]
    text = _text(value)
    return text.split(next((mark for mark in marks if mark in text), None) or "\0")


def _number(where: str, columns: Columns, what: str, text: str | None) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
        if math.isfinite(number):
            return number
        raise ValueError
    except ValueError:
        raise CorpusError(f"{where}: {text!r} in column {columns[what]}; give a number") from None


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
