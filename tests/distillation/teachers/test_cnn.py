"""CNN teachers: heads against plain loops, checkpoints, ImageNet weights, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fastast_hf.distillation.teachers.cnn import (
    AttentionHead,
    CNNConfig,
    CNNForAudioClassification,
    MeanHead,
    cnn_from_imagenet,
)

Make = Callable[..., CNNForAudioClassification]
SMALL = {"backbone": "test_efficientnet", "num_labels": 5, "num_mel_bins": 32, "max_length": 64}
# A network each whose last layers timm counts to the features, to the head's norm, and to the head.
BACKBONES = ["test_efficientnet", "test_resnet", "test_convnext", "mobilenetv3_small_050"]
REFUSED = [
    # config fields, what is said
    ({"backbone": "efficientnet_b99"}, r"timm can't make 'efficientnet_b99' \(Unknown model .*timm.list_models\(\)"),
    ({"backbone": "test_vit"}, "'test_vit' makes no feature map of a picture of 32 x 64: choose a CNN"),
    ({"backbone": "test_mambaout"}, "makes no feature map .* choose a CNN"),  # channels last
    ({"backbone": "vgg11", "drop_path_rate": 0.1}, "timm can't make 'vgg11' .*drop_path_rate"),
    ({"backbone": "efficientvit_b0"}, "timm can't make 'efficientvit_b0' .*pooling"),
]
BAD_SHAPES = [(2, 64), (2, 1, 64, 32), (2, 64, 31), (2, 32, 64)]


@pytest.fixture
def make_cnn() -> Make:
    """Builds a small CNN in eval mode; config fields replace the small ones.

    Its batch norms have seen a batch: with none, features die out layer by layer, and hardly any mistake would show.
    """

    def make(seed: int = 0, **fields: Any) -> CNNForAudioClassification:
        torch.manual_seed(seed)
        model = CNNForAudioClassification(CNNConfig(**{**SMALL, **fields})).train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            model(clips(seed=1))
        return model.eval()

    return make


def clips(frames: int = 64, mel_bins: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(3, frames, mel_bins, generator=torch.Generator().manual_seed(seed))


def psla_probabilities(features: Tensor, head: AttentionHead) -> list[list[float]]:
    """Gong et al. 2021, §3.3, one number after another in double precision."""
    heads, labels = head.num_heads, head.attention.out_channels // head.num_heads
    weights = {
        name: (layer.weight.detach().double()[..., 0], layer.bias.detach().double())
        for name, layer in (("attention", head.attention), ("scores", head.scores))
    }
    result = []
    for clip in features.double():
        frames = [clip[:, :, frame].mean(dim=1) for frame in range(clip.shape[2])]
        probabilities = []
        for label in range(labels):
            total = 0.0
            for index in range(heads):
                row = index * labels + label
                sigmoids = {
                    name: [1 / (1 + math.exp(-(float(weight[row] @ frame) + float(bias[row])))) for frame in frames]
                    for name, (weight, bias) in weights.items()
                }
                attention = [min(max(a, 1e-7), 1 - 1e-7) for a in sigmoids["attention"]]
                pooled = sum(a * c for a, c in zip(attention, sigmoids["scores"], strict=True)) / sum(attention)
                total += head.head_weight[index].item() * pooled
            probabilities.append(total)
        result.append(probabilities)
    return result


def random_head(num_heads: int = 3, gain: float = 3.0) -> AttentionHead:
    torch.manual_seed(0)
    head = AttentionHead(num_features=6, num_labels=4, num_heads=num_heads)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(gain)
        head.head_weight.copy_(torch.tensor([0.5, 0.1, 0.3])[:num_heads])
    return head


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("head", ["mean", "psla"])
def test_loss_reaches_every_parameter(make_cnn: Make, backbone: str, head: str) -> None:
    model = make_cnn(backbone=backbone, head=head).train()
    output = model(clips(), labels=torch.tensor([0, 1, 4]))
    output.loss.backward()
    assert output.logits.shape == (3, 5)
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_a_picture_has_mel_bins_as_rows_and_frames_as_columns(make_cnn: Make) -> None:
    model = make_cnn()
    seen: list[Tensor] = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(clips())
    assert torch.equal(seen[0], clips().transpose(1, 2)[:, None])


def test_mean_head_is_a_linear_layer_on_the_mean() -> None:
    head = MeanHead(num_features=2, num_labels=2)
    head.linear.weight.data = torch.tensor([[1.0, 2.0], [0.5, -1.0]])
    head.linear.bias.data = torch.tensor([0.25, -0.5])
    features = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]], [[0.0, 1.0, 0.0], [2.0, 0.0, -6.0]]]])
    # The means are 4 and -0.5: 4 - 1 + 0.25 and 2 + 0.5 - 0.5.
    assert torch.equal(head(features), torch.tensor([[3.25, 2.0]]))


@pytest.mark.parametrize("num_heads", [1, 3])
def test_psla_head_equals_loops_in_double_precision(num_heads: int) -> None:
    head, features = random_head(num_heads), 2 * torch.randn(2, 6, 3, 7, generator=torch.Generator().manual_seed(1))
    expected = torch.tensor(psla_probabilities(features, head))
    assert expected.max() - expected.min() > 0.1
    assert torch.allclose(head(features).sigmoid(), expected.float(), atol=2e-6)


@pytest.mark.parametrize(("weight", "expected"), [(-1.0, 1e-7), (3.0, 1 - 1e-7)])
def test_psla_scores_beyond_a_probability_are_clipped(weight: float, expected: float) -> None:
    head = random_head()
    head.head_weight.data.fill_(weight)
    head.scores.bias.data.fill_(20.0)
    logits = head(torch.zeros(1, 6, 2, 3))
    assert torch.isfinite(logits).all()
    assert torch.allclose(logits.sigmoid(), torch.full((1, 4), expected), rtol=1e-6, atol=1e-9)


def test_psla_attention_that_is_nowhere_weighs_frames_alike() -> None:
    head, features = random_head(), torch.randn(1, 6, 2, 5, generator=torch.Generator().manual_seed(1))
    head.attention.bias.data.fill_(-200.0)
    scores = head.scores(features.mean(2)).sigmoid().mean(2).unflatten(1, (3, 4))
    expected = (scores * head.head_weight[:, None]).sum(1)
    assert torch.allclose(head(features).sigmoid(), expected, atol=1e-6)


def test_one_label_costs_cross_entropy(make_cnn: Make) -> None:
    model, labels = make_cnn(), torch.tensor([4, 0, 2])
    output = model(clips(), labels=labels)
    assert torch.equal(output.loss, nn.functional.cross_entropy(output.logits, labels))


@pytest.mark.parametrize("head", ["mean", "psla"])
def test_several_labels_cost_binary_cross_entropy(make_cnn: Make, head: str) -> None:
    model = make_cnn(problem_type="multi_label_classification", head=head)
    labels = torch.tensor([[1.0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 1]])
    output = model(clips(), labels=labels)
    assert torch.equal(output.loss, nn.functional.binary_cross_entropy_with_logits(output.logits, labels))
    if head == "psla":  # PSLA's own loss is that of its probabilities
        own = nn.functional.binary_cross_entropy(output.logits.sigmoid(), labels)
        assert torch.allclose(output.loss, own, atol=1e-6)


def test_without_labels_there_is_no_loss_and_a_tuple_has_the_logits(make_cnn: Make) -> None:
    model = make_cnn()
    assert model(clips()).loss is None
    assert torch.equal(model(clips(), return_dict=False)[0], model(clips()).logits)


@pytest.mark.parametrize("frames", [16, 50, 64, 200])
@pytest.mark.parametrize("head", ["mean", "psla"])
def test_other_numbers_of_frames_will_do(make_cnn: Make, head: str, frames: int) -> None:
    model = make_cnn(head=head)
    logits = model(clips(frames)).logits
    assert logits.shape == (3, 5) and torch.isfinite(logits).all()
    assert torch.allclose(model(clips(frames)[1:2]).logits, logits[1:2], atol=1e-5)


@pytest.mark.parametrize("head", ["mean", "psla"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_checkpoint_gives_the_same_model(
    make_cnn: Make, tmp_path: Path, head: str, channels_last: bool, dtype: torch.dtype
) -> None:
    model = make_cnn(head=head, batch_norm_eps=1e-3, num_labels=2, id2label={0: "dog", 1: "rain"}).to(dtype)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    model.save_pretrained(tmp_path)
    again = CNNForAudioClassification.from_pretrained(tmp_path, dtype=dtype)
    assert not again.training and again.config.id2label == {0: "dog", 1: "rain"}
    assert {module.eps for module in again.modules() if isinstance(module, nn.BatchNorm2d)} == {1e-3}
    state = again.state_dict()
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(state[key], weight) for key, weight in model.state_dict().items())
    with torch.no_grad():
        logits, expected = again(clips().to(dtype)).logits, model(clips().to(dtype)).logits
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    assert expected.std(0).min() > 0.02 and torch.allclose(logits, expected, atol=tolerance)


def test_a_bf16_model_agrees_with_its_float32_one(make_cnn: Make) -> None:
    model = make_cnn(head="psla")
    with torch.no_grad():
        expected = model(clips()).logits
        logits = model.bfloat16()(clips().bfloat16()).logits
    assert expected.std(0).min() > 0.02 and torch.allclose(logits.float(), expected, atol=0.02)


@pytest.mark.parametrize("head", ["mean", "psla"])
def test_a_head_that_a_checkpoint_lacks_begins_afresh(make_cnn: Make, tmp_path: Path, head: str) -> None:
    other = make_cnn(head="psla" if head == "mean" else "mean")
    other.save_pretrained(tmp_path)
    model = CNNForAudioClassification.from_pretrained(tmp_path, head=head)
    backbone = other.backbone.state_dict()
    assert all(torch.equal(weight, backbone[key]) for key, weight in model.backbone.state_dict().items())
    bound = 1 / model.backbone.num_features**0.5  # of torch's own initialisation, uniform around 0
    for module in model.head.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d)):
            for parameter in (module.weight, module.bias):
                assert 0.5 * bound < parameter.abs().max() <= bound
    if head == "psla":
        assert torch.equal(model.head.head_weight, torch.full((4,), 0.25))


def test_drop_path_is_for_training_alone(make_cnn: Make) -> None:
    model, plain = make_cnn(backbone="efficientnet_lite0", drop_path_rate=0.9), make_cnn(backbone="efficientnet_lite0")
    model.load_state_dict(plain.state_dict())
    assert torch.equal(model(clips()).logits, plain(clips()).logits)
    # Batch norms of a batch would differ from those of the running statistics.
    for module in model.modules():
        module.training = not isinstance(module, nn.BatchNorm2d)
    assert not torch.allclose(model(clips()).logits, plain(clips()).logits)


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_what_is_no_cnn_of_timm_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        CNNForAudioClassification(CNNConfig(**{**SMALL, **fields}))
    assert "\n" not in str(caught.value)


def test_another_head_is_refused() -> None:
    with pytest.raises(StrictDataclassError, match="head is 'max': choose one of mean, psla") as caught:
        CNNConfig(head="max")
    assert isinstance(caught.value.__cause__, ValueError) and "\n" not in str(caught.value.__cause__)


@pytest.mark.parametrize("shape", BAD_SHAPES)
def test_another_shape_is_refused(make_cnn: Make, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes \(batch, frames, 32 mel bins\)") as caught:
        make_cnn()(torch.zeros(shape))
    assert str(shape) in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A safetensors file as timm's for `test_efficientnet`, with a classifier and batch norms of its own."""
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", pretrained=False)
    state = {key: torch.rand_like(weight) if weight.is_floating_point() else weight for key, weight in
             network.state_dict().items()}  # fmt: skip
    file = tmp_path_factory.mktemp("imagenet") / "model.safetensors"
    save_file(state, file)
    return file


