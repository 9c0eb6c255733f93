"""What a person sees while sound comes in."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rich")
from rich.console import Console

from fastast_hf.cli.live_view import LiveView, bar, strip_of
from fastast_hf.tagging.timelines.events import Event, Moment


def view_of(width: int, skipped: int = 0, factor: float = 0.2, top_k: int = 2) -> tuple[LiveView, Console]:
    stream: Any = SimpleNamespace(
        labels=["dog", "rain on a very long roof of tin", "silence"],
        window=1.0,
        hop=0.5,
        seconds=61.5,
        skipped=skipped,
        latency=lambda percent: 0.02 if percent == 50 else 0.03,
        real_time_factor=lambda: factor,
    )
    console = Console(file=io.StringIO(), width=width, height=30, force_terminal=False)
    return LiveView(stream, "USB", top_k, console), console


def text_of(view: LiveView, console: Console) -> list[str]:
    with console.capture() as captured:
        console.print(view.picture())
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [60, 80, 140])
def test_labels_bars_the_last_minute_and_the_speed_are_shown(width: int) -> None:
    view, console = view_of(width)
    for second in range(62):
        scores = np.float32([second >= 50, 0.25, 0.01])
        view._remember(Moment(second + 0.5, second, second + 1, scores))
    view._events.append(Event(50.0, 62.0, "dog", 1.0, 1.0))
    lines = text_of(view, console)
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("USB  0:01:01.5   window 1 s, hop 0.5 s")
    dog, rain = (next(line for line in lines if line.startswith(name)) for name in ("dog", "rain on"))
    assert "████████████ 1.00" in dog and "███          0.25" in rain and not any("silence" in line for line in lines)
    strip = dog.split("1.00 ")[1]
    assert strip.strip() == "█" * strip.count("█")  # only at the end, for a fifth of the minute
    assert strip.count("█") / len(strip) == pytest.approx(0.2, abs=0.06)
    assert set(rain.split("0.25 ")[1]) == {"▂"}
    assert any("latency 20 ms (p95 30) · real-time factor 0.20 · skipped 0" in line for line in lines)
    assert any("0:00:50.0 – 0:01:02.0  dog  1.00" in line for line in lines)


def test_it_says_when_it_is_too_slow() -> None:
    assert any("too slow for every hop" in line for line in text_of(*view_of(80, 3, 1.5)))
    assert not any("too slow" in line for line in text_of(*view_of(80)))


def test_bars_and_strips_take_scores_out_of_range() -> None:
    assert bar(-1, 4) == "    " and bar(2, 4) == "████" and strip_of(np.array([-1.0, 2.0])) == " █"
