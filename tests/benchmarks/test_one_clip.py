"""What `benchmarks/one_clip.py` writes, with tiny models: that it runs, and never how fast."""

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

STOCK = ["AST, torch sdpa", "AST, torch sdpa bfloat16", "AST, torch eager"]
FAST = ["FastAST, torch", "FastAST, torch bfloat16", "FastAST, torch int8"]
FILES = ["FastAST, ONNX Runtime float32", "FastAST, ONNX Runtime int8"]
MISUSE = [
    (["--rounds", "0"], "rounds is 0: give 1 or more"),
    (["--batch-size", "0"], "batch-size is 0: give 1 or more"),
    (["--threads", "0"], "threads is 0: give 1 or more"),
    (["--frames", "128", "8"], "frames is 8: give 16 or more"),
    (["--r", "-1"], "r is -1: give 0 or more"),
    (["--schedule", "none"], "invalid choice: 'none'"),
]


@pytest.fixture
def one_clip(monkeypatch: pytest.MonkeyPatch, make_fastast: Callable[..., Any]) -> ModuleType:
    """The script with a tiny model in place of AST-base, on a processor that is fast in everything."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = importlib.import_module("one_clip")
    monkeypatch.setattr(script, "random_ast", make_fastast)
    monkeypatch.setattr(script, "half_precision", lambda device: torch.bfloat16)
    return script


def test_every_way_has_a_row_at_each_length_and_r(
    one_clip: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(one_clip, "BUNDLED_R", (12,))
    one_clip.main(["--frames", "64", "128", "--r", "0", "6", "--rounds", "2", "--output", str(tmp_path)])
    (file,) = tmp_path.iterdir()
    assert file.name == f"cpu-b1-constant-{torch.get_num_threads()}-threads.json"
    result = json.loads(file.read_text())
    assert result["rounds"] == 2 and result["torch"] == torch.__version__ and result["onnxruntime"]
    fast = FAST if one_clip.int8_works() else FAST[:-1]
    settings = [(64, 0), (64, 6), (128, 0), (128, 6), (128, 12)]
    expected = [(frames, 0 if name in STOCK else r, name) for frames, r in settings for name in STOCK + fast + FILES]
    assert [(row["frames"], row["tome_r"], row["candidate"]) for row in result["rows"]] == expected
    for row in result["rows"]:
        assert 0 < row["median_ms"] <= row["p95_ms"]
        assert row["speedup"] == 1 if row["candidate"] == STOCK[0] else row["speedup"] > 0
        # Each to its own kind in float32: of merging, stock AST knows nothing.
        if row["candidate"] in (STOCK[0], STOCK[2], FAST[0], FILES[0]):
            assert row["logits_off_by"] < 1e-4
        elif row["tome_r"] == 0:
            assert 0 < row["logits_off_by"] < 0.5


@pytest.mark.parametrize(("arguments", "message"), MISUSE)
def test_misuse_exits_with_2_and_a_line_before_anything_is_measured(
    arguments: list[str], message: str, one_clip: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        one_clip.main([*arguments, "--output", str(tmp_path)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_without_the_extra_it_says_what_to_install(
    one_clip: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(importlib.sys.modules, "onnxruntime", None)
    with pytest.raises(SystemExit) as stopped:
        one_clip.main([])
    assert stopped.value.code == 2
    assert "pip install '.[onnx]'" in capsys.readouterr().err.splitlines()[-1]
