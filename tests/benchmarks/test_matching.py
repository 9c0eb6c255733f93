"""`benchmarks/matching.py` on a few tones."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from running_scripts import ROOT
from small_corpora import write_tone

from fastast_hf.model.layer_fastast import FastASTLayer


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("matching")


def test_every_way_has_a_row_beside_tome(
    script: ModuleType, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(8):
        write_tone(tmp_path / "sounds" / f"{number}.wav", 200 + 150 * number)
    own = FastASTLayer.forward
    few = ["--ratios", "1.2", "--clips", "8", "--turns", "1"]
    script.main([str(tmp_path / "sounds"), "--model", str(checkpoint), *few, "--output", str(tmp_path / "out")])
    assert FastASTLayer.forward is own
    assert "PiToMe" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out" / "tiny.json").read_text())["rows"]
    assert [row["way"] for row in rows] == list(script.WAYS)
    assert rows[0]["beyond"] == 0 and all(row["time"] > 0 for row in rows)
    assert len({row["kl"] for row in rows}) > 5  # they are different ways


def test_each_way_merges_r_patch_tokens_and_names_every_token_once(script: ModuleType, make_fastast: Any) -> None:
    tiny_model = make_fastast(num_labels=2).eval()
    layer, heads = tiny_model.audio_spectrogram_transformer.layers[0], tiny_model.config.num_attention_heads
    torch.manual_seed(0)
    hidden = torch.randn(2, 22, tiny_model.config.hidden_size)
    places = torch.rand(2, 22, 2) * 3
    keys = torch.randn(2, heads, 22, hidden.shape[2] // heads)
    seen = script.Seen(layer, 0.0, hidden, hidden, keys, torch.ones(2, 22), places, 6)
    for name, way in script.WAYS.items():
        plan = way(seen)
        assert plan.order[:, :2].tolist() == [[0, 1]] * 2, name
        assert torch.cat([plan.order, plan.merged], dim=1).sort().values.tolist() == [list(range(22))] * 2, name
        assert plan.merged.shape == plan.target.shape == (2, 6), name
        assert (plan.target >= 2).all() and (plan.target < 16).all(), name
