"""The memory of a training step, as a process of its own measures it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from fastast_hf import FastASTConfig, FastASTForAudioClassification
from fastast_hf.benchmarking import memory as training_memory
from fastast_hf.benchmarking.memory import step_bytes
from fastast_hf.benchmarking.training_step import TrainingStep

FRAMES = 256

needs_linux = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc, which Linux alone has")


@pytest.fixture(scope="module")
def step() -> TrainingStep:
    torch.manual_seed(0)
    config = FastASTConfig(
        hidden_size=48, num_hidden_layers=8, num_attention_heads=2, intermediate_size=192, max_length=FRAMES
    )
    return TrainingStep(FastASTForAudioClassification(config), FRAMES, batch_size=8)


@needs_linux
@pytest.mark.slow
def test_a_step_takes_gradients_and_activations_and_less_of_them_with_r(step: TrainingStep) -> None:
    """What each layer keeps for the backward pass, at the least: eight tensors of its width and two of the MLP's."""
    gradients, tokens = step.state_bytes // 3, 2 + 12 * 25
    activations = 8 * (8 * tokens * (8 * 48 + 2 * 192)) * 4
    stock, unmerged, merged = (step_bytes(step, r) for r in (None, 0, 40))
    assert stock > gradients + activations
    assert unmerged == pytest.approx(stock, rel=0.1)
    assert merged < 0.8 * stock


@needs_linux
def test_the_process_is_given_all_a_step_depends_on(step: TrainingStep, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(training_memory, "_in_new_process", lambda settings: asked.append(settings) or 7)
    assert step_bytes(step, 8, "decreasing") == 7
    (settings,) = asked
    assert settings.pop("config")["hidden_size"] == 48
    assert settings == {
        "num_frames": FRAMES,
        "batch_size": 8,
        "attn": "sdpa",
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        "tome_r": 8,
        "schedule": "decreasing",
    }


@needs_linux
def test_what_is_measured_is_the_peak_above_what_was_held_before(
    step: TrainingStep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status = tmp_path / "status"
    status.write_text("VmHWM:\t    900 kB\nVmRSS:\t    500 kB\n")
    monkeypatch.setattr(training_memory, "_STATUS", status)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    handed_over = []
    monkeypatch.setattr(training_memory, "_in_new_process", lambda settings: handed_over.append(settings) or 0)
    step_bytes(step, 8)
    training_memory.measure_here(training_memory.json.dumps(handed_over[0]))
    assert capsys.readouterr().out.split() == [str(400 * 1024)]


def test_a_failed_process_is_an_error_that_says_why(step: TrainingStep, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "Traceback\nMemoryError: no room\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(RuntimeError, match="failed: MemoryError: no room"):
        training_memory._in_new_process({})


def test_without_linux_there_is_nothing_to_read(
    step: TrainingStep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(training_memory, "_STATUS", tmp_path / "none")
    assert step_bytes(step, 8) is None
