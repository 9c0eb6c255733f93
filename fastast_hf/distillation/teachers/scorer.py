"""A teacher that is no PyTorch model: anything that scores waveforms, such as a TFLite file or an API."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...model.feature_extraction_fastast import FastASTFeatureExtractor
from ...training.inputs.views import View
from .teacher import check_rate, upsample

_SMALLEST = 1e-6  # probabilities are kept this far from 0 and 1, where their logits are infinite


class ScorerTeacher:
    """What the trainer of distillation asks of a teacher, by `scores(waveforms) → probabilities` alone.

    Args:
        scorer: An object with that method, or a function: from float32 (B, n), zeros after each clip's end, to
            probabilities (B, classes) in the student's order of labels. Its attribute `sampling_rate` is what it
            takes, in Hz (without one, what the student hears), and `name` tells it from others: a cache of its scores
            is made anew, and a run is not resumed, under another name.
        loss: The trainer's: of `"cross_entropy"` the probabilities of a clip add up to 1, of `"bce"` they need not.

    Example:
        >>> teacher = ScorerTeacher(lambda waveforms: np.full((len(waveforms), 4), 0.25), "cross_entropy")
        >>> teacher.probabilities(torch.zeros(2, 16000)).shape
        torch.Size([2, 4])
    """

    def __init__(self, scorer: Any, loss: str) -> None:
        self.score: Callable[[np.ndarray], Any] = getattr(scorer, "scores", scorer)
        self.sampling_rate: int | None = getattr(scorer, "sampling_rate", None)
        self.name = getattr(scorer, "name", type(scorer).__qualname__)
        self.loss = loss

    def fingerprint(self) -> str:
        """A hash of its name."""
        return hashlib.sha256(self.name.encode()).hexdigest()

    def check_rate(self, sampling_rate: int) -> None:
        """Raise a ValueError unless it takes what a student hears, or a multiple of that rate."""
        check_rate(self.sampling_rate or sampling_rate, sampling_rate)

    def check_hearing(self, student: FastASTFeatureExtractor) -> None:
        """Try it on a silent clip as long as a student's.

        Raises:
            ValueError: It takes another rate, or its scores are no probabilities.
        """
        self.check_rate(student.sampling_rate)
        factor = (self.sampling_rate or student.sampling_rate) // student.sampling_rate
        self.probabilities(torch.zeros(1, factor * student.samples_of(student.max_length)))

    def logits(self, view: View, student: FastASTFeatureExtractor, features: Tensor) -> Tensor:
        """Logits (B, classes) of the batch's waveforms as the student hears them, without its masks."""
        factor = (self.sampling_rate or student.sampling_rate) // student.sampling_rate
        probabilities = self.probabilities(upsample(view.waveforms, factor)).to(features.device)
        if self.loss == "bce":
            return torch.logit(probabilities, eps=_SMALLEST)
        return probabilities.clamp(min=_SMALLEST).log()

    def probabilities(self, waveforms: Tensor) -> Tensor:
        """Of each class (B, classes), float32.

        Raises:
            ValueError: The scorer gives something else.
        """
        scores = torch.as_tensor(np.asarray(self.score(waveforms.float().cpu().numpy()), dtype=np.float32))
        if scores.dim() != 2 or len(scores) != len(waveforms) or not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError(
                f"the teacher {self.name} scored {len(waveforms)} clips by an array of shape {tuple(scores.shape)}: "
                "give (clips, classes) of probabilities, 0 to 1"
            )
        return scores
