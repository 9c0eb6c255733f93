"""PSLA's released checkpoints: their names, their numbers, and what is refused."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from pickles_with_code import Touch
from torch import Tensor, nn

from fastast_hf.distillation.teachers.cnn import CNNForAudioClassification
from fastast_hf.distillation.teachers.psla import cnn_from_psla, psla_feature_extractor

LABELS, HEADS = 6, 4
# EfficientNet-B2 as PSLA's code counts it: for each block its width, its expansion, its kernel and its output.
STAGES = [
    # blocks, expansion, kernel, channels
    (2, 1, 3, 16),
    (3, 6, 3, 24),
    (3, 6, 5, 48),
    (4, 6, 3, 88),
    (4, 6, 5, 120),
    (5, 6, 5, 208),
    (2, 6, 3, 352),
]
# A few of its weights and where they belong, written out by hand.
LANDMARKS = {
    "effnet._conv_stem.weight": "backbone.conv_stem.weight",
    "effnet._bn0.running_mean": "backbone.bn1.running_mean",
    "effnet._blocks.0._depthwise_conv.weight": "backbone.blocks.0.0.conv_dw.weight",
    "effnet._blocks.1._project_conv.weight": "backbone.blocks.0.1.conv_pw.weight",
    "effnet._blocks.1._bn1.bias": "backbone.blocks.0.1.bn1.bias",
    "effnet._blocks.1._bn2.running_var": "backbone.blocks.0.1.bn2.running_var",
    "effnet._blocks.2._expand_conv.weight": "backbone.blocks.1.0.conv_pw.weight",
    "effnet._blocks.4._bn0.weight": "backbone.blocks.1.2.bn1.weight",
    "effnet._blocks.5._se_reduce.bias": "backbone.blocks.2.0.se.conv_reduce.bias",
    "effnet._blocks.11._se_expand.weight": "backbone.blocks.3.3.se.conv_expand.weight",
    "effnet._blocks.12._bn1.running_mean": "backbone.blocks.4.0.bn2.running_mean",
    "effnet._blocks.20._project_conv.weight": "backbone.blocks.5.4.conv_pwl.weight",
    "effnet._blocks.22._bn2.bias": "backbone.blocks.6.1.bn3.bias",
    "effnet._conv_head.weight": "backbone.conv_head.weight",
    "effnet._bn1.running_var": "backbone.bn2.running_var",
    "attention.head_weight": "head.head_weight",
}


def convolution(
    name: str, inputs: int, outputs: int, kernel: int = 1, bias: bool = False
) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
    if bias:
        yield f"{name}.bias", 0.1 * torch.randn(outputs)


def batch_norm(name: str, channels: int) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", 1 + 0.2 * torch.randn(channels)
    yield f"{name}.bias", 0.2 * torch.randn(channels)
    yield f"{name}.running_mean", 0.2 * torch.randn(channels)
    yield f"{name}.running_var", 0.01 + torch.rand(channels)  # small ones, where the epsilon shows
    yield f"{name}.num_batches_tracked", torch.tensor(7)


def block(name: str, inputs: int, outputs: int, expansion: int, kernel: int) -> Iterator[tuple[str, Tensor]]:
    width, squeezed = inputs * expansion, max(1, inputs // 4)
    if expansion != 1:
        yield from convolution(f"{name}._expand_conv", inputs, width)
        yield from batch_norm(f"{name}._bn0", width)
    yield f"{name}._depthwise_conv.weight", torch.randn(width, 1, kernel, kernel) / kernel
    yield from batch_norm(f"{name}._bn1", width)
    yield from convolution(f"{name}._se_reduce", width, squeezed, bias=True)
    yield from convolution(f"{name}._se_expand", squeezed, width, bias=True)
    yield from convolution(f"{name}._project_conv", width, outputs)
    yield from batch_norm(f"{name}._bn2", outputs)


def effnet_weights() -> Iterator[tuple[str, Tensor]]:
    yield from convolution("effnet._conv_stem", 1, 32, 3)
    yield from batch_norm("effnet._bn0", 32)
    index, channels = 0, 32
    for blocks, expansion, kernel, outputs in STAGES:
        for _ in range(blocks):
            yield from block(f"effnet._blocks.{index}", channels, outputs, expansion, kernel)
            index, channels = index + 1, outputs
    yield from convolution("effnet._conv_head", channels, 1408)
    yield from batch_norm("effnet._bn1", 1408)


def attention_weights() -> Iterator[tuple[str, Tensor]]:
    for name in ("att", "cla"):
        for head in range(HEADS):
            yield from convolution(f"attention.{name}.{head}", 1408, LABELS, bias=True)
    yield "attention.head_weight", torch.tensor([0.1, 0.4, 0.2, 0.25])


@pytest.fixture(scope="module")
def psla() -> dict[str, Tensor]:
    """Random weights in the layout of PSLA's code."""
    torch.manual_seed(0)
    return dict([*effnet_weights(), *attention_weights()])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "as_mdl.pth"


