"""Self-distillation: the student without merging teaches the student that merges; no other network is needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...model.feature_extraction_fastast import FastASTFeatureExtractor
from ...training.inputs.views import View, spectrograms
from .teacher import digest_of


class SelfTeacher:
    """What the trainer of distillation asks of a teacher, by the student's own weights of the moment with r = 0.

    It is the "sandwich" of slimmable networks (Yu & Huang 2019, §3.1) for numbers of tokens instead of widths: the
    whole model learns from the ground truth through the merged one, which learns from the whole model's scores, too.

    Args:
        model: The student, which is not copied.
        extractor: Its front end.

    Example:
        >>> from fastast_hf import FastASTConfig, FastASTForAudioClassification
        >>> model = FastASTForAudioClassification(FastASTConfig(num_hidden_layers=1, max_length=64, num_labels=3))
        >>> SelfTeacher(model, FastASTFeatureExtractor(max_length=64)).classify(torch.zeros(1, 64, 128)).shape
        torch.Size([1, 3])
    """

    def __init__(self, model: Any, extractor: FastASTFeatureExtractor) -> None:
        self.model, self.extractor = model, extractor
        self.start = digest_of(model, "self")

    def fingerprint(self) -> str:
        """A hash of the weights that it began with: a cache of its scores is of those."""
        return self.start

    def check_hearing(self, student: FastASTFeatureExtractor) -> None:
        """Nothing to try: it hears by the student's front end."""

    def logits(self, view: View, student: FastASTFeatureExtractor, features: Tensor) -> Tensor:
        """Logits (B, classes) of the batch, float32, without merging and dropout."""
        same = student.to_dict() == self.extractor.to_dict()
        return self.classify(features if same else spectrograms(self.extractor, view))

    @torch.no_grad()
    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, classes) of spectrograms (B, frames, mel bins), float32."""
        training = self.model.training
        self.model.eval()
        logits: Tensor = self.model(features, tome_r=0).logits.float()
        self.model.train(training)
        return logits
