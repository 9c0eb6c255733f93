"""A teacher that is no PyTorch model: its probabilities teach, and what are none are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fastast_hf import FastASTFeatureExtractor
from fastast_hf.distillation.teachers.scorer import ScorerTeacher
from fastast_hf.distillation.teachers.teacher import teacher_probabilities
from fastast_hf.training.inputs.views import SpectrogramDraws, View

STUDENT = FastASTFeatureExtractor(max_length=64)


class Loudness:
    """Two classes, loud and quiet, by the mean power of clips at 32 kHz."""

    sampling_rate, name = 32000, "loudness"

    def __init__(self) -> None:
        self.heard: list[tuple[int, ...]] = []

    def scores(self, waveforms: np.ndarray) -> np.ndarray:
        self.heard.append(waveforms.shape)
        loud = (waveforms**2).mean(axis=1, keepdims=True).clip(0, 1)
        return np.concatenate([loud, 1 - loud], axis=1)


def view(waveforms: torch.Tensor) -> View:
    samples = torch.full((len(waveforms),), waveforms.shape[1])
    return View(waveforms, samples, torch.zeros(len(waveforms), 2), SpectrogramDraws())


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
def test_the_students_targets_are_its_probabilities_at_its_own_rate(loss: str) -> None:
    scorer = Loudness()
    teacher = ScorerTeacher(scorer, loss)
    teacher.check_hearing(STUDENT)
    waveforms = torch.tensor([0.5, 0.9])[:, None] * torch.ones(2, STUDENT.samples_of(64))
    logits = teacher.logits(view(waveforms), STUDENT, torch.zeros(2, 64, 128))
    found = teacher_probabilities(logits, loss)
    torch.testing.assert_close(found[:, 0], torch.tensor([0.25, 0.81]), atol=1e-2, rtol=0)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2))
    assert {samples for _, samples in scorer.heard} == {2 * STUDENT.samples_of(64)}


def test_a_function_will_do_and_certain_scores_stay_finite() -> None:
    teacher = ScorerTeacher(lambda waveforms: np.eye(2)[: len(waveforms)], "bce")
    logits = teacher.logits(view(torch.zeros(2, 16000)), STUDENT, torch.zeros(2, 64, 128))
    assert logits.isfinite().all() and (logits.sigmoid() - torch.eye(2)).abs().max() < 1e-5


@pytest.mark.parametrize(
    "scores", [np.zeros(2), np.zeros((3, 4)), np.full((2, 4), -3.0), np.full((2, 4), np.nan)], ids=str
)
def test_what_are_no_probabilities_are_refused(scores: Any) -> None:
    with pytest.raises(ValueError, match=r"scored 2 clips by an array of shape .*: give \(clips, classes\)") as caught:
        ScorerTeacher(lambda waveforms: scores, "bce").probabilities(torch.zeros(2, 16000))
    assert "\n" not in str(caught.value)


def test_another_rate_than_a_multiple_of_the_students_is_refused() -> None:
    scorer = Loudness()
    scorer.sampling_rate = 22050  # type: ignore[misc]
    with pytest.raises(ValueError, match="the teacher takes 22050 Hz and the student hears 16000 Hz"):
        ScorerTeacher(scorer, "bce").check_hearing(STUDENT)
