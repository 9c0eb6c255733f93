"""What a teacher costs in memory: no gradients, nothing kept for them, and nothing between processes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from running_scripts import ROOT, SMALL, free_port, in_new_process
from small_corpora import write_esc50
from torch import Tensor
from torch.utils.data import default_collate
from transformers import TrainingArguments

from fastast_hf import (
    FastASTConfig,
    FastASTFeatureExtractor,
    FastASTForAudioClassification,
    PasstConfig,
    PasstFeatureExtractor,
    PasstForAudioClassification,
)
from fastast_hf.distillation.teachers.cnn import CNNConfig, CNNForAudioClassification
from fastast_hf.distillation.teachers.teacher import Teacher
from fastast_hf.distillation.trainer import CMKDTrainer
from fastast_hf.training.arguments import AugmentationArguments
from fastast_hf.training.trainer import FastASTTrainer

BATCH, CLASSES, FRAMES = 4, 5, 64
NAMES = [f"class {number}" for number in range(CLASSES)]
LABELS: dict[str, Any] = {"id2label": dict(enumerate(NAMES)), "label2id": {n: i for i, n in enumerate(NAMES)}}
STUDENT = FastASTFeatureExtractor(max_length=FRAMES)
SIZES = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 48}

# Of each step's model as it goes through DDP, and of the teacher after it.
NOTE = """
import json, sys
from pathlib import Path
from running_scripts import load_script
from fastast_hf.distillation.trainer import CMKDTrainer

step = CMKDTrainer.training_step

def note(self, model, *args, **kwargs):
    loss = step(self, model, *args, **kwargs)
    weights = list(self.teacher.model.parameters())
    Path(sys.argv[1], f"{self.args.process_index}.json").write_text(json.dumps({
        "wrapped": type(model).__name__,
        "synchronised": model._get_ddp_logging_data()["num_parameter_tensors"],
        "bytes": model._get_ddp_logging_data()["total_parameter_size_bytes"],
        "student": len(list(self.model.parameters())),
        "student_bytes": sum(weight.nbytes for weight in self.model.parameters()),
        "teacher_gradients": sum(weight.grad is not None or weight.requires_grad for weight in weights),
        "teacher": len(weights),
    }))
    return loss

CMKDTrainer.training_step = note
sys.exit(load_script("run_kd").main(sys.argv[2:]))
"""


def cnn(width: str) -> Teacher:
    config = CNNConfig(backbone=f"mobilenetv3_small_{width}", max_length=FRAMES, **LABELS)
    return Teacher(CNNForAudioClassification(config), STUDENT, NAMES)


def passt(layers: int) -> Teacher:
    config = PasstConfig(**{**SIZES, "num_hidden_layers": layers}, max_length=FRAMES, **LABELS)
    return Teacher(PasstForAudioClassification(config), PasstFeatureExtractor(max_length=FRAMES), NAMES)


TEACHERS: dict[str, Callable[[], Teacher]] = {
    "small CNN": lambda: cnn("050"),
    "large CNN": lambda: cnn("100"),
    "PaSST": lambda: passt(1),
    "deep PaSST": lambda: passt(4),
}


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Any]:
    def make(teacher: Teacher | None, loss: str) -> Any:
        torch.manual_seed(0)
        model = FastASTForAudioClassification(FastASTConfig(**SIZES, max_length=FRAMES, tome_r=2, **LABELS))
        args = TrainingArguments(str(tmp_path / "out"), use_cpu=True, report_to="none", disable_tqdm=True)
        augment = AugmentationArguments(frequency_mask=20, time_mask=30, roll=True, gain=3.0)
        kind: Any = FastASTTrainer if teacher is None else CMKDTrainer
        teaching = {} if teacher is None else {"teacher": teacher}
        return kind(model, args, extractor=STUDENT, loss=loss, augment=augment, **teaching)

    return make


def batch() -> dict[str, Tensor]:
    samples = STUDENT.samples_of(FRAMES)
    generator = torch.Generator().manual_seed(0)
    items = [
        {
            "waveforms": 0.1 * torch.randn(samples, generator=generator),
            "num_samples": samples,
            "labels": torch.eye(CLASSES)[number],
            "clip": number,
            "unreadable": -1,
        }
        for number in range(BATCH)
    ]
    return default_collate(items)


def kept_bytes(trainer: Any) -> int:
    """Bytes that the loss keeps for its gradient, weights included."""
    kept: dict[int, Tensor] = {}  # by address; held, so that none is used again

    def remember(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    trainer.model.train()
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        trainer.compute_loss(trainer.model, batch()).backward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
@pytest.mark.parametrize("teacher", TEACHERS.values(), ids=TEACHERS)
def test_for_a_gradient_a_teacher_keeps_no_more_than_its_probabilities(
    teacher: Callable[[], Teacher], loss: str, make_trainer: Callable[..., Any]
) -> None:
    """Beside what plain fine-tuning keeps: the teacher's probabilities and, of one label,
    the logarithm of the student's, float32."""
    plain, taught = make_trainer(None, loss), make_trainer(teacher(), loss)
    extra = kept_bytes(taught) - kept_bytes(plain)
    assert 0 < extra <= 2 * BATCH * CLASSES * 4
    assert all(not weight.requires_grad and weight.grad is None for weight in taught.teacher.model.parameters())


def test_the_optimiser_has_the_students_weights_alone(make_trainer: Callable[..., Any]) -> None:
    trainer = make_trainer(cnn("050"), "cross_entropy")
    trainer.create_optimizer()
    held = {id(weight) for group in trainer.optimizer.param_groups for weight in group["params"]}
    assert held == {id(weight) for weight in trainer.model.parameters()}
    assert not held & {id(weight) for weight in trainer.teacher.model.parameters()}
    assert not any("teacher" in name for name in trainer.model.state_dict())


@pytest.mark.slow
def test_between_processes_goes_nothing_of_the_teacher(tmp_path: Path) -> None:
    config = CNNConfig(backbone="mobilenetv3_small_050", max_length=FRAMES, id2label={0: "dog", 1: "rain"})
    CNNForAudioClassification(config).save_pretrained(tmp_path / "teacher")
    STUDENT.save_pretrained(tmp_path / "teacher")
    (tmp_path / "note.py").write_text(NOTE)
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port())]
    settings = [*SMALL, "--corpus", "esc50", "--data", write_esc50(tmp_path / "esc50"), "--fold", 1, "--max_steps", 2]
    settings += ["--teacher", tmp_path / "teacher", "--save_strategy", "no", "--output_dir", tmp_path / "out"]
    command = [sys.executable, *launch, tmp_path / "note.py", tmp_path, *settings]
    done = in_new_process(
        [str(part) for part in command], PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    )
    assert (tmp_path / "out" / "results.json").is_file(), done.stderr
    for process in (0, 1):
        noted = json.loads((tmp_path / f"{process}.json").read_text())
        assert noted["wrapped"] == "DistributedDataParallel"
        assert (noted["synchronised"], noted["bytes"]) == (noted["student"], noted["student_bytes"])
        assert noted["teacher"] > 100 and noted["teacher_gradients"] == 0
