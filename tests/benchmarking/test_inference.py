"""What a benchmark measures and how: the structure of it, never a time."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastast_hf import FastASTConfig, FastASTForAudioClassification
from fastast_hf.benchmarking import candidates as benchmark_candidates
from fastast_hf.benchmarking import inference as benchmarking
from fastast_hf.benchmarking.candidates import Candidate, stock_ast
from fastast_hf.benchmarking.inference import BenchmarkResult, Timing, benchmark, quick_speedups
from fastast_hf.benchmarking.results import plot_speedups, to_json, write_csv
from fastast_hf.benchmarking.rounds import WARM_UP_ROUNDS, round_order, synchronize
from fastast_hf.benchmarking.rows import BenchmarkRow
from fastast_hf.merging.complexity import complexity

FRAMES, OTHER_FRAMES = 64, 96
R_VALUES = [0, 8, 20]
TOKENS = 62
FRONT_END = ("stock AST's front end", None)
COUNTS = [1, 2, 3, 4, 5, 8]

NO_COMPILER = [
    "InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config.cpp.cxx: (None, 'g++')",
    "backend='inductor' raised:\nRuntimeError: Failed to find C compiler. Please specify via CC environment variable.",
]
INSTEAD = [
    ({"compile_mode": "default"}, r"install one \(g\+\+\), or leave out --compile"),
    ({"attn": "flex_attention"}, r"install one \(g\+\+\), or choose another attention implementation"),
]

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
def result(model: FastASTForAudioClassification) -> BenchmarkResult:
    return benchmark(model, FRAMES, model_name="tiny", batch_size=2, tome_r=R_VALUES, rounds=2)


@pytest.fixture
def fake_times(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, int | None]]]:
    """Replace the clock by a function of the candidate and how often it ran; returns the calls made."""

    def install(time: Callable[[Candidate, int], Timing]) -> list[tuple[str, int | None]]:
        calls: list[tuple[str, int | None]] = []

        def run(candidate: Candidate, *_: object) -> Timing:
            calls.append((f"{candidate.implementation} {candidate.attn}", candidate.tome_r))
            return time(candidate, calls.count(calls[-1]) - 1 - WARM_UP_ROUNDS)

        def run_front_end(*_: object) -> float | None:
            calls.append(FRONT_END)
            stock = Candidate("AST", "sdpa", None, None, None, None, print)
            return time(stock, calls.count(FRONT_END) - 1 - WARM_UP_ROUNDS).front_end

        monkeypatch.setattr(benchmarking, "_time_run", run)
        monkeypatch.setattr(benchmarking, "_time_front_end", run_front_end)
        return calls

    return install


def test_stock_ast_eager_and_sdpa_stand_beside_fastast_at_each_r(result: BenchmarkResult) -> None:
    rows = [(row.implementation, row.attn, row.tome_r, row.schedule) for row in result.rows]
    stock = [("AST", "eager", None, None), ("AST", "sdpa", None, None)]
    assert rows == stock + [("FastAST", "sdpa", r, "constant") for r in R_VALUES]
    assert not result.interrupted


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Has torch.compile do something that takes no minutes."""

    def install(compiled: Any) -> None:
        monkeypatch.setattr(torch, "compile", compiled)

    return install


def test_compiled_models_stand_after_those_of_their_kind(
    model: FastASTForAudioClassification, compiling: Callable[[Any], None]
) -> None:
    modes: list[Any] = []
    compiling(lambda forward, **settings: modes.append(settings) or forward)
    rows = benchmark(model, FRAMES, batch_size=1, tome_r=[0, 8], rounds=1, compile_mode="max-autotune").rows
    assert [(row.implementation, row.attn, row.tome_r) for row in rows] == [
        ("AST", "eager", None),
        ("AST", "sdpa", None),
        ("AST", "sdpa, compiled", None),
        ("FastAST", "sdpa", 0),
        ("FastAST", "sdpa", 8),
        ("FastAST", "sdpa, compiled", 0),
        ("FastAST", "sdpa, compiled", 8),
    ]
    assert modes == [{"mode": "max-autotune", "dynamic": False}] * 3


