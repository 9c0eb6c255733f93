"""What `benchmarks/end_to_end.py` writes, with a tiny model: that it runs, and never how fast."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from running_scripts import ROOT

PIPELINES = [
    "pipeline, stock AST",
    "pipeline, stock AST in bfloat16",
    "pipeline, stock AST, eager",
    "pipeline, stock AST in batches",
]
TAGGERS = [f"Tagger, {way}" for way in ("exact", "balanced", "fast", "fast in bfloat16", "fast, one at a time")]
MISUSE = [
    (["--rounds", "0"], "rounds is 0: give 1 or more"),
    (["--files", "0"], "files is 0: give 1 or more"),
    (["--batch-size", "-2"], "batch-size is -2: give 1 or more"),
    (["--threads", "0"], "threads is 0: give 1 or more"),
    (["--seconds", "0"], "seconds is 0: give 0.025 or more"),
    (["--seconds", "nan"], "seconds is nan: give 0.025 or more"),
]


@pytest.fixture
def end_to_end(monkeypatch: pytest.MonkeyPatch, make_fastast: Callable[..., Any]) -> ModuleType:
    """The script with a tiny model in place of AST-base, on a processor that is fast in bfloat16."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = importlib.import_module("end_to_end")
    monkeypatch.setattr(script, "random_ast", lambda: make_fastast(num_mel_bins=128))
    monkeypatch.setattr(script, "half_precision", lambda device: torch.bfloat16)
    return script


def test_every_way_has_a_row(end_to_end: ModuleType, tmp_path: Path) -> None:
    arguments = ["--seconds", "0.5", "--files", "3", "--batch-size", "2", "--rounds", "2", "--output", str(tmp_path)]
    end_to_end.main(arguments)
    result = json.loads((tmp_path / "files-0.5s-b2.json").read_text())
    assert (result["seconds"], result["files"], result["rounds"]) == (0.5, 3, 2)
    rows = result["rows"]
    assert [row["way"] for row in rows] == PIPELINES + TAGGERS
    assert [row["batch_size"] for row in rows] == [1, 1, 1, 2, 2, 2, 2, 2, 1]
    # 0.5 s are 48 frames, padded to 64 at native length, 12 x 5 patches, and to the model's 128, 12 x 12, else.
    assert [row["tokens_in"] for row in rows] == [146] * 6 + [62] * 3
    for row in rows:
        assert row["ms_per_file"] == pytest.approx(1000 / row["files_per_sec"])
        assert row["speedup"] == 1 if row["way"] == PIPELINES[0] else row["speedup"] > 0
        assert (row["tokens_out"] < row["tokens_in"]) == (row["way"] not in (*PIPELINES, "Tagger, exact"))


def test_the_stock_pipeline_casts_its_inputs_to_bfloat16(end_to_end: ModuleType, tmp_path: Path) -> None:
    model = end_to_end.random_ast()
    files = end_to_end.write_clips(tmp_path, 2, 0.5)
    ways = end_to_end.ways(model, 2, compiled=False)
    exact, half = ([scores(found) for found in ways[name][1](files)] for name in PIPELINES[:2])
    for one, other in zip(exact, half, strict=True):
        assert one != other and other == pytest.approx(one, abs=0.05)
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def scores(labels: list[dict[str, Any]]) -> dict[str, float]:
    return {label["label"]: label["score"] for label in labels}


@pytest.mark.parametrize(("arguments", "message"), MISUSE)
def test_misuse_exits_with_2_and_a_line_before_anything_is_measured(
    arguments: list[str], message: str, end_to_end: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        end_to_end.main([*arguments, "--output", str(tmp_path)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
