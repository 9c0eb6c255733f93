"""How fast FastAST trains beside stock AST: whole training steps, timed in interleaved rounds, and their memory.

A training step is the forward pass, the loss, the backward pass and AdamW's update; features are made beforehand. The
MACs of a step are counted as three forward passes': a backward pass multiplies for the inputs' gradients and again for
the weights'. The MAC ratio is therefore the forward pass'. With a teacher, steps that distil from it join the rounds
(`distillation_benchmark`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ..merging.complexity import complexity
from ..model.modeling_fastast import FastASTForAudioClassification
from .circumstances import shared_columns
from .memory import step_bytes
from .rounds import check_at_least, interleaved_rounds, timed
from .rows import TrainingRow
from .training_step import Forward, Loss, TrainingStep

if TYPE_CHECKING:
    from .distillation import Lesson

FORWARD_PASSES = 3  # that a step's MACs are counted as
Setting = tuple[int | None, str]  # r and its schedule; None for stock AST


@dataclass(frozen=True)
class TrainingBenchmarkResult:
    """Rows of one clip length, from the rounds that were finished, and whether Ctrl-C came before the end.

    With a teacher each is a [`DistillationRow`].
    """

    rows: list[TrainingRow]
    interrupted: bool


def training_benchmark(
    model: FastASTForAudioClassification,
    num_frames: int,
    *,
    model_name: str | None = None,
    batch_size: int = 4,
    tome_r: Sequence[int] = (0, 20, 40),
    schedules: Sequence[str] = ("constant",),
    attn: str = "sdpa",
    dtype: torch.dtype = torch.float32,
    rounds: int = 10,
    teacher: str | None = None,
    progress: bool = False,
) -> TrainingBenchmarkResult:
    """Time training steps of FastAST at each r beside stock AST's (sdpa), on the same weights and features.

    Runs on the model's device, on a float32 copy of its weights. Ctrl-C ends the measurement and keeps the rounds
    finished so far.

    Args:
        model: Stays as it is.
        num_frames: Length of the clips in frames of 10 ms; positions are cut or interpolated to it.
        model_name: For the column `model`; the checkpoint's name if None.
        batch_size: Clips in a batch.
        tome_r: Tokens merged in every layer, one FastAST for each.
        schedules: Each r is spread over the layers in each of these ways.
        attn: FastAST's attention implementation.
        dtype: float32, or that of autocast.
        rounds: How often each is timed, after a warm-up.
        teacher: Time steps that distil as well, from a teacher with random weights: `"cnn"` or `"passt"`. Memory is
            not measured then.
        progress: Whether to show a progress bar on a terminal.

    Returns:
        A row for stock AST, then for FastAST in the order of `tome_r` and `schedules`; none if not one round was
        finished.

    Raises:
        ValueError: A number is too small, a schedule or attention implementation is unknown, or the device has too
            little memory.
        ImportError: What the attention implementation, or a CNN, needs is not installed.

    Example:
        >>> from fastast_hf import FastASTConfig
        >>> model = FastASTForAudioClassification(FastASTConfig(num_hidden_layers=2, hidden_size=24, max_length=64))
        >>> result = training_benchmark(model, 64, tome_r=[8], rounds=1)
        >>> [(row.implementation, row.tome_r) for row in result.rows]
        [('AST', None), ('FastAST', 8)]
    """
    check_at_least(1, rounds=rounds, batch_size=batch_size)
    check_at_least(model.config.patch_size, frames=num_frames)
    step = TrainingStep(copy.deepcopy(model).float(), num_frames, batch_size, attn, dtype)
    # r = 0 is the same in every schedule.
    settings: list[Setting] = [(None, schedules[0])]
    settings += dict.fromkeys((r, schedule if r else schedules[0]) for r in tome_r for schedule in schedules)
    forwards = [step.forward_pass(*setting) for setting in settings]
    runs = [partial(_time_step, step, forward) for forward in forwards]
    lesson = None if teacher is None else _lesson(teacher, step)
    if lesson is not None:  # only FastAST is distilled
        runs += [partial(_time_step, step, forward, lesson.loss) for forward in forwards[1:]]
        runs += [partial(_time_part, part, step.model.device) for part in (lesson.teach, lesson.hear)]

    finished: list[list[float]] = []
    step_memory: list[int | None] = [None] * len(settings)
    interrupted = False
    try:
        bar = {"desc": f"{num_frames} frames", "unit": "round", "leave": False, "disable": None if progress else True}
        for seconds in tqdm(interleaved_rounds(runs, rounds), total=rounds, **bar):
            finished.append(seconds)
        for index, setting in enumerate(settings if lesson is None else ()):
            step_memory[index] = step_bytes(step, *setting)
    except KeyboardInterrupt:
        interrupted = True
    except torch.OutOfMemoryError as error:  # stock AST's steps take most: without them there is nothing to compare
        raise ValueError(
            f"{step.model.device} has too little memory for training steps on {batch_size} clips of {num_frames} "
            "frames: give a smaller batch"
        ) from error
    if not finished:
        return TrainingBenchmarkResult([], interrupted)

    shared = {
        **shared_columns(model, model_name, num_frames, batch_size),
        "dtype": str(dtype).removeprefix("torch."),
        "rounds": len(finished),
    }
    seconds_of_all = np.array(finished)  # (rounds, runs)
    rows: list[TrainingRow] = [
        _row(step, setting, seconds_of_all[:, index], seconds_of_all[:, 0], step_memory[index], shared)
        for index, setting in enumerate(settings)
    ]
    if lesson is not None:
        rows = lesson.rows(rows, seconds_of_all)
    return TrainingBenchmarkResult(rows, interrupted)


def _lesson(teacher: str, step: TrainingStep) -> Lesson:
    from .distillation import Lesson, random_teacher  # which imports the trainer

    return Lesson(*random_teacher(teacher, step.model, step.dtype), step)


def _time_step(step: TrainingStep, forward: Forward, loss: Loss | None = None) -> float:
    """Seconds of one training step."""
    return timed(partial(step, forward, loss), step.model.device)[0]


def _time_part(part: Callable[[], object], device: torch.device) -> float:
    """Seconds of one of a teacher's parts."""
    return timed(part, device)[0]


def _row(
    step: TrainingStep,
    setting: Setting,
    seconds: np.ndarray,
    stock_seconds: np.ndarray,
    memory: int | None,
    shared: dict[str, Any],
) -> TrainingRow:
    """One setting's rounds and, of the same rounds, stock AST's, as one row."""
    tome_r, schedule = setting
    stock = tome_r is None
    cost = complexity(step.model.config, tome_r or 0, schedule)
    speedup = float(np.median(stock_seconds / seconds))
    return TrainingRow(
        implementation="AST" if stock else "FastAST",
        attn="sdpa" if stock else step.model.config._attn_implementation,
        tome_r=tome_r,
        schedule=None if stock else schedule,
        tokens_out=cost.tokens_out,
        gmacs=FORWARD_PASSES * cost.macs / 1e9,
        mac_ratio=cost.speedup,
        step_ms=1000 * float(np.median(seconds)),
        step_p95_ms=1000 * float(np.percentile(seconds, 95)),
        samples_per_sec=shared["batch_size"] / float(np.median(seconds)),
        speedup=speedup,
        efficiency=speedup / cost.speedup,
        peak_mem_mb=None if memory is None else (step.state_bytes + memory) / 1e6,
        step_mem_mb=None if memory is None else memory / 1e6,
        **shared,
    )
