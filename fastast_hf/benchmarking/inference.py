"""How fast FastAST is beside stock AST: front end, model and end to end, timed apart in interleaved rounds.

A machine is never equally fast twice, so nothing is timed on its own: every round runs each candidate once, in an
order that changes from round to round, and a speed-up is the median of the ratios to stock AST within a round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..merging.complexity import Complexity, complexity
from ..model.modeling_fastast import FastASTForAudioClassification
from .candidates import (
    STOCK_ATTENTION,
    Candidate,
    Clips,
    candidates_for,
    fastast_front_end,
    for_length,
    noise_clips,
    stock_ast,
)
from .circumstances import shared_columns
from .failures import UnlessOutOfMemory, compiler_wanted
from .rounds import check_at_least, interleaved_rounds, timed
from .rows import BenchmarkRow


@dataclass(frozen=True)
class BenchmarkResult:
    """Rows of one clip length, from the rounds that were finished, and whether Ctrl-C came before the last.

    `left_out` names the candidates that the device had too little memory for; they have no row.
    """

    rows: list[BenchmarkRow]
    interrupted: bool
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class QuickSpeedup:
    """One line of [`quick_speedups`]: stock AST where `tome_r` is None, else FastAST.

    Attributes:
        tome_r: Tokens merged in every layer, or one number per layer.
        tokens_left: Tokens after the last layer.
        ms_per_clip: Milliseconds the model takes for one clip of the batch.
        speedup: Over stock AST with sdpa, measured in the same rounds.
    """

    tome_r: int | list[int] | None
    tokens_left: int
    ms_per_clip: float
    speedup: float


@dataclass(frozen=True)
class Timing:
    """Seconds of one run, `front_end` None where there is none to time, and bytes."""

    front_end: float | None
    model: float
    peak_memory: int | None


def benchmark(
    model: FastASTForAudioClassification,
    num_frames: int,
    *,
    model_name: str | None = None,
    batch_size: int = 4,
    tome_r: Sequence[int] = (0, 20, 40),
    schedules: Sequence[str] = ("constant",),
    attn: str = "sdpa",
    rounds: int = 10,
    progress: bool = False,
    compile_mode: str | None = None,
) -> BenchmarkResult:
    """Time FastAST at each r beside stock AST, eager and sdpa, with the same weights, on clips of noise.

    Runs on the model's device and in its dtype. The model itself stays as it is. Ctrl-C ends the measurement and
    keeps the rounds finished so far.

    Args:
        model: Whose weights all candidates share.
        num_frames: Length of the clips in frames of 10 ms; positions are cut or interpolated to it.
        model_name: For the column `model`; the checkpoint's name if None.
        batch_size: Clips in a batch.
        tome_r: Tokens merged in every layer, one FastAST for each.
        schedules: Each r is spread over the layers in each of these ways.
        attn: FastAST's attention implementation.
        rounds: How often each candidate is timed, after a warm-up.
        progress: Whether to show a progress bar on a terminal.
        compile_mode: Of torch.compile, to time stock AST (sdpa) and FastAST compiled, too; compiling is warm-up.

    Returns:
        Rows for stock AST eager and sdpa, then for FastAST in the order of `tome_r` and `schedules`, those of compiled
        models after the ones of their kind; none if not one round was finished.

    Raises:
        ValueError: A number is too small, a schedule or attention implementation is unknown, there is no compiler for
            what has to be compiled, or too little memory for stock AST with sdpa.
        ImportError: What the attention implementation needs is not installed.

    Example:
        >>> from fastast_hf import FastASTConfig
        >>> model = FastASTForAudioClassification(FastASTConfig(num_hidden_layers=2, hidden_size=24, max_length=64))
        >>> [(row.implementation, row.tome_r) for row in benchmark(model, 64, tome_r=[8], rounds=1).rows]
        [('AST', None), ('AST', None), ('FastAST', 8)]
    """
    check_at_least(1, rounds=rounds, batch_size=batch_size)
    check_at_least(model.config.patch_size, frames=num_frames)
    candidates = candidates_for(model, num_frames, tome_r, schedules, attn, compile_mode)
    clips = noise_clips(batch_size, num_frames)
    # Its input where a candidate has no front end of its own to make it.
    spare_input = fastast_front_end(model, num_frames)(clips)
    baseline = STOCK_ATTENTION.index("sdpa")
    stock_front_end = candidates[baseline].front_end
    # One clip at a time on the CPU, it can take longer than all models together: once a round for all rows it has.
    is_stock = [candidate.front_end is stock_front_end for candidate in candidates]
    runs: list[Callable[[], Any]] = [
        UnlessOutOfMemory(partial(_time_run, replace(one, front_end=None) if stock else one, clips, spare_input))
        for one, stock in zip(candidates, is_stock, strict=True)
    ]
    runs.append(partial(_time_front_end, stock_front_end, clips, spare_input.device))

    finished: list[list[Timing | None]] = []
    interrupted = False
    try:
        bar = {"desc": f"{num_frames} frames", "unit": "round", "leave": False, "disable": None if progress else True}
        with compiler_wanted("leave out --compile" if compile_mode else "choose another attention implementation"):
            for *timings, front_end in tqdm(interleaved_rounds(runs, rounds), total=rounds, **bar):
                if timings[baseline] is None:
                    raise ValueError(
                        f"{model.device} has too little memory for stock AST, which all is measured against, on "
                        f"{batch_size} clips of {num_frames} frames: give a smaller batch"
                    )
                finished.append(
                    [
                        replace(timing, front_end=front_end) if timing and stock else timing
                        for timing, stock in zip(timings, is_stock, strict=True)
                    ]
                )
    except KeyboardInterrupt:
        interrupted = True
    if not finished:
        return BenchmarkResult([], interrupted)

    rounds_of = dict(zip(candidates, zip(*finished, strict=True), strict=True))
    measured: dict[Candidate, Any] = {one: own for one, own in rounds_of.items() if None not in own}
    left_out = [one.name for one in candidates if one not in measured]
    shared = shared_columns(model, model_name, num_frames, batch_size)
    rows = [
        _row(
            candidate,
            own,
            measured[candidates[baseline]],
            complexity(model.config, candidate.tome_r or 0, candidate.schedule, num_frames),
            shared,
        )
        for candidate, own in measured.items()
    ]
    return BenchmarkResult(rows, interrupted, left_out)


def quick_speedups(
    model: FastASTForAudioClassification, input_values: Tensor, r_values: Sequence[int | list[int]], rounds: int = 5
) -> list[QuickSpeedup]:
    """Time the model at each r beside stock AST (sdpa) with the same weights, on one batch.

    Args:
        model: Stays as it is; its `tome_schedule` applies.
        input_values: (B, T, mel bins) on the model's device.
        r_values: Each an int, or one int per layer.
        rounds: How often each is timed.

    Returns:
        Stock AST's line, then one for each r.

    Raises:
        ValueError: No round is asked for, or a wrong r.

    Example:
        >>> from fastast_hf import FastASTConfig
        >>> model = FastASTForAudioClassification(FastASTConfig(num_hidden_layers=2, hidden_size=24, max_length=64))
        >>> [line.tokens_left for line in quick_speedups(model, torch.zeros(1, 64, 128), [0, 8])]
        [62, 62, 46]
    """
    check_at_least(1, rounds=rounds)
    num_frames = input_values.shape[1]
    fast: Any = for_length(model, num_frames)
    stock = stock_ast(fast)
    input_values = input_values.to(fast.dtype)
    forwards = [stock, *(partial(fast, tome_r=fast.config.merges_per_layer(r)) for r in r_values)]
    runs = [partial(_time_forward, forward, input_values) for forward in forwards]
    seconds = np.array(list(interleaved_rounds(runs, rounds)))  # (rounds, candidates)
    times, speedups = np.median(seconds, axis=0), np.median(seconds[:, :1] / seconds, axis=0)
    return [
        QuickSpeedup(
            tome_r=r,
            tokens_left=complexity(fast.config, 0 if r is None else r).tokens_out,
            ms_per_clip=1000 * float(time) / len(input_values),
            speedup=float(speedup),
        )
        for r, time, speedup in zip([None, *r_values], times, speedups, strict=True)
    ]


@torch.inference_mode()
def _time_run(candidate: Candidate, clips: Clips, spare_input: Tensor) -> Timing:
    """Waveforms, or the spare input, to logits, once, with the clock read in between."""
    device = spare_input.device
    counts_memory = device.type == "cuda" and not candidate.in_graphs  # whose memory is taken when they are recorded
    if counts_memory:
        torch.cuda.reset_peak_memory_stats(device)
    front_end_seconds, input_values = None, spare_input
    if candidate.front_end is not None:
        front_end_seconds, input_values = timed(partial(candidate.front_end, clips), device)
    model_seconds = _time_forward(candidate.forward, input_values)
    return Timing(front_end_seconds, model_seconds, torch.cuda.max_memory_allocated(device) if counts_memory else None)


@torch.inference_mode()
def _time_front_end(front_end: Callable[[Clips], Tensor] | None, clips: Clips, device: torch.device) -> float | None:
    """Seconds from waveforms to the model's input on its device, if there is a front end."""
    return None if front_end is None else timed(partial(front_end, clips), device)[0]