@pytest.mark.parametrize(("settings", "message"), INSTEAD)
@pytest.mark.parametrize("words", NO_COMPILER)
def test_without_a_compiler_it_says_so(
    model: FastASTForAudioClassification,
    fake_times: Callable[..., list[tuple[str, int | None]]],
    words: str,
    settings: dict[str, str],
    message: str,
) -> None:
    def time(candidate: Candidate, round_: int) -> Timing:
        raise RuntimeError(words)

    fake_times(time)
    with pytest.raises(ValueError, match=message):
        benchmark(model, FRAMES, batch_size=1, tome_r=[8], rounds=1, **settings)


def test_cuda_graphs_have_no_memory_of_their_own_to_count(
    model: FastASTForAudioClassification, compiling: Callable[[Any], None]
) -> None:
    compiling(lambda forward, **_: forward)
    for mode, in_graphs in {"default": False, "reduce-overhead": True, "max-autotune": True}.items():
        candidates = benchmark_candidates.candidates_for(model, FRAMES, [8], ["constant"], "sdpa", mode)
        assert [one.in_graphs for one in candidates] == [False, False, in_graphs, False, in_graphs]


def test_a_candidate_without_memory_is_left_out_and_tried_once(
    model: FastASTForAudioClassification, fake_times: Callable[..., list[tuple[str, int | None]]]
) -> None:
    def time(candidate: Candidate, round_: int) -> Timing:
        if candidate.attn == "eager" or (candidate.tome_r == 8 and round_ == 1):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Timing(front_end=1.0, model=1.0, peak_memory=None)

    calls = fake_times(time)
    result = benchmark(model, FRAMES, tome_r=[0, 8], rounds=3)
    assert [(row.implementation, row.attn, row.tome_r) for row in result.rows] == [
        ("AST", "sdpa", None),
        ("FastAST", "sdpa", 0),
    ]
    assert result.left_out == ["AST eager", "FastAST sdpa at r = 8 (constant)"]
    assert calls.count(("AST eager", None)) == 1
    assert calls.count(("FastAST sdpa", 8)) == WARM_UP_ROUNDS + 2


