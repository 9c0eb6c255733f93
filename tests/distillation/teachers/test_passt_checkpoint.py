"""PaSST from its released checkpoints' layout and from a DeiT: the same numbers, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from released_passt import LABELS, WIDTH, official_weights, random_weight, written
from torch import Tensor
from torch.nn import functional as F

from fastast_hf.distillation.teachers.passt import PasstForAudioClassification
from fastast_hf.distillation.teachers.passt_checkpoint import passt_from_checkpoint, passt_from_deit

# Stride, frames, depth: the settings of small networks in the released layout.
RELEASED = [(10, 998, 2), (12, 998, 1), (14, 998, 1), (16, 998, 3)]

MISSING = ["time_new_pos_embed", "cls_token", "head.1.bias", "blocks.1.attn.qkv.bias", "patch_embed.proj.weight"]

PICTURE = (64, 96)  # 4 x 6 patches of 16
SAME_GRID = {"num_mel_bins": 64, "max_length": 96, "frequency_stride": 16, "time_stride": 16}
DISTILLED = "deit_tiny_distilled_patch16_224"
PLAIN = "deit_tiny_patch16_224"


def clips(frames: int) -> Tensor:
    return torch.randn(1, frames, 128, generator=torch.Generator().manual_seed(frames))


def official_model(weights: dict[str, Tensor], stride: int, frames: int, depth: int, **patchout: int) -> Any:
    """The official implementation with these weights, in eval mode; skips the test where it is not installed."""
    pytest.importorskip("hear21passt")
    from hear21passt.models import passt as official

    official.first_RUN = False  # it prints its first forward pass
    model = official.PaSST(
        img_size=(128, frames), stride=stride, embed_dim=WIDTH, depth=depth, num_heads=2, num_classes=LABELS,
        distilled=True, **patchout,
    )  # fmt: skip
    model.load_state_dict(weights)
    return model.eval()


@pytest.mark.filterwarnings("ignore:Input image size")
@pytest.mark.parametrize(("stride", "frames", "depth"), RELEASED)
@pytest.mark.parametrize("length", [1000, 998, 500, 100])
def test_logits_are_the_official_ones(length: int, stride: int, frames: int, depth: int, tmp_path: Path) -> None:
    weights = official_weights(stride, frames, depth)
    official = official_model(weights, stride, frames, depth)
    model = passt_from_checkpoint(written(tmp_path, weights))
    spectrograms = clips(length)
    with torch.no_grad():
        expected, _ = official(spectrograms.transpose(1, 2)[:, None])
        logits = model(spectrograms).logits
    assert float(expected.abs().mean()) > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Input image size")
@pytest.mark.parametrize(
    ("time", "frequency", "unstructured", "tokens"),
    [(40, 4, 0, 474), (0, 3, 0, 893), (50, 0, 0, 590), (0, 0, 600, 590), (40, 4, 72, 402)],
)
def test_patchout_is_the_official_one(
    time: int, frequency: int, unstructured: int, tokens: int, tmp_path: Path
) -> None:
    weights = official_weights(depth=1)
    file = written(tmp_path, weights)
    patchout = {"s_patchout_t": time, "s_patchout_f": frequency, "u_patchout": unstructured}
    official = official_model(weights, 10, 998, 1, **patchout).train()
    patchout = {"time_patchout": time, "frequency_patchout": frequency, "unstructured_patchout": unstructured}
    model = passt_from_checkpoint(file, **patchout).train()
    spectrograms = clips(998)
    with torch.no_grad():
        torch.manual_seed(0)
        expected, _ = official(spectrograms.transpose(1, 2)[:, None])
        torch.manual_seed(0)
        outputs = model(spectrograms, output_hidden_states=True)
    assert outputs.hidden_states[0].shape == (1, tokens, WIDTH)
    torch.testing.assert_close(outputs.logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("stride", "frames", "depth"), [*RELEASED, (10, 2000, 1), (10, 3000, 1), (16, 160, 1)])
def test_sizes_are_told_from_the_weights(stride: int, frames: int, depth: int, tmp_path: Path) -> None:
    config = passt_from_checkpoint(written(tmp_path, official_weights(stride, frames, depth))).config
    assert (config.frequency_stride, config.time_stride, config.max_length) == (stride, stride, frames)
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (depth, WIDTH, 2)
    assert (config.intermediate_size, config.patch_size, config.num_labels) == (4 * WIDTH, 16, LABELS)
    assert (config.layer_norm_eps, config.problem_type) == (1e-6, "multi_label_classification")


def test_every_weight_is_where_it_belongs(tmp_path: Path) -> None:
    weights = official_weights(depth=2)
    model = passt_from_checkpoint(written(tmp_path, weights))
    assert not model.training
    layer, qkv = model.layers[1], weights["blocks.1.attn.qkv.weight"]
    projections = (layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj)
    assert torch.equal(torch.cat([projection.weight for projection in projections]), qkv)
    assert torch.equal(layer.attention.o_proj.weight, weights["blocks.1.attn.proj.weight"])
    assert torch.equal(layer.layernorm_after.bias, weights["blocks.1.norm2.bias"])
    assert torch.equal(model.embeddings.time_positions[0, 0, 7], weights["time_new_pos_embed"][0, :, 0, 7])
    assert torch.equal(model.embeddings.frequency_positions[0, 5, 0], weights["freq_new_pos_embed"][0, :, 5, 0])
    assert torch.equal(model.classifier.layernorm.bias, weights["head.0.bias"])
    assert torch.equal(model.classifier.dense.weight, weights["head.1.weight"])
    used = sum(weight.numel() for name, weight in weights.items() if not name.startswith("head_dist"))
    assert sum(parameter.numel() for parameter in model.parameters()) == used


def test_labels_and_patchout_are_the_callers(tmp_path: Path) -> None:
    file = written(tmp_path, official_weights(depth=1))
    labels = {index: f"sound {index}" for index in range(LABELS)}
    model = passt_from_checkpoint(file, id2label=labels, problem_type="single_label_classification", time_patchout=9)
    assert model.config.id2label == labels
    assert (model.config.problem_type, model.config.time_patchout) == ("single_label_classification", 9)
    for fields in ({"id2label": {0: "dog", 1: "rain"}}, {"num_labels": 2}):
        with pytest.raises(ValueError, match=r"num_labels=2 contradicts .*passt\.pt, which has 5"):
            passt_from_checkpoint(file, **fields)


def test_an_unknown_stride_is_to_be_given(tmp_path: Path) -> None:
    file = written(tmp_path, official_weights(stride=11, frames=110, depth=1))
    with pytest.raises(ValueError, match="11 rows of patches, as no released PaSST has: give its stride="):
        passt_from_checkpoint(file)
    with pytest.raises(ValueError, match="11 rows of patches, and stride=10 makes 12"):
        passt_from_checkpoint(file, stride=10)
    config = passt_from_checkpoint(file, stride=11).config
    assert (config.position_grid, config.max_length) == ((11, 10), 110)


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_weight_is_named(name: str, tmp_path: Path) -> None:
    weights = official_weights()
    del weights[name]
    with pytest.raises(ValueError, match="has no weight") as raised:
        passt_from_checkpoint(written(tmp_path, weights))
    assert name in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("blocks.0.ls1.gamma", (WIDTH,), "has a weight 'blocks.0.ls1.gamma', for which PaSST has no place"),
        ("cls_token", (1, 1, 100), "is 100 wide, and PaSST's heads are of 64"),
        ("freq_new_pos_embed", (12, WIDTH), r"has a freq_new_pos_embed of shape \(12, 128\)"),
        ("norm.weight", (7,), r"has layernorm.weight of shape \(7,\), where the PaSST of its size has \(128,\)"),
        ("blocks.1.attn.qkv.bias", (383,), r"has layers.1.attention.v_proj.bias of shape \(127,\)"),
    ],
)
def test_weights_of_another_network_are_refused(
    name: str, shape: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    weights = {**official_weights(), name: torch.zeros(shape)}
    with pytest.raises(ValueError, match=message) as raised:
        passt_from_checkpoint(written(tmp_path, weights))
    assert "\n" not in str(raised.value)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    file = written(tmp_path, {"cls_token": Path("code")})
    with pytest.raises(ValueError, match=r"code.* and was not read"):
        passt_from_checkpoint(file)


def make_deit(name: str = DISTILLED, seed: int = 0, **arguments: Any) -> Any:
    """A small timm model in eval mode whose positions are a row's and a column's, each zero on average."""
    sizes = {"depth": 2, "img_size": PICTURE, "embed_dim": 48, "num_heads": 3}
    deit = timm.create_model(name, pretrained=False, **{**sizes, **arguments}).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for key, parameter in deit.named_parameters():
        parameter.copy_(random_weight(key, parameter.shape, generator))
    plane = deit.pos_embed[:, deit.num_prefix_tokens :].unflatten(1, deit.patch_embed.grid_size)
    plane = plane - plane.mean(dim=(1, 2), keepdim=True)
    plane = plane.mean(dim=2, keepdim=True) + plane.mean(dim=1, keepdim=True)
    deit.pos_embed[:, deit.num_prefix_tokens :] = plane.flatten(1, 2)
    return deit


@torch.no_grad()
def last_tokens(model: PasstForAudioClassification, spectrograms: Tensor) -> Tensor:
    return model.layernorm(model(spectrograms, output_hidden_states=True).hidden_states[-1])


@pytest.mark.parametrize("arguments", [{}, {"in_chans": 1}, {"num_classes": 0}, {"init_values": 0.1}], ids=str)
def test_a_gray_picture_gives_the_tokens_of_the_deit(arguments: dict[str, Any]) -> None:
    deit, spectrograms = make_deit(**arguments), clips(96)[..., :64]
    picture = spectrograms.transpose(1, 2)[:, None].expand(-1, arguments.get("in_chans", 3), -1, -1)
    model = passt_from_deit(deit, **SAME_GRID)
    torch.testing.assert_close(last_tokens(model, spectrograms), deit.forward_features(picture), rtol=0, atol=1e-5)
    assert not model.training and model.config.num_labels == 2


def test_without_a_distillation_token_the_class_token_is_copied() -> None:
    embeddings = passt_from_deit(make_deit(PLAIN), **SAME_GRID).embeddings
    assert torch.equal(embeddings.distillation_token, embeddings.cls_token)
    assert torch.equal(embeddings.prefix_positions[:, 0], embeddings.prefix_positions[:, 1])


def test_positions_are_means_of_the_resized_grid() -> None:
    deit = make_deit(img_size=384)
    embeddings = passt_from_deit(deit).embeddings
    plane = F.interpolate(deit.pos_embed[0, 2:].T.reshape(1, 48, 24, 24), (12, 99), mode="bicubic")[0]
    torch.testing.assert_close(embeddings.frequency_positions[0, :, 0], plane.mean(dim=2).T)
    torch.testing.assert_close(embeddings.time_positions[0, 0], plane.mean(dim=1).T)
    assert torch.equal(embeddings.prefix_positions, deit.pos_embed[:, :2])


def test_weights_are_the_deits_in_float32_and_the_head_is_fresh() -> None:
    one, same = (passt_from_deit(make_deit(), num_labels=4).state_dict() for _ in range(2))
    other = passt_from_deit(make_deit(seed=1).to(torch.bfloat16), num_labels=4).state_dict()
    for name, weight in one.items():
        if not name.startswith("classifier"):
            assert torch.equal(weight, same[name]) and not torch.equal(weight, other[name]), name
        assert other[name].dtype == torch.float32, name
    assert one["classifier.dense.weight"].shape == (4, 48)
    assert not torch.equal(one["classifier.dense.weight"], same["classifier.dense.weight"])
    assert torch.equal(one["classifier.layernorm.weight"], torch.ones(48))


def test_the_deit_keeps_its_weights_to_itself() -> None:
    deit = make_deit()
    model, before = passt_from_deit(deit, **SAME_GRID), deit.blocks[0].mlp.fc1.weight.clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(deit.blocks[0].mlp.fc1.weight, before)


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        ("resnet18", {}, "timm has none called 'resnet18'"),
        (PLAIN, {"hidden_size": 768}, f"hidden_size=768 contradicts '{PLAIN}', which has 192"),
    ],
    ids=["resnet", "size"],
)
def test_what_passt_cannot_start_from_is_refused(model: Any, fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        passt_from_deit(model, pretrained=False, **fields)
    assert "\n" not in str(raised.value)
