"""What a teacher adds to training steps, and how much of the throughput is kept that both models' MACs allow.

A step that distils costs the student's own step and a forward pass of the teacher. Both are timed on their own in the
same round, so that `kept` says what distillation takes beyond them: the teacher's front end, the second loss, and what
the two models take from each other's caches and memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..distillation.teachers.cnn import CNNConfig, CNNForAudioClassification
from ..distillation.teachers.passt import PasstConfig, PasstForAudioClassification
from ..distillation.teachers.passt_features import PasstFeatureExtractor
from ..distillation.teachers.teacher import Teacher
from ..distillation.trainer import cmkd_loss
from ..loading.checkpoint import labels_in_order
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from ..model.modeling_fastast import FastASTForAudioClassification
from ..training.inputs.views import View, draw_for_spectrograms
from .candidates import noise_clips
from .rows import DistillationRow, TrainingRow
from .training_step import TrainingStep

RANDOM_TEACHERS = {"cnn": "efficientnet_b2-random", "passt": "passt-base-random"}  # as the column `teacher` has them
FREQUENCY_MASK, TIME_MASK = 48, 48  # with noise and roll: Speech Commands' recipe, of all the fullest


class Lesson:
    """A teacher beside a training step: the step's loss with it, and its parts on their own.

    Args:
        name: For the column `teacher`.
        teacher: On the student's device.
        step: The student's.
    """

    def __init__(self, name: str, teacher: Teacher, step: TrainingStep) -> None:
        self.name, self.teacher, self.features = name, teacher, step.input_values
        batch_size, num_frames, num_mel_bins = self.features.shape
        self.extractor = FastASTFeatureExtractor(num_mel_bins=num_mel_bins, max_length=num_frames)
        waveforms = torch.tensor(np.stack(noise_clips(batch_size, num_frames)), device=self.features.device)
        samples = torch.full((batch_size,), waveforms.shape[1], device=waveforms.device)
        targets = F.one_hot(step.labels, step.model.config.num_labels).float()
        draws = draw_for_spectrograms(self.extractor, waveforms, FREQUENCY_MASK, TIME_MASK, roll=True)
        self.view = View(waveforms, samples, targets, draws)
        self.inputs = self.hear()

    def loss(self, logits: Tensor) -> Tensor:
        """Of the student's logits and those that the teacher makes now, as `CMKDTrainer` has it."""
        taught = self.teacher.logits(self.view, self.extractor, self.features)
        return cmkd_loss(logits, taught, self.view.targets)

    def teach(self) -> Tensor:
        """The teacher's forward pass alone."""
        return self.teacher.classify(self.inputs)

    def hear(self) -> dict[str, Tensor]:
        """The teacher's front end alone."""
        return self.teacher.inputs(self.view, self.extractor, self.features)

    def rows(self, rows: Sequence[TrainingRow], seconds: np.ndarray) -> list[TrainingRow]:
        """Complete the rows of stock AST and FastAST without a teacher.

        Args:
            rows: n of them, stock AST's first.
            seconds: (rounds, 2 n + 1): the rows' own steps, those with the teacher of all rows but the first, the
                teacher's forward pass and its front end.
        """
        model, front_end = seconds[:, -2], seconds[:, -1]
        one_clip = {name: values[:1] for name, values in self.inputs.items()}
        teacher_gmacs = forward_macs(self.teacher, one_clip) / 1e9
        own_columns: dict[str, Any] = {
            "teacher": self.name,
            "teacher_gmacs": teacher_gmacs,
            "teacher_ms": 1000 * float(np.median(model)),
            "teacher_front_end_ms": 1000 * float(np.median(front_end)),
        }
        complete: list[TrainingRow] = [DistillationRow(**vars(rows[0]), **own_columns)]
        for index, row in enumerate(rows[1:], start=1):
            plain, distilled = seconds[:, index], seconds[:, len(rows) - 1 + index]
            complete.append(
                DistillationRow(
                    distillation_ms=1000 * float(np.median(distilled)),
                    distillation_p95_ms=1000 * float(np.percentile(distilled, 95)),
                    distillation_samples_per_sec=row.batch_size / float(np.median(distilled)),
                    kept=float(np.median((plain + model) / distilled)),
                    kept_by_macs=float(np.median(plain / distilled)) * (row.gmacs + teacher_gmacs) / row.gmacs,
                    **vars(row),
                    **own_columns,
                )
            )
        return complete


def random_teacher(
    kind: str, student: FastASTForAudioClassification, dtype: torch.dtype = torch.float32
) -> tuple[str, Teacher]:
    """A teacher with random weights, which take as long as trained ones, and its name.

    Args:
        kind: `"cnn"` for an EfficientNet-B2, `"passt"` for a PaSST of the base size.
        student: Whose labels, device and clip length it gets.
        dtype: Of the teacher's weights and activations.

    Raises:
        ImportError: timm is not installed.
    """
    config = student.config
    size: dict[str, Any] = {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length}
    fields: dict[str, Any] = {**size, "id2label": config.id2label, "label2id": config.label2id}
    model, extractor = (
        (CNNForAudioClassification(CNNConfig(**fields)), FastASTFeatureExtractor(**size))
        if kind == "cnn"
        else (PasstForAudioClassification(PasstConfig(**fields)), PasstFeatureExtractor(**size))
    )
    return RANDOM_TEACHERS[kind], Teacher(model.to(student.device), extractor, labels_in_order(config), dtype)


def forward_macs(teacher: Teacher, inputs: Mapping[str, Tensor]) -> int:
    """Multiply-accumulates of the matrix products and convolutions in a teacher's forward pass of these inputs."""
    # Attention as the two matrix products that it is: of its fused kernels torch counts some and passes over others.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        teacher.classify(inputs)
    return counter.get_total_flops() // 2
