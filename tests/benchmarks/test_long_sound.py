"""What `benchmarks/long_sound.py` writes, with a tiny model: that it runs, and never how fast."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from running_scripts import ROOT


@pytest.fixture
def long_sound(monkeypatch: pytest.MonkeyPatch, make_fastast: Callable[..., Any]) -> ModuleType:
    """The script with a tiny model in place of AST-base and of the bundled checkpoints."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = importlib.import_module("long_sound")
    monkeypatch.setattr(script, "random_ast", lambda: make_fastast(num_mel_bins=128))
    monkeypatch.setattr(script, "BUNDLED", {})
    return script


def test_every_way_has_a_row_at_both_hops_and_every_preset_one_for_live_sound(
    long_sound: ModuleType, tmp_path: Path
) -> None:
    settings = ["--window", "0.5", "9", "--windows", "2", "--rounds", "1", "--live-seconds", "1", "--whole", "20"]
    long_sound.main([*settings, "--output", str(tmp_path)])
    recordings = json.loads((tmp_path / "recordings.json").read_text())
    assert (recordings["windows"], recordings["rounds"]) == (2, 1)
    ways = [long_sound.STOCK, *(f"timeline, {preset}" for preset in ("exact", "balanced", "fast"))]
    longest = (400 + 127 * 160) / 16000  # a window of 9 s is more than the model takes
    expected = [(way, window, hop) for window in (0.5, longest) for hop in (window, window / 4) for way in ways]
    expected += [("timeline, fast, 20 s", window, window) for window in (0.5, longest)]
    assert [row["way"] for row in recordings["rows"]] == [way for way, _, _ in expected]
    for row, (way, window, hop) in zip(recordings["rows"], expected, strict=True):
        assert (row["window"], row["hop"]) == pytest.approx((window, hop), abs=1e-3)
        assert row["hours_per_minute"] > 0
        assert row["speedup"] == 1 if way == long_sound.STOCK else row["speedup"] > 0
    live = json.loads((tmp_path / "live.json").read_text())
    assert [row["preset"] for row in live["rows"]] == ["exact", "balanced", "fast"]
    for row in live["rows"]:
        assert row["results"] >= 1 and row["results"] + row["skipped"] == 11  # 1 s and ten hops
        assert 0 < row["latency_ms"] <= row["latency_p95_ms"] and row["real_time_factor"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "rounds is 0: give 1 or more"),
        (["--windows", "0"], "windows is 0: give 1 or more"),
        (["--live-seconds", "0"], "live-seconds is 0: give 1 or more"),
        (["--whole", "0"], "whole is 0: give 1 or more"),
        (["--threads", "0"], "threads is 0: give 1 or more"),
        (["--window", "0"], "window is in seconds: give 0.025 to 60"),
    ],
)
def test_misuse_is_a_line(
    arguments: list[str], message: str, long_sound: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        long_sound.main(arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]
