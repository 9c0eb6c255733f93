from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from running_scripts import ROOT

from fastast_hf.merging.complexity import complexity
from fastast_hf.tagging.int8 import int8_works

DTYPES = ["float32", "int8"] if int8_works() else ["float32"]
SIZES = {"tiny": (24, 1, 24), "small": (48, 2, 48), "base": (48, 3, 96)}
# By each curve: the column that it goes along, and its values. 64 frames are 62 tokens: a layer merges 30 at most.
ALONG = [
    ("length", "frames", [frames for frames in (100, 200) for _ in DTYPES]),
    ("batch", "batch_size", [batch for batch in (1, 2) for _ in DTYPES]),
    ("r", "tome_r", [0, 10, 10, 20, 20, 30]),
    ("size", "model", [f"ast-{size}-random" for size in SIZES for _ in DTYPES]),
]


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with small models and short curves."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = importlib.import_module("scale")
    small = {"SIZES": SIZES, "LENGTHS": (1, 2), "BATCHES": (1, 2), "FRAMES": 64, "R_STEP": 10, "MOST_SETTINGS": 4}
    for name, value in small.items():
        monkeypatch.setattr(script, name, value)
    return script


@pytest.fixture
def folder_script(scale: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    script = importlib.import_module("scale_folder")
    monkeypatch.setattr(script, "WORKERS", (0, 2))
    monkeypatch.setattr(script, "DISTINCT_FILES", 4)
    return script


def in_this_process(script: ModuleType) -> Callable[[Path, str], dict[str, Any]]:
    return lambda folder, way: dict(json.loads(json.dumps(script.go_through(folder, way))))


@pytest.mark.parametrize(("curve", "column", "values"), ALONG, ids=[curve for curve, _, _ in ALONG])
def test_a_curve_has_a_row_for_each_point(
    curve: str, column: str, values: list[Any], scale: ModuleType, tmp_path: Path
) -> None:
    scale.write_curve(curve, tmp_path / "curve.json", rounds=1)
    rows = json.loads((tmp_path / "curve.json").read_text())
    assert [row[column] for row in rows] == values
    for row in rows:
        assert row["rounds"] == 1 and row["threads"] == torch.get_num_threads() and row["torch"] == torch.__version__
        # Of one round, the speed-up is the ratio of the two times.
        assert row["speedup"] == pytest.approx(row["stock_ms"] / row["ms"])
        assert row["samples_per_sec"] == pytest.approx(1000 * row["batch_size"] / row["ms"])


def test_the_mac_line_is_of_the_merging_that_was_timed(scale: ModuleType, tmp_path: Path) -> None:
    scale.write_curve("length", tmp_path / "length.json", rounds=1)
    config = scale.random_ast("base").config
    for row in json.loads((tmp_path / "length.json").read_text()):
        # Four fifths of the patches, a twelfth of them in each layer on average.
        assert row["tome_r"] == round(0.8 * (row["tokens_in"] - 2) / 12)
        cost = complexity(config, row["tome_r"], row["schedule"], num_frames=row["frames"])
        assert (row["mac_ratio"], row["tokens_out"]) == (cost.speedup, cost.tokens_out)


@pytest.mark.parametrize(("schedule", "highest"), [("constant", 30), ("decreasing", 20)])
def test_r_ends_where_more_changes_nothing(schedule: str, highest: int, scale: ModuleType) -> None:
    config = scale.random_ast("base").config
    values = scale.r_values(config, schedule)
    assert values == list(range(0, highest + 1, 10))
    macs = [complexity(config, r, schedule, num_frames=64).macs for r in (highest - 10, highest, 10 * highest)]
    assert macs[0] > macs[1] == macs[2]


def test_rounds_are_fewer_the_more_there_is_to_compute(scale: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = scale.random_ast("base"), importlib.import_module("scale_rows")
    # Of stock AST and of FastAST at r = 0, for one clip.
    monkeypatch.setattr(rows, "GMACS", 6 * complexity(model.config, num_frames=64).macs / 1e9)
    monkeypatch.setattr(rows, "MOST_ROUNDS", 4)
    settings = [scale.Setting(0, "constant", "float32")]
    rounds = [scale.measure("ast", model, 64, batch_size, settings)[0].rounds for batch_size in (1, 3)]
    assert rounds == [3, rows.FEWEST_ROUNDS]
    monkeypatch.setattr(rows, "MOST_ROUNDS", 2)
    assert scale.measure("ast", model, 64, 1, settings)[0].rounds == 2


def test_a_folder_is_gone_through_with_each_number_of_workers(
    folder_script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_script, "in_new_process", in_this_process(folder_script))
    result = folder_script.measure_folder(num_files=9)
    assert [run["workers"] for run in result["runs"]] == [0, 2]
    for run in result["runs"]:
        assert [sample["files"] for sample in run["samples"]] == list(range(10))
        assert 50 < run["peak_mb_at_10_percent"] <= run["peak_mb_at_100_percent"]
        assert run["files_per_sec"] / result["computing_alone_files_per_sec"] == pytest.approx(
            run["of_computing_alone"]
        )
    assert result["reading_alone_files_per_sec"] > result["computing_alone_files_per_sec"]
    # Noise is hard to compress: most of 44,100 samples of two channels and two bytes is left.
    assert result["distinct_files"] == 4 and 0.7 < result["megabytes_on_disk"] / (4 * 0.1764) < 1


@pytest.mark.slow
def test_a_pass_has_a_process_of_its_own(
    folder_script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.fspath(ROOT))
    folder_script.write_clips(tmp_path, 3)
    done = folder_script.in_new_process(tmp_path, "2")
    assert [sample["files"] for sample in done["samples"]] == [0, 1, 2, 3] and done["seconds"] > 0
