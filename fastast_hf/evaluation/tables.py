"""The score tables as they are read: whole in markdown, and narrow enough for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .rows import ACCURACY, INFERENCE, MEAN_AVERAGE_PRECISION, ComparisonRow, SweepRow

Line = dict[str, str]

INTERVAL = "(95 %)"  # what stands in brackets behind a number, as the head of its column says


def lines(rows: Sequence[SweepRow]) -> list[Line]:
    """The whole table: cells by column, scores in percent, and columns left out that nothing stands in."""
    pairs = _pairs(rows)
    if not pairs:
        start = reference(rows)
        return _even([_place(row) | _cost(row) | _score(row, row is not start) | _speeds(row) for row in rows])
    shown = []
    for pair in pairs:
        scores: Line = {}
        for row in pair:
            name = metric_name(row)
            for head, cell in _score(row, row.tome_r > 0).items():
                scores[head if head.startswith(name) else f"{name} {head}"] = cell
        shown.append(_place(pair[0]) | _cost(pair[0]) | scores | _speeds(pair[0]))
    return _even(shown)


def terminal_tables(rows: Sequence[SweepRow]) -> list[list[Line]]:
    """What fits a terminal of 120 columns: of Table 2 one table for each metric.

    The MAC ratio is there where rows were not timed, and the schedule where there are several.
    """
    several = len({row.schedule for row in rows if row.tome_r}) > 1
    timed = all(row.samples_per_sec is not None for row in rows)
    pairs, start = _pairs(rows), reference(rows)
    shown_if = {"GMACs": False, "schedule": several, "MAC ratio": not timed}
    shown_if |= dict.fromkeys(("front end/s", "model/s"), not pairs)
    tables = []
    for of_metric in zip(*pairs, strict=True) if pairs else [rows]:
        shown = []
        for row in of_metric:
            told = row.tome_r > 0 if pairs else row is not start
            cells = _place(row, arrow="→") | _cost(row) | _score(row, told) | _speeds(row)
            shown.append({head: cell for head, cell in cells.items() if shown_if.get(head, True)})
        tables.append(_even(shown))
    return tables


def markdown_table(shown: Sequence[Line]) -> str:
    """Cells by column, in markdown."""
    head = ["| " + " | ".join(shown[0]) + " |", "|" + "---|" * len(shown[0])]
    return "\n".join(head + ["| " + " | ".join(row.values()) + " |" for row in shown])


def explanation(rows: Sequence[SweepRow]) -> str:
    """What changes and gains are told from, in a sentence without its full stop."""
    if not _pairs(rows):
        start = reference(rows)
        return f"changes are from {start.method} at r = {start.tome_r}, in points; in brackets 95 % intervals"
    told = "changes are from r = 0"
    if any(row.gain is not None for pair in _pairs(rows) for row in pair):
        told += f", gains over {rows[0].method} at the same r, both"
    return f"{told} in points; in brackets 95 % intervals"


def schedules_named(rows: Sequence[SweepRow]) -> str:
    """How r is spread, in words; empty where nothing is merged."""
    names = list(dict.fromkeys(row.schedule for row in rows if row.tome_r))
    return f"schedule{'s' if len(names) > 1 else ''} {in_words(names)}" if names else ""


def what_was_scored(rows: Sequence[SweepRow], facts: Mapping[str, Any]) -> str:
    """The corpus and the checkpoints in two sentences, from a sweep's facts."""
    corpus = facts.get("title", facts["corpus"]) + (f" ({facts['classes']} classes)" if facts.get("classes") else "")
    parts = [f"{rows[0].clips} clips of {corpus}"]
    if facts.get("split"):
        parts.append(f"split {facts['split']}")
    folds = facts.get("folds") or ()
    if folds:
        parts.append(f"{'folds' if len(folds) > 1 else 'fold'} {in_words([str(fold) for fold in folds])}")
    sentences = [", ".join(parts)]
    if facts.get("checkpoints"):
        named = [f"{name} is `{checkpoint}`" for name, checkpoint in facts["checkpoints"].items()]
        sentences.append("; ".join(named))
    return ". ".join(sentences) + "."


def in_words(names: Sequence[str]) -> str:
    """A list as it is read.

    Example:
        >>> in_words(["1", "2", "3"])
        '1, 2 and 3'
    """
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def metric_name(row: SweepRow) -> str:
    """The metric as columns and axes name it."""
    return {ACCURACY: "accuracy", MEAN_AVERAGE_PRECISION: "mAP"}.get(row.metric, row.metric)


def reference(rows: Sequence[SweepRow]) -> SweepRow:
    """The row of Table 1 that changes are told from: of the method "Inf" (else the first) at r = 0."""
    return next((row for row in rows if row.method == INFERENCE and row.tome_r == 0), rows[0])


def in_points(share: float) -> str:
    """A change in percentage points; no less than nothing by nothing."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def _pairs(rows: Sequence[SweepRow]) -> list[tuple[ComparisonRow, ComparisonRow]]:
    """Table 2's rows by two: one cell's accuracy and mAP. None of Table 1."""
    compared = [row for row in rows if isinstance(row, ComparisonRow)]
    return list(zip(compared[::2], compared[1::2], strict=True))


def _place(row: SweepRow, arrow: str = " → ") -> Line:
    schedule = row.schedule if row.tome_r else ""
    tokens = f"{row.tokens_in}{arrow}{row.tokens_out}"
    return {"method": row.method, "schedule": schedule, "r": str(row.tome_r), "tokens": tokens}


def _cost(row: SweepRow) -> Line:
    return {"GMACs": f"{row.gmacs:.3g}", "MAC ratio": f"{row.mac_ratio:.2f}×"}


def _score(row: SweepRow, told: bool) -> Line:
    """The score, its change (`told` is False where that is nothing by definition) and its gain."""
    cells = {f"{metric_name(row)} {INTERVAL}": f"{100 * row.score:.1f} ({100 * row.low:.1f} to {100 * row.high:.1f})"}
    cells[f"change {INTERVAL}"] = _told(row.change, row.change_low, row.change_high) if told else ""
    if isinstance(row, ComparisonRow):
        cells[f"gain {INTERVAL}"] = "" if row.gain is None else _told(row.gain, row.gain_low, row.gain_high)
    return cells


def _told(share: float, low: float | None, high: float | None) -> str:
    """A change and its interval, in percentage points; alone where the interval can't be told."""
    if low is None or high is None or math.isnan(low):
        return in_points(share)
    return f"{in_points(share)} ({in_points(low)} to {in_points(high)})"


def _speeds(row: SweepRow) -> Line:
    speeds = {"front end/s": row.front_end_samples_per_sec, "model/s": row.model_samples_per_sec}
    speeds["clips/s"] = row.samples_per_sec
    known = {name: speed for name, speed in speeds.items() if speed is not None}
    return {name: f"{speed:.3g}" if speed < 1000 else f"{speed:.0f}" for name, speed in known.items()}


def _even(shown: Sequence[Line]) -> list[Line]:
    """Lines of the same columns: of all those in which something stands."""
    heads = dict.fromkeys(head for line in shown for head in line)
    used = [head for head in heads if any(line.get(head) for line in shown)]
    return [{head: line.get(head, "") for head in used} for line in shown]
