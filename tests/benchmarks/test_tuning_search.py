"""`benchmarks/tuning_search.py` on a few tones."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
from running_scripts import ROOT
from small_corpora import write_tone


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("tuning_search")


def test_every_search_and_schedule_has_a_row_at_equal_arithmetic(
    script: ModuleType, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(8):
        write_tone(tmp_path / "sounds" / f"{number}.wav", 200 + 150 * number)
    few = ["--ratios", "1.2", "--seeds", "2", "--trials", "6", "--clips", "8"]
    script.main([str(tmp_path / "sounds"), "--model", str(checkpoint), *few, "--output", str(tmp_path / "out")])
    assert "hill climbing" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out" / "tiny.json").read_text())["rows"]
    ways = {*script.SCHEDULES, *script.SEARCHES}
    assert [(row["way"], row["seed"]) for row in rows] == [
        (way, seed) for seed in (0, 1) for way in (*script.SCHEDULES, *script.SEARCHES)
    ]
    assert len(ways) == 6
    for row in rows:
        assert row["reached"] >= 1.2 and row["kl_low"] <= row["kl"] <= row["kl_high"] and 0 <= row["kept"] <= 1
        assert row["trials"] <= 6
