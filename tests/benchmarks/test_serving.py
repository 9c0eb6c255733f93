"""What `benchmarks/serving.py` writes, with a server in this process: that it runs, and never how fast."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from running_scripts import ROOT
from served import served, tiny_checkpoint


def test_each_number_of_clients_has_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    serving = importlib.import_module("serving")
    model = tiny_checkpoint(tmp_path / "tiny")
    with served("--model", model) as running:
        url = f"{running.url}/classify"
        options = ["--clients", "1", "3", "--requests", "9", "--output", str(tmp_path / "out")]
        serving.main(["--model", str(model), "--url", url, *options])
    (file,) = (tmp_path / "out").iterdir()
    result = json.loads(file.read_text())
    assert file.name == "tiny-exact.json" and result["tagger_per_sec"] > 0
    assert [(row["clients"], row["requests"]) for row in result["rows"]] == [(1, 9), (3, 9)]
    for row in result["rows"]:
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] and row["of_tagger"] > 0


def test_misuse_exits_with_2_and_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    serving = importlib.import_module("serving")
    with pytest.raises(SystemExit) as stopped:
        serving.main(["--clients", "0"])
    assert stopped.value.code == 2 and "clients is 0: give 1 or more" in capsys.readouterr().err