def official_probabilities(effnet: nn.Module, weights: dict[str, Tensor], clips: Tensor) -> Tensor:
    """What PSLA's code computes behind its backbone: (B, frames, mel bins) to (B, labels)."""
    features = effnet.extract_features(clips.unsqueeze(1).transpose(2, 3)).mean(dim=2, keepdim=True)
    total = torch.zeros(len(clips), LABELS)
    for head in range(HEADS):
        attention, scores = (
            nn.functional.conv2d(
                features, weights[f"attention.{name}.{head}.weight"], weights[f"attention.{name}.{head}.bias"]
            )[:, :, 0].sigmoid()
            for name in ("att", "cla")
        )
        attention = attention.clamp(1e-7, 1 - 1e-7)
        pooled = (scores * attention / attention.sum(dim=2, keepdim=True)).sum(dim=2)
        total = total + weights["attention.head_weight"][head] * pooled
    return total


@pytest.mark.parametrize(
    "frames", [100, pytest.param(512, marks=pytest.mark.slow), pytest.param(1056, marks=pytest.mark.slow)]
)
def test_output_equals_that_of_the_official_backbone(psla: dict[str, Tensor], file: Path, frames: int) -> None:
    package = pytest.importorskip("efficientnet_pytorch", minversion="0.7.0")
    effnet = package.EfficientNet.from_name("efficientnet-b2", in_channels=1)
    if package.__version__ != "0.7.0":  # which PSLA pins; later ones pad otherwise
        pytest.skip(f"efficientnet_pytorch {package.__version__}")
    backbone = {key.removeprefix("effnet."): weight for key, weight in psla.items() if key.startswith("effnet.")}
    own = effnet.state_dict()
    effnet.load_state_dict(backbone | {key: own[key] for key in ("_fc.weight", "_fc.bias")})
    torch.save(psla, file)
    clips = torch.randn(2, frames, 128, generator=torch.Generator().manual_seed(frames))
    with torch.no_grad():
        expected = official_probabilities(effnet.eval(), psla, clips)
        found = cnn_from_psla(file)(clips).logits.sigmoid()
    assert expected.std(dim=0).min() > 1e-4
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)


def test_every_weight_lands(psla: dict[str, Tensor], file: Path) -> None:
    torch.save(psla, file)
    state = cnn_from_psla(file).state_dict()
    for old, new in LANDMARKS.items():
        assert torch.equal(state[new], psla[old]), old
    for name, own in (("att", "attention"), ("cla", "scores")):
        for kind in ("weight", "bias"):
            for head, part in enumerate(state[f"head.{own}.{kind}"].unflatten(0, (HEADS, LABELS))):
                assert torch.equal(part.flatten(), psla[f"attention.{name}.{head}.{kind}"].flatten())
    # Both networks list their weights in the order in which they are passed through: the order proves the map.
    given = [weight for key, weight in psla.items() if key.startswith("effnet.")]
    landed = [weight for key, weight in state.items() if key.startswith("backbone.")]
    assert len(given) == 506 and all(torch.equal(one, other) for one, other in zip(given, landed, strict=True))


