"""What `benchmarks/merging_overhead.py` prints and writes, and what it refuses: never a time."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SETTINGS = ["--tokens", "16", "--batch-size", "1", "--rounds", "1"]

BAD_ARGUMENTS = [
    (["--device", "toaster"], "device toaster can't be used here"),
    (["--tokens", "602", "3"], "tokens is 3: give 4 or more"),
    (["--batch-size", "0"], "batch_size is 0: give 1 or more"),
    (["--rounds", "0"], "rounds is 0: give 1 or more"),
]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("merging_overhead")
    monkeypatch.setattr(module, "PROFILED_PASSES", 1)
    return module


def test_parts_and_operators_are_printed_and_written(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script.main([*SETTINGS, "--output", str(tmp_path / "new")])
    rows = json.loads((tmp_path / "new" / "cpu.json").read_text())["rows"]
    assert [row["dtype"] for row in rows][:2] == ["float32", "bfloat16"]
    assert all((row["tokens"], row["batch_size"], row["tome_r"]) == (16, 1, 7) for row in rows)
    assert all(min(row[f"{part}_ms"] for part in ("attention", "match", "merge", "mlp", "layer")) > 0 for row in rows)
    with (tmp_path / "new" / "cpu-operators.csv").open(newline="") as file:
        operators = list(csv.DictReader(file))
    assert {row["dtype"] for row in operators} == {row["dtype"] for row in rows}
    assert all(row["operator"] and float(row["us"]) >= 0 for row in operators)
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "new" / "cpu.json")


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS)
def test_bad_arguments_are_refused_before_anything_is_measured(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        script.main([*SETTINGS, *arguments, "--output", str(tmp_path)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_device_whose_parts_cannot_be_timed_is_refused(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "usable_device", torch.device)
    with pytest.raises(SystemExit):
        script.main([*SETTINGS, "--device", "mps"])
    assert "device is mps, whose parts can't be timed: give cpu or cuda" in capsys.readouterr().err
