"""The script that compares own data with the official corpora."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from running_scripts import ROOT
from small_corpora import write_esc50


@pytest.mark.slow
def test_both_ways_are_compared_and_a_difference_ends_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = importlib.import_module("own_data")
    argv = [str(write_esc50(tmp_path / "esc", per_fold=1)), "--scenes", "4", "--output", str(tmp_path / "out")]
    assert script.main(argv) == 0
    rows = json.loads((tmp_path / "out" / "official-and-own.json").read_text())["rows"]
    assert [(row["corpus"], row["clips"], row["tome_r"], row["equal"]) for row in rows] == [
        ("esc50", 10, 0, True), ("esc50", 10, 20, True), ("audioset", 4, 0, True), ("audioset", 4, 20, True),
    ]  # fmt: skip

    whole = script.scored

    def one_clip_differs(model: Path, output: Path, *data: object) -> tuple[list, list]:
        rows, logits = whole(model, output, *data)
        if output.name == "own":
            logits[0][0] = b"another"
        return rows, logits

    monkeypatch.setattr(script, "scored", one_clip_differs)
    assert script.main(argv) == 1
