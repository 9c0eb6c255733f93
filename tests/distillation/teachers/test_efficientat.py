"""EfficientAT's released checkpoints: their numbers, what they hear, and what is refused."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
import torch
from released_efficientat import BLOCKS, LABELS, channels, released_weights, write_released
from running_scripts import load_script
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from fastast_hf import PasstFeatureExtractor
from fastast_hf.audio import load_audio
from fastast_hf.distillation.teachers.efficientat import efficientat_from_checkpoint
from fastast_hf.distillation.teachers.released import load_released
from fastast_hf.distillation.teachers.teacher import Teacher
from fastast_hf.distillation.trainer import DistillationArguments

NAMES = ["Speech", "Dog", "Rain", "Bell", "Engine", "Music"]


def expected_logits(weights: dict[str, Tensor], clips: Tensor) -> Tensor:
    """MobileNetV3 by its paper, on EfficientAT's names: (B, frames, mel bins) to (B, labels)."""

    def convolved(x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = weights[f"{name}.0.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)
        mean, variance = weights[f"{name}.1.running_mean"], weights[f"{name}.1.running_var"]
        return F.batch_norm(x, mean, variance, weights[f"{name}.1.weight"], weights[f"{name}.1.bias"], eps=1e-3)

    def dense(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = F.hardswish(convolved(clips.transpose(1, 2).unsqueeze(1), "features.0", stride=2))
    for number, (_, _, _, squeezes, swish, stride) in enumerate(BLOCKS, 1):
        name, before, layer = f"features.{number}.block", x, 0
        activation = F.hardswish if swish else F.relu
        if f"{name}.{2 + squeezes}.0.weight" in weights:  # the first block expands nothing
            x, layer = activation(convolved(x, f"{name}.0")), 1
        x = activation(convolved(x, f"{name}.{layer}", stride, groups=x.shape[1]))
        if squeezes:
            layer += 1
            squeezed = dense(x.mean(dim=(2, 3)), f"{name}.{layer}.conc_se_layers.0.fc1").relu()
            x = x * dense(squeezed, f"{name}.{layer}.conc_se_layers.0.fc2").sigmoid()[:, :, None, None]
        x = convolved(x, f"{name}.{layer + 1}")
        x = x + before if x.shape == before.shape and stride == 1 else x
    x = F.hardswish(convolved(x, "features.16")).mean(dim=(2, 3))
    return dense(F.hardswish(dense(x, "classifier.2")), "classifier.5")


@pytest.mark.parametrize("width", [0.1, 0.4])
def test_logits_equal_an_independent_computation(width: float, tmp_path: Path) -> None:
    noise = torch.randn(2, 150, 128, generator=torch.Generator().manual_seed(0))
    clips = noise * torch.tensor([1.0, 4.0])[:, None, None]
    with torch.no_grad():
        expected = expected_logits(released_weights(width), clips)
        found = efficientat_from_checkpoint(write_released(tmp_path / "mn.pt", width))(clips).logits
    assert expected.std(dim=0).min() > 1e-2
    assert torch.allclose(found, expected, rtol=0, atol=1e-4)


def test_a_released_file_becomes_a_checkpoint_with_its_labels_and_front_end(tmp_path: Path) -> None:
    model, extractor = load_released(str(write_released(tmp_path / "mn01_as.pt")), NAMES)
    model.save_pretrained(tmp_path / "mn")
    extractor.save_pretrained(tmp_path / "mn")
    again = AutoModelForAudioClassification.from_pretrained(tmp_path / "mn").eval()
    front_end = AutoFeatureExtractor.from_pretrained(tmp_path / "mn")
    assert isinstance(front_end, PasstFeatureExtractor)
    assert (front_end.sampling_rate, front_end.max_length, front_end.mean) == (32000, 1000, -4.5)
    assert again.config.id2label == dict(enumerate(NAMES))
    assert again.config.problem_type == "multi_label_classification"
    clip = torch.randn(1, 100, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(again(clip).logits, model(clip).logits, atol=1e-5)


def test_a_released_file_teaches_in_the_students_order_once_its_labels_are_named(tmp_path: Path) -> None:
    file = str(write_released(tmp_path / "mn01_as.pt"))
    with pytest.raises(ValueError, match=r"mn01_as.pt does not name its labels: give --teacher-labels class_labels"):
        DistillationArguments(teacher=file).own_labels()
    rows = [f'{index},/m/{index},"{name}"' for index, name in enumerate(NAMES)]
    (tmp_path / "labels.csv").write_text("\n".join(["index,mid,display_name", *rows]) + "\n")
    own = DistillationArguments(teacher=file, teacher_labels=str(tmp_path / "labels.csv")).own_labels()
    assert own == NAMES
    teacher = Teacher.from_pretrained(file, NAMES[::-1], own_labels=own)
    clip = torch.randn(1, 100, 128)
    assert torch.allclose(teacher.classify({"input_values": clip}), teacher.model(clip).logits.flip(1))


def test_what_is_no_mobilenet_of_theirs_is_refused_in_a_line(tmp_path: Path) -> None:
    weights = released_weights()
    for change, message in (
        ({"classifier.5.bias": None}, "has no weight 'classifier.5.bias': give a released mn"),
        ({"features.3.block.0.0.weight": None}, r"is of another network than MobileNetV3-large \(Missing key"),
        ({"features.0.0.weight": torch.zeros(8, 3, 3, 3)}, r"is of another network .* \(size mismatch"),
    ):
        changed = {key: weight for key, weight in (weights | change).items() if weight is not None}
        torch.save(changed, tmp_path / "mn.pt")
        with pytest.raises(ValueError, match=f"mn.pt {message}") as caught:
            efficientat_from_checkpoint(tmp_path / "mn.pt")
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"2 labels given, .* has {LABELS}"):
        efficientat_from_checkpoint(write_released(tmp_path / "mn.pt"), id2label={0: "a", 1: "b"})


@pytest.mark.parametrize("name", ["mn10_as_hop_20_mAP_456.pt", "mn10_as_mels_40_mAP_453.pt"])
def test_a_file_of_another_front_end_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="than 10 ms and 128 mel bins"):
        efficientat_from_checkpoint(write_released(tmp_path / name))


def test_channels_are_rounded_as_in_the_released_file_of_width_0_4() -> None:
    assert [channels(count, 0.4) for count in (16, 24, 72, 120, 184, 672, 960, 1280)] == [
        8,
        16,
        32,
        48,
        72,
        272,
        384,
        512,
    ]


@pytest.mark.real_audio
@pytest.mark.slow
def test_mn04_tells_esc_10_apart_unseen() -> None:
    data = os.environ.get("FASTAST_TEST_AUDIO")
    if not data or not (checkpoint := Path(data) / "teachers" / "mn04_as_mAP_432.pt").is_file():
        pytest.skip("FASTAST_TEST_AUDIO has no teachers/mn04_as_mAP_432.pt")
    with (Path(data) / "AudioSet" / "class_labels_indices.csv").open(newline="") as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    model, extractor = load_released(str(checkpoint), names)
    with (Path(data) / "ESC-10" / "meta" / "esc50.csv").open(newline="") as file:
        clips = [(Path(data) / "ESC-10" / "audio" / row["filename"], row["category"]) for row in csv.DictReader(file)]
    categories = sorted({category for _, category in clips})
    labels = load_script("mix_scenes").LABELS
    known = torch.tensor([names.index(labels[category][1]) for category in categories])
    right = 0
    for start in range(0, len(clips), 20):
        batch = clips[start : start + 20]
        waveforms = [load_audio(file, 32000) for file, _ in batch]
        with torch.no_grad():
            inputs = extractor(waveforms, sampling_rate=32000, return_tensors="pt").input_values
            found = model(inputs).logits[:, known].argmax(dim=1).tolist()
        right += sum(categories[index] == category for index, (_, category) in zip(found, batch, strict=True))
    print(f"{right} of {len(clips)}")
    assert abs(right / len(clips) - 0.9575) <= 0.005
