"""What a benchmark with a teacher measures and how: the structure of it, never a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fastast_hf import FastASTConfig, FastASTForAudioClassification
from fastast_hf.benchmarking import distillation
from fastast_hf.benchmarking import training as training_benchmark
from fastast_hf.benchmarking.distillation import RANDOM_TEACHERS, Lesson, forward_macs, random_teacher
from fastast_hf.benchmarking.rounds import WARM_UP_ROUNDS
from fastast_hf.benchmarking.rows import DistillationRow
from fastast_hf.benchmarking.training import training_benchmark as measure
from fastast_hf.benchmarking.training_step import Forward, Loss, TrainingStep
from fastast_hf.distillation.teachers.cnn import CNNConfig
from fastast_hf.distillation.teachers.passt import PasstConfig
from fastast_hf.merging.complexity import complexity

FRAMES = 64
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
NAMES = ("rain", "dog", "bell")
LABELS: dict[str, Any] = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
TEACHER_COLUMNS = ("distillation_ms", "distillation_p95_ms", "distillation_samples_per_sec", "kept", "kept_by_macs")

# A layer, what goes into it, and its MACs by hand: numbers that it writes times numbers that each is a sum of.
LAYERS: list[tuple[nn.Module, tuple[int, ...], int]] = [
    (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 10, 12), 2 * (8 * 10 * 12) * (3 * 3 * 3)),
    (nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8, bias=False), (1, 8, 10, 12), (8 * 5 * 6) * (5 * 5)),
    (nn.Conv1d(4, 6, 3, stride=3), (1, 4, 9), (6 * 3) * (4 * 3)),
    (nn.Linear(16, 5), (2, 7, 16), 2 * (7 * 5) * 16),
]


@pytest.fixture(scope="module")
def student() -> FastASTForAudioClassification:
    torch.manual_seed(0)
    return FastASTForAudioClassification(FastASTConfig(**TINY, max_length=FRAMES, **LABELS)).eval()


@pytest.fixture(autouse=True)
def small_teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    cnn = partial(CNNConfig, backbone="mobilenetv3_small_050")
    monkeypatch.setattr(distillation, "CNNConfig", cnn)
    monkeypatch.setattr(distillation, "PasstConfig", partial(PasstConfig, **TINY))


@pytest.fixture
def fake_times(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, int], float]], None]:
    """Replace the clock by a function of what is timed ("stock", "r", "r taught", "teach", "hear") and the round."""

    def install(time: Callable[[str, int], float]) -> None:
        calls: list[str] = []

        def clock(name: str) -> float:
            calls.append(name)
            return time(name, calls.count(name) - 1 - WARM_UP_ROUNDS)

        def step(step: TrainingStep, forward: Forward, loss: Loss | None = None) -> float:
            keywords = getattr(forward, "keywords", None)
            name = str(keywords["tome_r"][0]) if keywords else "stock"
            return clock(name if loss is None else f"{name} taught")

        monkeypatch.setattr(training_benchmark, "_time_step", step)
        monkeypatch.setattr(training_benchmark, "_time_part", lambda part, device: clock(part.__name__))

    return install


@pytest.mark.parametrize("kind", ["cnn", "passt"])
def test_fastast_at_each_r_is_measured_with_the_teacher_and_without(
    kind: str, student: FastASTForAudioClassification
) -> None:
    rows = measure(student, FRAMES, batch_size=2, tome_r=[0, 8], rounds=2, teacher=kind).rows
    assert [(row.implementation, row.tome_r) for row in rows] == [("AST", None), ("FastAST", 0), ("FastAST", 8)]
    for row in rows:
        assert isinstance(row, DistillationRow)
        assert (row.teacher, row.peak_mem_mb, row.step_mem_mb) == (RANDOM_TEACHERS[kind], None, None)
        assert row.gmacs == 3 * complexity(student.config, row.tome_r or 0).macs / 1e9
        assert row.teacher_ms > 0 and row.teacher_front_end_ms > 0
        if row.tome_r is None:
            assert all(getattr(row, column) is None for column in TEACHER_COLUMNS)
        else:
            assert row.distillation_ms is not None and row.distillation_p95_ms is not None
            assert row.distillation_p95_ms >= row.distillation_ms > 0
            assert row.distillation_samples_per_sec == pytest.approx(2000 / row.distillation_ms)


def test_what_is_kept_is_a_ratio_within_a_round(
    student: FastASTForAudioClassification,
    fake_times: Callable[[Callable[[str, int], float]], None],
) -> None:
    """A machine that gets slower all the time changes the times and not the ratios."""
    seconds = {"stock": 16, "0": 12, "8": 6, "0 taught": 16, "8 taught": 10, "teach": 2, "hear": 1}
    fake_times(lambda name, round_: seconds[name] * (round_ + 3) ** 2)
    settings = {"batch_size": 2, "tome_r": [0, 8], "rounds": 3, "teacher": "passt"}
    stock, unmerged, merged = measure(student, FRAMES, **settings).rows
    middle = 16  # (1 + 3) ** 2
    assert (unmerged.step_ms, unmerged.distillation_ms) == (12000 * middle, 16000 * middle)
    assert (stock.teacher_ms, stock.teacher_front_end_ms) == (2000 * middle, 1000 * middle)
    assert (unmerged.kept, merged.kept) == ((12 + 2) / 16, (6 + 2) / 10)
    assert merged.distillation_samples_per_sec == 2 / (10 * middle)
    # As if the teacher's MACs took as long as so many of the student's step.
    both = 1 + stock.teacher_gmacs / merged.gmacs
    assert merged.kept_by_macs == pytest.approx(6 * both / 10)
    assert merged.speedup == 16 / 6


def test_stopping_keeps_the_rounds_that_were_finished(
    student: FastASTForAudioClassification,
    fake_times: Callable[[Callable[[str, int], float]], None],
) -> None:
    def time(name: str, round_: int) -> float:
        if name == "teach" and round_ == 2:
            raise KeyboardInterrupt
        return 1.0

    fake_times(time)
    stopped = measure(student, FRAMES, tome_r=[8], rounds=5, teacher="cnn")
    assert stopped.interrupted
    assert [(row.rounds, row.kept) for row in stopped.rows] == [(2, None), (2, 2.0)]


@pytest.mark.parametrize("kind", ["cnn", "passt"])
def test_a_step_with_a_teacher_trains_the_student_by_it_and_leaves_the_teacher_alone(
    kind: str, student: FastASTForAudioClassification
) -> None:
    def steps(taught: bool) -> tuple[TrainingStep, Lesson]:
        model = FastASTForAudioClassification(student.config)
        model.load_state_dict(student.state_dict())
        step = TrainingStep(model, FRAMES, batch_size=2)
        lesson = Lesson(*random_teacher(kind, step.model), step)
        before = {name: weight.clone() for name, weight in lesson.teacher.model.state_dict().items()}
        for _ in range(2):
            step(step.forward_pass(8), lesson.loss if taught else None)
        assert all(torch.equal(weight, before[name]) for name, weight in lesson.teacher.model.state_dict().items())
        return step, lesson

    (plain, _), (distilled, lesson) = steps(False), steps(True)
    assert not torch.equal(plain.model.classifier.dense.weight, distilled.model.classifier.dense.weight)
    assert (lesson.inputs["input_values"] is distilled.input_values) == (
        kind == "cnn"
    )  # as in training, it is the very tensor
    logits = torch.zeros(2, len(NAMES), requires_grad=True)
    lesson.loss(logits).backward()
    probabilities = 0.1 * lesson.view.targets + 0.9 * lesson.teach().softmax(dim=1)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, (1 / len(NAMES) - probabilities) / 2)


@pytest.mark.parametrize(("layer", "shape", "macs"), LAYERS, ids=lambda value: type(value).__name__)
def test_a_teachers_macs_by_hand(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    teacher: Any = SimpleNamespace(classify=lambda inputs: layer(**inputs))
    assert forward_macs(teacher, {"input": torch.zeros(shape)}) == macs


@pytest.mark.parametrize("kind", ["cnn", "passt"])
def test_a_teacher_with_random_weights_has_the_students_labels_and_input(
    kind: str, student: FastASTForAudioClassification
) -> None:
    name, teacher = random_teacher(kind, student, torch.bfloat16)
    assert name == {"cnn": "efficientnet_b2-random", "passt": "passt-base-random"}[kind]
    assert teacher.order.tolist() == [0, 1, 2] and teacher.model.dtype == torch.bfloat16
    assert (teacher.extractor.max_length, teacher.model.config.max_length) == (FRAMES, FRAMES)