def test_imagenet_weights_land_and_the_stem_is_averaged(imagenet: Path) -> None:
    model = cnn_from_imagenet("test_efficientnet", imagenet, num_labels=7, head="psla", drop_path_rate=0.1)
    given, own = load_file(imagenet), model.backbone.state_dict()
    assert set(given) - set(own) == {"classifier.weight", "classifier.bias"}
    for key, weight in own.items():
        expected = given[key]
        if key == "conv_stem.weight":
            red, green, blue = expected.unbind(1)
            expected = ((red + green + blue) / 3)[:, None]
        assert torch.allclose(weight, expected), key
    assert not model.training and model.config.backbone == "test_efficientnet"
    assert model(torch.zeros(1, 64, 128)).logits.shape == (1, 7)


def test_a_grey_picture_looks_alike_to_the_averaged_stem(imagenet: Path) -> None:
    network = timm.create_model("test_efficientnet", pretrained=False, num_classes=0, global_pool="").eval()
    network.load_state_dict({key: weight for key, weight in load_file(imagenet).items() if "classifier" not in key})
    model = cnn_from_imagenet("test_efficientnet", imagenet)
    picture = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    # A stem that takes the mean of the channels' weights sees a third of what the same picture in all three gives.
    with torch.no_grad():
        stem = network.conv_stem(picture.expand(-1, 3, -1, -1)) / 3
        assert torch.allclose(model.backbone.conv_stem(picture), stem, atol=1e-5)


