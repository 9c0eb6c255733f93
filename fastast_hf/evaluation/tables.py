"""The score tables as they are read, in a terminal and in markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import counted
from .rows import ACCURACY, INFERENCE, MEAN_AVERAGE_PRECISION, RANDOM, TRAINED, SweepRow

Line = dict[str, str]

SHOWN_METRICS = {ACCURACY: "accuracy", MEAN_AVERAGE_PRECISION: "mAP"}
METHODS = {
    INFERENCE: "one checkpoint, merging only at inference",
    TRAINED: "a checkpoint trained at each r",
    RANDOM: "one checkpoint, trained with r drawn at random",
}


def score_tables(rows: Sequence[SweepRow]) -> list[list[Line]]:
    """A table for each metric: cells by column, scores in percent, without columns that tell nothing."""
    tables = []
    for metric in dict.fromkeys(row.metric for row in rows):
        shown = [_line(row) for row in rows if row.metric == metric]
        told = [head for head in shown[0] if any(line[head] for line in shown)]
        # A method and a schedule are worth a column where there are others.
        alone = {head for head in ("method", "schedule") if len({line[head] for line in shown} - {""}) < 2}
        tables.append([{head: line[head] for head in told if head not in alone} for line in shown])
    return tables


def _line(row: SweepRow) -> Line:
    per_second = row.samples_per_sec
    return {
        "method": row.method,
        "schedule": row.schedule if row.tome_r else "",
        "r": str(row.tome_r),
        "MAC ratio": f"{row.mac_ratio:.2f}×",
        f"{SHOWN_METRICS[row.metric]}, %": f"{100 * row.score:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]",
        "change": _in_points(row.change, row.change_low, row.change_high),
        "gain": _in_points(row.gain, row.gain_low, row.gain_high),
        "clips/s": "" if per_second is None else f"{per_second:.3g}" if per_second < 1000 else f"{per_second:.0f}",
    }


def _in_points(*change: float | None) -> str:
    """A change and its interval in percentage points, where they are known; no interval where nothing changed."""
    # + 0.0: nothing is no less than nothing.
    value, *interval = [None if share is None else f"{round(100 * share, 1) + 0.0:+.1f}" for share in change]
    if value is None or None in interval or not any(change):
        return value or ""
    return f"{value} [{', '.join(map(str, interval))}]"


def markdown_table(shown: Sequence[Line]) -> str:
    """Cells by column, in markdown."""
    lines = [list(shown[0]), ["---"] * len(shown[0]), *(list(line.values()) for line in shown)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def explanation(rows: Sequence[SweepRow]) -> str:
    """What the numbers of the tables are, in a few sentences."""
    said = ["95 % bootstrap intervals in brackets."]
    if len({row.metric for row in rows}) > 1:
        said.append("Changes are from the same method at r = 0, in points.")
        if any(row.gain is not None for row in rows):
            said.append(f"Gains are over {rows[0].method} at the same r, in points.")
    elif any(row.change is not None for row in rows):
        start = next(row for row in rows if row.change is None)
        of = f"{start.method} at " if len({row.method for row in rows}) > 1 else ""
        said.append(f"Changes are from {of}r = {start.tome_r}, in points.")
    methods = list(dict.fromkeys(row.method for row in rows))
    if len(methods) > 1 and all(method in METHODS for method in methods):
        said.append("; ".join(f"{method}: {METHODS[method]}" for method in methods) + ".")
    schedules = list(dict.fromkeys(row.schedule for row in rows if row.tome_r))
    if len(schedules) == 1:
        said.append(f"Schedule: {schedules[0]}.")
    return " ".join(said)


def what_was_scored(rows: Sequence[SweepRow], facts: Mapping[str, Any]) -> str:
    """The clips, those left out, and the checkpoints, in a few sentences."""
    said = f"{counted(rows[0].clips, 'clip')} of {facts['title']} ({facts['classes']} classes), split {facts['split']}"
    if facts["folds"]:
        said += f", fold{'s' * (len(facts['folds']) > 1)} {', '.join(map(str, facts['folds']))}"
    left_out = {"unreadable": rows[0].unreadable, "missing": facts["missing"]}
    if any(left_out.values()):
        said += f", without {' and '.join(f'{count} {why}' for why, count in left_out.items() if count)}"
    checkpoints = facts["checkpoints"]
    if len(checkpoints) == 1:
        return f"{said}. Checkpoint: {next(iter(checkpoints.values()))}."
    return f"{said}. Checkpoints: {'; '.join(f'{name}: {place}' for name, place in checkpoints.items())}."