@torch.inference_mode()
def _time_forward(forward: Callable[[Tensor], Any], input_values: Tensor) -> float:
    """Seconds of one forward pass."""
    return timed(partial(forward, input_values), input_values.device)[0]


def _row(
    candidate: Candidate,
    timings: Sequence[Timing],
    baseline: Sequence[Timing],
    cost: Complexity,
    shared: dict[str, Any],
) -> BenchmarkRow:
    """A candidate's rounds and, of the same rounds, stock AST sdpa's, as one row."""
    model, stock_model = _seconds(timings, "model"), _seconds(baseline, "model")
    speedup = float(np.median(stock_model / model))
    columns: dict[str, Any] = {}
    if candidate.front_end is not None:
        front_end = _seconds(timings, "front_end")
        total = front_end + model
        columns = {
            "front_end_ms": 1000 * float(np.median(front_end)),
            "end_to_end_ms": 1000 * float(np.median(total)),
            "end_to_end_p95_ms": 1000 * float(np.percentile(total, 95)),
            "end_to_end_samples_per_sec": shared["batch_size"] / float(np.median(total)),
        }
        if baseline[0].front_end is not None:
            stock_total = _seconds(baseline, "front_end") + stock_model
            columns["speedup_end_to_end"] = float(np.median(stock_total / total))
    if timings[0].peak_memory is not None:
        columns["peak_mem_mb"] = max(timing.peak_memory or 0 for timing in timings) / 1e6
    return BenchmarkRow(
        implementation=candidate.implementation,
        attn=candidate.attn,
        tome_r=candidate.tome_r,
        schedule=candidate.schedule,
        tokens_out=cost.tokens_out,
        gmacs=cost.macs / 1e9,
        macts=cost.activations / 1e6,
        mac_ratio=cost.speedup,
        front_end=candidate.front_end_name,
        model_ms=1000 * float(np.median(model)),
        model_p95_ms=1000 * float(np.percentile(model, 95)),
        samples_per_sec=shared["batch_size"] / float(np.median(model)),
        speedup=speedup,
        efficiency=speedup / cost.speedup,
        rounds=len(timings),
        **columns,
        **shared,
    )


def _seconds(timings: Sequence[Timing], part: str) -> np.ndarray:
    return np.array([getattr(timing, part) for timing in timings])