def test_without_memory_for_stock_ast_there_is_nothing_to_measure_against(
    model: FastASTForAudioClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_run(*_: object) -> Timing:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(benchmarking, "_time_run", time_run)
    with pytest.raises(ValueError, match=f"too little memory for stock AST.* on 2 clips of {FRAMES} frames"):
        benchmark(model, FRAMES, batch_size=2, tome_r=[8], rounds=1)


def test_stocks_front_end_is_timed_once_a_round_and_is_in_all_its_rows(
    model: FastASTForAudioClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = benchmark_candidates._stock_front_end, []

    def counted(*arguments: Any) -> Any:
        name, front_end = real(*arguments)
        return name, lambda clips: calls.append(clips) or front_end(clips)

    monkeypatch.setattr(benchmark_candidates, "_stock_front_end", counted)
    eager, sdpa, fast = benchmark(model, FRAMES, batch_size=1, tome_r=[8], rounds=3).rows
    assert len(calls) == WARM_UP_ROUNDS + 3
    assert eager.front_end_ms == sdpa.front_end_ms != fast.front_end_ms
    assert all(calls[0] is clips for clips in calls)


def test_the_device_that_computes_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    for device in ("cpu", "cuda:1"):
        synchronize(torch.device(device))
    assert waited == [torch.device("cuda:1")]


def test_rows_say_what_was_measured(result: BenchmarkResult, model: FastASTForAudioClassification) -> None:
    for row in result.rows:
        cost = complexity(model.config, row.tome_r or 0)
        assert (row.model, row.frames, row.batch_size, row.rounds) == ("tiny", FRAMES, 2, 2)
        assert (row.device, row.dtype) == ("cpu", "float32")
        assert (row.tokens_in, row.tokens_out) == (TOKENS, cost.tokens_out)
        assert row.gmacs == cost.macs / 1e9
        assert row.params_m == sum(p.numel() for p in model.parameters()) / 1e6
        assert row.peak_mem_mb is None  # torch counts no memory of the CPU
        assert row.processor
    assert [row.tokens_out for row in result.rows] == [62, 62, 62, 46, 22]


def test_times_and_their_ratios_fit_together(result: BenchmarkResult) -> None:
    for row in result.rows:
        assert row.efficiency == row.speedup / row.mac_ratio
        assert row.model_p95_ms >= row.model_ms > 0
        assert row.end_to_end_p95_ms >= row.end_to_end_ms > max(row.model_ms, row.front_end_ms)
        assert row.samples_per_sec == pytest.approx(1000 * row.batch_size / row.model_ms)
        assert row.end_to_end_samples_per_sec == pytest.approx(1000 * row.batch_size / row.end_to_end_ms)
    sdpa = result.rows[1]
    assert (sdpa.speedup, sdpa.speedup_end_to_end, sdpa.mac_ratio) == (1, 1, 1)


def test_speed_ups_are_ratios_within_a_round(
    model: FastASTForAudioClassification, fake_times: Callable[..., list[tuple[str, int | None]]]
) -> None:
    """A machine that gets slower all the time changes the times and not the ratios."""

    def time(candidate: Candidate, round_: int) -> Timing:
        seconds = (round_ + 3) ** 2 / (2 if candidate.tome_r else 1)
        return Timing(front_end=seconds, model=2 * seconds, peak_memory=None)

    fake_times(time)
    rows = benchmark(model, FRAMES, batch_size=4, tome_r=[8], rounds=4).rows
    stock_seconds = np.array([9, 16, 25, 36])
    assert [row.speedup for row in rows] == [1, 1, 2]
    assert [row.speedup_end_to_end for row in rows] == [1, 1, 2]
    assert rows[1].front_end_ms == 1000 * np.median(stock_seconds)
    assert rows[1].model_ms == 2000 * np.median(stock_seconds)
    assert rows[1].model_p95_ms == pytest.approx(2000 * np.percentile(stock_seconds, 95))
    assert rows[2].end_to_end_ms == 1500 * np.median(stock_seconds)
    assert rows[2].end_to_end_p95_ms == pytest.approx(1500 * np.percentile(stock_seconds, 95))


def test_peak_memory_is_the_most_of_all_rounds(
    model: FastASTForAudioClassification, fake_times: Callable[..., list[tuple[str, int | None]]]
) -> None:
    fake_times(lambda candidate, round_: Timing(1.0, 1.0, {0: 3_000_000}.get(round_, 2_000_000)))
    assert [row.peak_mem_mb for row in benchmark(model, FRAMES, tome_r=[8], rounds=3).rows] == [3, 3, 3]


def test_stopping_keeps_the_rounds_that_were_finished(
    model: FastASTForAudioClassification, fake_times: Callable[..., list[tuple[str, int | None]]]
) -> None:
    def time(candidate: Candidate, round_: int) -> Timing:
        if candidate.tome_r == 8 and round_ == 2:
            raise KeyboardInterrupt
        return Timing(front_end=1.0, model=round_ + 1.0, peak_memory=None)

    fake_times(time)
    stopped = benchmark(model, FRAMES, tome_r=[0, 8], rounds=5)
    assert stopped.interrupted
    assert [row.rounds for row in stopped.rows] == [2, 2, 2, 2]
    assert [row.model_ms for row in stopped.rows] == [1500, 1500, 1500, 1500]  # of rounds 0 and 1 alone


def test_candidates_take_turns(
    model: FastASTForAudioClassification, fake_times: Callable[..., list[tuple[str, int | None]]]
) -> None:
    calls = fake_times(lambda candidate, round_: Timing(1.0, 1.0, None))
    benchmark(model, FRAMES, tome_r=[0, 8], rounds=4)
    names = [("AST eager", None), ("AST sdpa", None), ("FastAST sdpa", 0), ("FastAST sdpa", 8), FRONT_END]
    rounds = [calls[start : start + 5] for start in range(0, len(calls), 5)]
    assert len(rounds) == WARM_UP_ROUNDS + 4
    assert all(set(order) == set(names) for order in rounds)
    assert rounds[WARM_UP_ROUNDS:] == [[names[i] for i in round_order(5, index)] for index in range(4)]
    assert len({tuple(order) for order in rounds[WARM_UP_ROUNDS:]}) == 4


@pytest.mark.parametrize("count", COUNTS)
def test_rotation_gives_no_candidate_a_better_place(count: int) -> None:
    orders = [round_order(count, index) for index in range(2 * count)]
    places = Counter((candidate, place) for order in orders for place, candidate in enumerate(order))
    assert set(places.values()) == {2} and len(places) == count**2
    for one, other in combinations(range(count), 2):
        assert sum(order.index(one) < order.index(other) for order in orders) == count


def test_schedules_are_measured_side_by_side_and_r_0_once(model: FastASTForAudioClassification) -> None:
    result = benchmark(model, FRAMES, tome_r=[0, 8], schedules=["decreasing", "constant"], batch_size=1, rounds=1)
    fast = {(row.tome_r, row.schedule): row.tokens_out for row in result.rows if row.implementation == "FastAST"}
    assert fast == {(0, "decreasing"): 62, (8, "decreasing"): 46, (8, "constant"): 46}
    ratios = [row.mac_ratio for row in result.rows[-2:]]
    assert ratios[0] > ratios[1]  # 16 at once and then 0 beats 8 and 8


def test_any_clip_length_is_measured_and_the_model_left_alone(model: FastASTForAudioClassification) -> None:
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    rows = benchmark(model, OTHER_FRAMES, tome_r=[8], attn="eager", batch_size=1, rounds=1).rows
    assert [row.tokens_in for row in rows] == [2 + 12 * 9] * 3
    assert [row.attn for row in rows] == ["eager", "sdpa", "eager"]
    assert (model.config.max_length, model.config.tome_r, model.config._attn_implementation) == (FRAMES, 0, "sdpa")
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_without_stocks_front_end_its_model_is_still_measured(
    model: FastASTForAudioClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_candidates, "_stock_front_end", lambda *_: (None, None))
    stock, fast = benchmark(model, FRAMES, tome_r=[8], rounds=1, batch_size=1).rows[1:]
    assert (stock.front_end, stock.front_end_ms, stock.end_to_end_ms, stock.end_to_end_p95_ms) == (None,) * 4
    assert stock.speedup == 1 and stock.speedup_end_to_end is None
    assert fast.end_to_end_ms > fast.model_ms and fast.speedup_end_to_end is None


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS)
def test_bad_arguments_are_refused(
    model: FastASTForAudioClassification, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        benchmark(model, **{"num_frames": FRAMES, "rounds": 1, **arguments})


def test_stock_ast_shares_the_weights(model: FastASTForAudioClassification) -> None:
    stock = stock_ast(model, "eager")
    own = dict(model.named_parameters())
    assert all(parameter is own[name] for name, parameter in stock.named_parameters())
    assert (stock.config._attn_implementation, model.config._attn_implementation) == ("eager", "sdpa")
    assert not hasattr(stock.config, "tome_r")
    input_values = torch.randn(2, FRAMES, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(stock_ast(model)(input_values).logits, model(input_values, tome_r=0).logits)


def test_quick_speedups_has_stock_and_then_each_r(model: FastASTForAudioClassification) -> None:
    lines = quick_speedups(model, torch.zeros(2, OTHER_FRAMES, 128), [8, [4, 0]], rounds=2)
    assert [(line.tome_r, line.tokens_left) for line in lines] == [(None, 110), (8, 94), ([4, 0], 106)]
    assert lines[0].speedup == 1
    assert all(line.ms_per_clip > 0 and line.speedup > 0 for line in lines)
    assert model.config.max_length == FRAMES


def test_csv_and_json_hold_the_rows(result: BenchmarkResult, tmp_path: Path) -> None:
    assert [BenchmarkRow(**item) for item in json.loads(to_json(result.rows))] == result.rows

    write_csv(result.rows, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == [field.name for field in fields(BenchmarkRow)]
    for line, row in zip(lines, result.rows, strict=True):
        for name, value in asdict(row).items():
            if isinstance(value, float):
                assert float(line[name]) == pytest.approx(value, rel=1e-4)
            else:
                assert line[name] == ("" if value is None else str(value))


def test_the_picture_shows_each_clip_length_and_schedule(result: BenchmarkResult, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    longer = [replace(row, frames=512) for row in result.rows]
    other = [replace(row, schedule="decreasing") for row in result.rows if row.tome_r]
    for name, rows in {"two": result.rows + longer, "schedules": result.rows + other}.items():
        plot_speedups(rows, tmp_path / f"{name}.png")
    sizes = {path.stem: _png_size(path) for path in tmp_path.glob("*.png")}
    assert sizes["two"][0] > sizes["schedules"][0]  # two panels, one panel


def test_there_is_no_picture_of_stock_ast_alone(result: BenchmarkResult, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="no FastAST was measured"):
        plot_speedups(result.rows[:2], tmp_path / "none.png")


def _png_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, which stand in the header."""
    header = path.read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
