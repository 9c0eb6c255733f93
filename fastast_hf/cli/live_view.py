"""What `fastast listen` shows on a terminal: labels with bars, the last minute, and how fast it is."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..tagging.timelines.events import clock

if TYPE_CHECKING:
    from ..tagging.live import LiveStream
    from ..tagging.timelines.events import Event, Moment

MINUTE = 60.0  # s
PER_SECOND = 4  # columns of what is remembered
EVERY = 0.1  # s between pictures, at least
BAR = 12  # columns
EVENTS = 4  # of the last ones
EIGHTHS = " ▏▎▍▌▋▊▉█"
HEIGHTS = " ▁▂▃▄▅▆▇█"


class LiveView:
    """The view of a stream; a call shows a moment and the events that are over with it."""

    def __init__(self, stream: LiveStream, name: str, top_k: int, console: Console | None = None) -> None:
        self._stream, self._name, self._top_k = stream, name, top_k
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        columns = round(MINUTE * PER_SECOND)
        self._minute = np.zeros((columns, len(stream.labels)), np.float32)  # the highest score in each column
        self._column = 0
        self._events: deque[Event] = deque(maxlen=EVENTS)
        self._count, self._shown = 0, 0.0
        self._scores = self._minute[0]

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        self._live.update(Text(f"{self._name}: listening …"), refresh=True)
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def __call__(self, moment: Moment | None, events: list[Event]) -> None:
        """Show a moment; None at the end."""
        self._events.extend(events)
        self._count += len(events)
        if moment is not None:
            self._remember(moment)
        now = time.perf_counter()
        if moment is None or now - self._shown >= EVERY:
            self._shown = now
            self._live.update(self.picture(), refresh=True)

    def _remember(self, moment: Moment) -> None:
        last = int(moment.end * PER_SECOND)
        first = max(self._column + 1, int(moment.start * PER_SECOND))
        for column in range(max(first, last - len(self._minute) + 1), last + 1):
            self._minute[column % len(self._minute)] = moment.scores
        self._minute[self._column % len(self._minute)] = np.maximum(
            self._minute[self._column % len(self._minute)], moment.scores
        )
        self._column = max(self._column, last)
        self._scores = moment.scores

    def picture(self) -> Group:
        """What is shown now."""
        stream, width = self._stream, self._console.width
        minute = np.roll(self._minute, -self._column - 1, axis=0)
        labels = np.argsort(-minute.max(axis=0), kind="stable")[: self._top_k]
        longest = min(24, max(len(stream.labels[index]) for index in labels))
        strip = max(10, min(60, width - longest - BAR - 12))
        edges = np.linspace(0, len(minute), strip + 1).astype(int)[:-1]
        heights = np.maximum.reduceat(minute, edges, axis=0)
        rows = Table.grid(padding=(0, 1))
        rows.add_column(max_width=longest, no_wrap=True, overflow="ellipsis")
        rows.add_row("", "", "[dim]now[/]", f"[dim]{'the last minute'[:strip]}[/]")
        for index in labels:
            score = float(self._scores[index])
            style = "bold green" if score >= 0.5 else "cyan" if score >= 0.1 else "dim"
            rows.add_row(
                Text(stream.labels[index], style), Text(bar(score), style), f"{score:.2f}", strip_of(heights[:, index])
            )
        p50, p95 = (1000 * stream.latency(percent) for percent in (50, 95))
        factor = stream.real_time_factor()
        speed = Text(f"latency {p50:.0f} ms (p95 {p95:.0f}) · real-time factor {factor:.2f} · ", "dim")
        speed.append(f"skipped {stream.skipped}", "bold red" if stream.skipped else "dim")
        speed.append(f" · events {self._count}", "dim")
        title = Text(f"{self._name}  {clock(stream.seconds, 1)}", "bold", no_wrap=True, overflow="ellipsis")
        title.append(f"   window {stream.window:g} s, hop {stream.hop:g} s", "dim not bold")
        lines: list[Any] = [title, Text(), rows, Text(), speed]
        if factor > 1:
            lines.append(Text("too slow for every hop: try --preset fast or a longer --hop", "red"))
        for event in self._events:
            times = f"{clock(event.start, 1)} – {clock(event.end, 1)}"
            lines.append(Text(f"{times}  {event.label}  {event.score:.2f}", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)


def bar(score: float, width: int = BAR) -> str:
    """A bar of `width` columns for 1.

    Example:
        >>> bar(0.55, 5)
        '██▊  '
    """
    eighths = round(max(0.0, min(1.0, score)) * width * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()).ljust(width)


def strip_of(scores: np.ndarray) -> str:
    """A column for each score.

    Example:
        >>> strip_of(np.array([0.0, 0.5, 1.0]))
        ' ▄█'
    """
    return "".join(HEIGHTS[round(float(score) * 8)] for score in np.clip(scores, 0, 1))