def test_a_name_may_say_which_weights(imagenet: Path) -> None:
    model = cnn_from_imagenet("test_efficientnet.r160_in1k", imagenet)
    assert model.config.backbone == "test_efficientnet"


@pytest.mark.parametrize("weights", ["missing.safetensors", "."])
def test_missing_weights_are_named(tmp_path: Path, weights: str) -> None:
    with pytest.raises(FileNotFoundError, match="no such file; give a safetensors file of test_eff") as caught:
        cnn_from_imagenet("test_efficientnet", tmp_path / weights)
    assert "\n" not in str(caught.value)


def foreign_network(file: Path) -> None:
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), file)


def wider_network(file: Path) -> None:
    state = timm.create_model("test_efficientnet", pretrained=False).state_dict()
    state["conv_head.weight"] = torch.cat([state["conv_head.weight"]] * 2)
    save_file(state, file)


def half_a_network(file: Path) -> None:
    state = timm.create_model("test_efficientnet", pretrained=False).state_dict()
    save_file({key: weight for key, weight in state.items() if not key.startswith("conv_head")}, file)


@pytest.mark.parametrize("write", [foreign_network, wider_network, half_a_network])
def test_weights_of_another_network_are_refused(tmp_path: Path, write: Callable[[Path], None]) -> None:
    file = tmp_path / "model.safetensors"
    write(file)
    with pytest.raises(ValueError, match=r"is of another network than test_efficientnet: it has no \w+\.") as caught:
        cnn_from_imagenet("test_efficientnet", file)
    assert "\n" not in str(caught.value)


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_text("weights\n" * 20)
    with pytest.raises(ValueError, match=r"is no safetensors file .* give one of test_efficientnet's") as caught:
        cnn_from_imagenet("test_efficientnet", file)
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_fetched_are_named_with_the_ways_out() -> None:
    said = r"of mobilenetv3_small_050 can't be fetched .*--imagenet-weights FILE.*--model none"
    with pytest.raises(OSError, match=said) as caught:
        cnn_from_imagenet("mobilenetv3_small_050")  # the tests are without a network
    assert "\n" not in str(caught.value)


def test_a_network_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match=r"timm can't make 'mobilenetv3_small_050.none' with its weights") as caught:
        cnn_from_imagenet("mobilenetv3_small_050.none")
    assert "\n" not in str(caught.value)