def test_model_is_psla_and_survives_a_checkpoint(psla: dict[str, Tensor], file: Path, tmp_path: Path) -> None:
    torch.save(psla, file)
    names = dict(enumerate(["dog", "rain", "fire", "clock", "sneeze", "engine"]))
    model = cnn_from_psla(file, id2label=names, label2id={name: index for index, name in names.items()})
    config = model.config
    assert (config.backbone, config.head, config.attention_heads) == ("efficientnet_b2", "psla", HEADS)
    assert (config.num_labels, config.id2label, config.label2id["fire"]) == (LABELS, names, 2)
    assert config.problem_type == "multi_label_classification" and not model.training
    model.save_pretrained(tmp_path / "psla")
    again = CNNForAudioClassification.from_pretrained(tmp_path / "psla")
    assert {module.eps for module in again.modules() if isinstance(module, nn.BatchNorm2d)} == {1e-3}
    clip = torch.randn(1, 100, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(again(clip).logits, model(clip).logits, atol=1e-5)


def test_names_of_a_parallel_model_and_the_classifier_are_dropped(psla: dict[str, Tensor], file: Path) -> None:
    extra = {"effnet._fc.weight": torch.zeros(1000, 1408), "effnet._fc.bias": torch.zeros(1000)}
    torch.save({f"module.{key}": weight for key, weight in (psla | extra).items()}, file)
    state = cnn_from_psla(file).state_dict()
    assert all(torch.equal(state[new], psla[old]) for old, new in LANDMARKS.items())


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ("attention.head_weight", "has no weight 'attention.head_weight'"),
        ("attention.cla.2.bias", "has no weight 'attention.cla.2.bias'"),
        ("effnet._blocks.7._bn1.weight", r"is of another network than .* \(Missing key\(s\).*blocks.2.2.bn2.weight"),
        ("effnet._conv_stem.weight", r"is of another network than .* \(Missing key\(s\).*conv_stem.weight"),
    ],
)
def test_a_missing_weight_is_named(psla: dict[str, Tensor], file: Path, lacking: str, message: str) -> None:
    torch.save({key: weight for key, weight in psla.items() if key != lacking}, file)
    with pytest.raises(ValueError, match=rf"as_mdl.pth {message}") as caught:
        cnn_from_psla(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "more",
    ["effnet._blocks.1._expand_conv.weight", "effnet._blocks.23._bn1.weight", "effnet.x"],
)
def test_weights_of_another_network_are_refused(psla: dict[str, Tensor], file: Path, more: str) -> None:
    torch.save(psla | {more: torch.zeros(3)}, file)
    with pytest.raises(ValueError, match=r"as_mdl.pth is of another network than .* \(Unexpected key\(s\)") as caught:
        cnn_from_psla(file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_labels_of_another_number_are_refused(psla: dict[str, Tensor], file: Path) -> None:
    torch.save(psla, file)
    with pytest.raises(ValueError, match=r"2 labels given, .*as_mdl.pth has 6") as caught:
        cnn_from_psla(file, id2label={0: "dog", 1: "rain"})
    assert "\n" not in str(caught.value)


def as_saved(file: Path, code: Touch) -> None:
    torch.save({"module.effnet._conv_stem.weight": torch.zeros(1), "code": code}, file)


def as_saved_long_ago(file: Path, code: Touch) -> None:
    torch.save({"code": code}, file, _use_new_zipfile_serialization=False)


def as_a_pickle(file: Path, code: Touch) -> None:
    file.write_bytes(pickle.dumps(code, protocol=2))


@pytest.mark.parametrize("write", [as_saved, as_saved_long_ago, as_a_pickle])
def test_code_is_refused_and_not_run(file: Path, tmp_path: Path, write: Callable[[Path, Touch], None]) -> None:
    trace = tmp_path / "trace"
    write(file, Touch(trace))
    with pytest.raises(
        ValueError, match=r"as_mdl.pth holds .*code.* and was not read: give a file of weights"
    ) as caught:
        cnn_from_psla(file)
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)
    assert not trace.exists()
    torch.load(file, weights_only=False) if write is not as_a_pickle else pickle.loads(file.read_bytes())
    assert trace.exists()  # so it is code that was refused


def write_text(file: Path) -> None:
    file.write_text("hello there\n" * 20)


def write_nothing(file: Path) -> None:
    file.write_bytes(b"")


def write_half(file: Path) -> None:
    torch.save({"weight": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[:700])


def write_other_archive(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")


def write_number(file: Path) -> None:
    torch.save({"epoch": 3}, file)


def write_tensor(file: Path) -> None:
    torch.save(torch.zeros(3), file)


def write_numbered(file: Path) -> None:
    torch.save({3: torch.zeros(3)}, file)


def write_nested(file: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, file)


def write_other_weights(file: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), file)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_text, "is no torch checkpoint, or cut off"),
        (write_nothing, "is no torch checkpoint, or cut off"),
        (write_half, "is no torch checkpoint, or cut off"),
        (write_other_archive, "is no torch checkpoint, or cut off"),
        (write_number, "holds no weights by name"),
        (write_tensor, "holds no weights by name"),
        (write_numbered, "holds no weights by name"),
        (write_nested, "holds no weights by name"),
        (write_other_weights, "has no weight 'attention.head_weight': give a checkpoint of PSLA's"),
    ],
)
def test_what_is_no_checkpoint_of_psla_is_refused(file: Path, write: Callable[[Path], None], message: str) -> None:
    write(file)
    with pytest.raises(ValueError, match=f"as_mdl.pth {message}") as caught:
        cnn_from_psla(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.pth", "."])
def test_no_such_file_and_a_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="no such file; give the checkpoint that was downloaded") as caught:
        cnn_from_psla(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_front_end_divides_by_the_standard_deviation() -> None:
    extractor = psla_feature_extractor()
    audio = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(0)).numpy()
    normalised = torch.from_numpy(extractor(audio, sampling_rate=16000, return_tensors="np").input_values)
    extractor.do_normalize = False
    plain = torch.from_numpy(extractor(audio, sampling_rate=16000, return_tensors="np").input_values)
    assert normalised.shape == (1, 1056, 128)
    assert torch.allclose(normalised, (plain + 4.6476) / 4.5699, atol=1e-5)
