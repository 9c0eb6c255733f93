"""What a training benchmark measures and how: the structure of it, never a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from fastast_hf import FastASTConfig, FastASTForAudioClassification
from fastast_hf.benchmarking import training as training_benchmark
from fastast_hf.benchmarking.results import plot_speedups, to_json, write_csv
from fastast_hf.benchmarking.rounds import WARM_UP_ROUNDS
from fastast_hf.benchmarking.rows import TrainingRow
from fastast_hf.benchmarking.training import TrainingBenchmarkResult
from fastast_hf.benchmarking.training import training_benchmark as measure
from fastast_hf.benchmarking.training_step import Forward, TrainingStep
from fastast_hf.merging.complexity import complexity

FRAMES, OTHER_FRAMES = 64, 96
R_VALUES = [0, 8, 20]
TOKENS = 62

BAD_ARGUMENTS = [
    ({"rounds": 0}, "rounds is 0: give 1 or more"),
    ({"batch_size": 0}, "batch_size is 0: give 1 or more"),
    ({"num_frames": 8}, "frames is 8: give 16 or more"),
    ({"tome_r": [-1]}, "tome_r is -1"),
    ({"schedules": ["steep"]}, "tome_schedule is 'steep'"),
    ({"attn": "keen"}, "keen"),
]


@pytest.fixture(scope="module")
def model() -> FastASTForAudioClassification:
    torch.manual_seed(0)
    config = FastASTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_length=FRAMES
    )
    return FastASTForAudioClassification(config).eval()


@pytest.fixture(scope="module")
def result(model: FastASTForAudioClassification) -> TrainingBenchmarkResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_benchmark, "step_bytes", lambda step, r, schedule: 5_000_000 - 100_000 * (r or 0))
        return measure(model, FRAMES, model_name="tiny", batch_size=2, tome_r=R_VALUES, rounds=2)


@pytest.fixture
def fake_times(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int | None, int], float]], None]:
    """Replace the clock by a function of r, None for stock AST, and of the round."""

    def install(time: Callable[[int | None, int], float]) -> None:
        calls: list[int | None] = []

        def run(step: TrainingStep, forward: Forward) -> float:
            keywords = getattr(forward, "keywords", None)
            calls.append(keywords["tome_r"][0] if keywords else None)
            return time(calls[-1], calls.count(calls[-1]) - 1 - WARM_UP_ROUNDS)

        monkeypatch.setattr(training_benchmark, "_time_step", run)

    return install


def test_stock_ast_with_sdpa_stands_beside_fastast_at_each_r(result: TrainingBenchmarkResult) -> None:
    rows = [(row.implementation, row.attn, row.tome_r, row.schedule) for row in result.rows]
    assert rows == [("AST", "sdpa", None, None), *(("FastAST", "sdpa", r, "constant") for r in R_VALUES)]
    assert not result.interrupted


def test_rows_say_what_was_measured(result: TrainingBenchmarkResult, model: FastASTForAudioClassification) -> None:
    for row in result.rows:
        cost = complexity(model.config, row.tome_r or 0)
        assert (row.model, row.frames, row.batch_size, row.rounds) == ("tiny", FRAMES, 2, 2)
        assert (row.device, row.dtype) == ("cpu", "float32")
        assert (row.tokens_in, row.tokens_out) == (TOKENS, cost.tokens_out)
        assert (row.gmacs, row.mac_ratio) == (3 * cost.macs / 1e9, cost.speedup)
        assert row.step_p95_ms >= row.step_ms > 0
        assert row.efficiency == row.speedup / row.mac_ratio
        assert row.samples_per_sec == pytest.approx(2000 / row.step_ms)
    assert (result.rows[0].speedup, result.rows[0].mac_ratio) == (1, 1)


def test_peak_memory_is_the_steps_with_weights_and_two_moments(
    result: TrainingBenchmarkResult, model: FastASTForAudioClassification
) -> None:
    state = 3 * 4 * sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert [row.step_mem_mb for row in result.rows] == [5, 5, 4.2, 3]
    assert [row.peak_mem_mb for row in result.rows] == pytest.approx([5 + state, 5 + state, 4.2 + state, 3 + state])


def test_speed_ups_are_ratios_within_a_round(
    model: FastASTForAudioClassification, fake_times: Callable[[Callable[[int | None, int], float]], None]
) -> None:
    """A machine that gets slower all the time changes the times and not the ratios."""
    fake_times(lambda r, round_: (round_ + 3) ** 2 / (2 if r else 1))
    stock, fast = measure(model, FRAMES, batch_size=4, tome_r=[8], rounds=4).rows
    stock_seconds = np.array([9, 16, 25, 36])
    assert (stock.speedup, fast.speedup) == (1, 2)
    assert (stock.step_ms, fast.step_ms) == (1000 * np.median(stock_seconds), 500 * np.median(stock_seconds))
    assert stock.step_p95_ms == pytest.approx(1000 * np.percentile(stock_seconds, 95))


def test_stopping_keeps_the_rounds_that_were_finished(
    model: FastASTForAudioClassification, fake_times: Callable[[Callable[[int | None, int], float]], None]
) -> None:
    def time(r: int | None, round_: int) -> float:
        if r == 8 and round_ == 2:
            raise KeyboardInterrupt
        return round_ + 1.0

    fake_times(time)
    stopped = measure(model, FRAMES, tome_r=[8], rounds=5)
    assert stopped.interrupted
    assert [(row.rounds, row.step_ms, row.peak_mem_mb) for row in stopped.rows] == [(2, 1500, None)] * 2


def test_too_little_memory_for_a_step_is_one_line(
    model: FastASTForAudioClassification, fake_times: Callable[[Callable[[int | None, int], float]], None]
) -> None:
    def time(r: int | None, round_: int) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    fake_times(time)
    with pytest.raises(ValueError, match=f"too little memory for training steps on 2 clips of {FRAMES} frames"):
        measure(model, FRAMES, batch_size=2, tome_r=[8], rounds=1)


def test_schedules_are_measured_side_by_side_and_r_0_once(model: FastASTForAudioClassification) -> None:
    schedules = ["decreasing", "constant"]
    rows = measure(model, FRAMES, tome_r=[0, 8], schedules=schedules, batch_size=1, rounds=1).rows
    assert [(row.tome_r, row.schedule) for row in rows[1:]] == [(0, "decreasing"), (8, "decreasing"), (8, "constant")]
    assert rows[2].mac_ratio > rows[3].mac_ratio  # 16 at once and then 0 beats 8 and 8


def test_any_clip_length_is_measured_and_the_model_left_alone(model: FastASTForAudioClassification) -> None:
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    rows = measure(model, OTHER_FRAMES, tome_r=[8], attn="eager", batch_size=1, rounds=1).rows
    assert [(row.tokens_in, row.attn) for row in rows] == [(2 + 12 * 9, "sdpa"), (2 + 12 * 9, "eager")]
    assert (model.config.max_length, model.config._attn_implementation, model.training) == (FRAMES, "sdpa", False)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) and parameter.grad is None


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS)
def test_bad_arguments_are_refused(
    model: FastASTForAudioClassification, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure(model, **{"num_frames": FRAMES, "rounds": 1, **arguments})


def test_csv_json_and_picture_hold_the_rows(result: TrainingBenchmarkResult, tmp_path: Path) -> None:
    assert [TrainingRow(**item) for item in json.loads(to_json(result.rows))] == result.rows
    write_csv(result.rows, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == [field.name for field in fields(TrainingRow)]
    assert [line["tome_r"] for line in lines] == ["", "0", "8", "20"]
    pytest.importorskip("matplotlib")
    plot_speedups(result.rows, tmp_path / "rows.png", "training")
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")
