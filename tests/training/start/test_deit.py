"""A FastAST made of an ImageNet DeiT: the same tokens, AST's positions, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import timm
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from torch.nn import functional as F

from fastast_hf.model.configuration_fastast import FastASTConfig
from fastast_hf.model.modeling_fastast import FastASTForAudioClassification
from fastast_hf.training.start.deit import fastast_from_deit

DISTILLED = "deit_tiny_distilled_patch16_224"
PLAIN = "deit_tiny_patch16_224"
IMAGE = (64, 96)  # 4 x 6 patches of 16
# Strides of a whole patch: the spectrogram's grid is the picture's, and no position is resized.
SAME_GRID = {"num_mel_bins": 64, "max_length": 96, "frequency_stride": 16, "time_stride": 16}
SIZES = {"embed_dim": 48, "num_heads": 3, "mlp_ratio": 3.0}

POSITIONS = [
    # frames, columns of the grid, columns that the 24 of the picture are cut to (AST's rule), or None: interpolated
    (128, 12, slice(6, 18)),
    (138, 13, slice(6, 19)),
    (246, 24, slice(0, 24)),
    (512, 50, None),
    (1024, 101, None),
]

REFUSED = [
    # timm's name, its arguments, the reason that the error gives
    ("resnet18", {}, "the ResNet given is no timm VisionTransformer"),
    (PLAIN, {"class_token": False, "global_pool": "avg"}, "has no cls_token"),
    (PLAIN, {"qkv_bias": False}, "has no blocks.0.attn.qkv.bias"),
    (PLAIN, {"final_norm": False}, "has no norm.bias"),
    (PLAIN, {"reg_tokens": 2}, "has reg_token, for which AST has no place"),
    (PLAIN, {"no_embed_class": True}, "has no position for its class token"),
    (PLAIN, {"act_layer": "quick_gelu"}, "has the activation QuickGELU"),
    (PLAIN, {"act_layer": partial(nn.GELU, approximate="tanh")}, "has the activation GELU(approximate='tanh')"),
    (PLAIN, {"block_fn": timm.models.vision_transformer.ResPostBlock}, "has layers of class ResPostBlock"),
    (PLAIN, {"patch_size": (16, 8)}, "has patches of 16 x 8, not square ones"),
]


def make_deit(name: str = DISTILLED, seed: int = 0, **arguments: Any) -> Any:
    """A small timm model in eval mode whose random weights let every part of it matter."""
    deit = timm.create_model(name, pretrained=False, **{"depth": 2, "img_size": IMAGE, **SIZES, **arguments}).eval()
    generator = torch.Generator().manual_seed(seed)
    for key, parameter in deit.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in key and key.endswith("weight"):
            noise = 1 + 0.2 * noise
        elif key.endswith("weight"):
            noise = 1.5 * noise / parameter[0].numel() ** 0.5
        else:
            noise = 0.5 * noise
        parameter.data.copy_(noise)
    return deit


def embeddings(model: FastASTForAudioClassification) -> Any:
    return model.audio_spectrogram_transformer.embeddings


@torch.no_grad()
def last_tokens(model: FastASTForAudioClassification, spectrogram: Tensor) -> Tensor:
    return model.audio_spectrogram_transformer(spectrogram).last_hidden_state


def gray_picture(spectrogram: Tensor, channels: int = 3) -> Tensor:
    """(B, T, mel bins) to (B, channels, mel bins, T): a spectrogram as the picture model sees it."""
    return spectrogram.transpose(1, 2)[:, None].expand(-1, channels, -1, -1)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"in_chans": 1},
        {"depth": 3, "num_heads": 4, "mlp_ratio": 2.0},
        {"patch_size": 8},
        {"num_classes": 0},
        {"init_values": 0.1},
    ],
    ids=str,
)
def test_a_gray_picture_gives_the_tokens_of_the_deit(
    arguments: dict[str, Any], spectrogram: Callable[..., Tensor]
) -> None:
    deit, clip = make_deit(**arguments), spectrogram(frames=96, mel_bins=64)
    patch = arguments.get("patch_size", 16)
    model = fastast_from_deit(deit, **{**SAME_GRID, "frequency_stride": patch, "time_stride": patch})
    with torch.no_grad():
        expected = deit.forward_features(gray_picture(clip, arguments.get("in_chans", 3)))
    torch.testing.assert_close(last_tokens(model, clip), expected, rtol=0, atol=1e-5)


def test_the_first_layers_alone_are_those_of_a_shallower_deit(spectrogram: Callable[..., Tensor]) -> None:
    deit, clip = make_deit(depth=3, init_values=0.5), spectrogram(frames=96, mel_bins=64)
    model = fastast_from_deit(deit, num_hidden_layers=2, **SAME_GRID)
    deit.blocks = deit.blocks[:2]
    with torch.no_grad():
        expected = deit.forward_features(gray_picture(clip))
    torch.testing.assert_close(last_tokens(model, clip), expected, rtol=0, atol=1e-5)


def test_patches_of_another_size_see_a_resized_picture_alike() -> None:
    deit = make_deit(patch_size=8)
    patches = embeddings(fastast_from_deit(deit, patch_size=16, **SAME_GRID)).patch_embeddings.projection
    small = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # what FlexiViT's resizing keeps: an upsampled patch gives what the patch gave
        large = F.interpolate(small, (16, 16), mode="bicubic", antialias=True)
        expected = deit.patch_embed.proj(small.expand(-1, 3, -1, -1))
        torch.testing.assert_close(patches(large), expected, rtol=0, atol=1e-3)


def test_without_a_distillation_token_the_class_token_is_copied(spectrogram: Callable[..., Tensor]) -> None:
    plain, twin, clip = make_deit(PLAIN), make_deit(DISTILLED), spectrogram(frames=96, mel_bins=64)
    state = plain.state_dict()
    state["dist_token"] = state["cls_token"]
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], state["pos_embed"]], dim=1)
    twin.load_state_dict(state, strict=False)
    tokens = last_tokens(fastast_from_deit(plain, **SAME_GRID), clip)
    with torch.no_grad():
        torch.testing.assert_close(tokens, twin.forward_features(gray_picture(clip)), rtol=0, atol=1e-5)
    torch.testing.assert_close(tokens[:, 0], tokens[:, 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("frames", "time", "columns"), POSITIONS)
def test_positions_are_those_that_ast_starts_with(frames: int, time: int, columns: slice | None) -> None:
    deit = make_deit(img_size=384)
    positions = embeddings(fastast_from_deit(deit, max_length=frames)).position_embeddings
    plane = deit.pos_embed[:, 2:].unflatten(1, (24, 24))
    if columns is None:
        plane = F.interpolate(plane.permute(0, 3, 1, 2), (24, time), mode="bilinear").permute(0, 2, 3, 1)
        columns = slice(None)
    assert torch.equal(positions[:, 2:], plane[:, 6:18, columns].reshape(1, 12 * time, -1))
    assert torch.equal(positions[:, :2], deit.pos_embed[:, :2])


def test_every_weight_comes_from_the_deit_but_the_classifier() -> None:
    one, same = (fastast_from_deit(make_deit(seed=1), num_labels=5).state_dict() for _ in range(2))
    other = fastast_from_deit(make_deit(seed=2), num_labels=5).state_dict()
    for name, weight in one.items():
        assert bool(weight.isfinite().all()), name
        if not name.startswith("classifier"):
            assert torch.equal(weight, same[name]), name
            assert not torch.equal(weight, other[name]), name
    assert one["classifier.dense.weight"].shape == (5, 48)
    assert not torch.equal(one["classifier.dense.weight"], same["classifier.dense.weight"])


def test_the_deit_keeps_its_weights_to_itself() -> None:
    deit = make_deit()
    before = {name: weight.clone() for name, weight in deit.state_dict().items()}
    model = fastast_from_deit(deit, **SAME_GRID)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for name, weight in deit.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_sizes_are_the_deits_and_the_rest_asts() -> None:
    model = fastast_from_deit(DISTILLED, pretrained=False, max_length=128, num_labels=35)
    config = model.config
    assert (config.hidden_size, config.num_attention_heads, config.num_hidden_layers) == (192, 3, 12)
    assert (config.intermediate_size, config.patch_size, config.layer_norm_eps) == (768, 16, 1e-6)
    assert (config.frequency_stride, config.time_stride, config.num_mel_bins) == (10, 10, 128)
    assert (config.max_length, config.num_labels, config.tome_r) == (128, 35, 0)
    assert fastast_from_deit(make_deit()).config.max_length == 1024
    assert not model.training


def test_a_config_gives_the_rest_and_fields_go_on_top() -> None:
    labels = {0: "dog", 1: "rain"}
    config = FastASTConfig(max_length=512, tome_r=20, num_mel_bins=64, id2label=labels)
    model = fastast_from_deit(make_deit(), config, tome_r=8)
    assert (model.config.max_length, model.config.tome_r, model.config.num_mel_bins) == (512, 8, 64)
    assert (model.config.hidden_size, model.config.num_hidden_layers, model.config.layer_norm_eps) == (48, 2, 1e-6)
    assert model.config.id2label == labels
    assert fastast_from_deit(make_deit(), config, num_labels=7).classifier.dense.out_features == 7
    assert (config.hidden_size, config.tome_r) == (768, 20)


def test_tokens_are_merged_and_gradients_reach_every_weight(spectrogram: Callable[..., Tensor]) -> None:
    model = fastast_from_deit(make_deit(), max_length=128, num_labels=5, tome_r=20).train()
    clip = spectrogram(mel_bins=128)
    assert model.token_schedule() == [146, 126]
    assert last_tokens(model, clip).shape == (2, 106, 48)
    assert not torch.allclose(model(clip).logits, model(clip, tome_r=0).logits, atol=1e-3)
    model(clip, labels=torch.tensor([0, 3])).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_half_precision_weights_come_over_in_float32() -> None:
    deit = make_deit().to(torch.bfloat16)
    model = fastast_from_deit(deit, max_length=512)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    expected = deit.blocks[1].mlp.fc1.weight.float()
    assert torch.equal(model.audio_spectrogram_transformer.layers[1].mlp.fc1.weight, expected)


@pytest.mark.parametrize(("name", "arguments", "reason"), REFUSED, ids=lambda case: str(case)[:40])
def test_what_ast_cannot_compute_is_refused(name: str, arguments: dict[str, Any], reason: str) -> None:
    if name == "resnet18":
        model = timm.create_model(name, pretrained=False)
    else:
        # built one layer deep without make_deit's weights, as some of these have none where a DeiT does
        model = timm.create_model(name, pretrained=False, **{"depth": 1, "img_size": IMAGE, **SIZES, **arguments})
    with pytest.raises(ValueError, match="plain DeiT or ViT of timm") as raised:
        fastast_from_deit(model)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deit_base_distiled", "timm has none called 'deit_base_distiled'"),
        ("resnet18", "timm has none called 'resnet18'"),
        ("timm/deit_tiny_patch16_224.fb_in1k", "timm has none called 'timm/"),
        (f"{PLAIN}.nonsense", "can't make 'deit_tiny_patch16_224.nonsense' (Invalid pretrained tag"),
    ],
)
def test_an_unfit_name_is_one_line_that_says_what_is_wanted(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match="deit_base_distilled_patch16_384") as raised:
        fastast_from_deit(name, pretrained=False)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_that_is_not_timms_is_refused() -> None:
    with pytest.raises(ValueError, match="the Linear given is no timm VisionTransformer"):
        fastast_from_deit(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 768}, "hidden_size=768 contradicts the VisionTransformerDistilled given, which has 48"),
        ({"num_hidden_layers": 13}, "num_hidden_layers=13 contradicts"),
        ({"max_length": 10}, "a clip of 10 frames is shorter than one patch of 16"),
    ],
)
def test_a_wrong_field_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        fastast_from_deit(make_deit(), **fields)


def test_sizes_may_be_repeated() -> None:
    assert fastast_from_deit(make_deit(), hidden_size=48, num_hidden_layers=2).config.hidden_size == 48


def test_pretrained_weights_are_timms_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    deit, asked = make_deit(), []

    def create_model(name: str, pretrained: bool) -> Any:
        asked.append((name, pretrained))
        return deit

    monkeypatch.setattr(timm, "create_model", create_model)
    fastast_from_deit(f"{DISTILLED}.fb_in1k")
    fastast_from_deit(DISTILLED, pretrained=False)
    assert asked == [(f"{DISTILLED}.fb_in1k", True), (DISTILLED, False)]


def test_weights_that_cannot_be_fetched_are_named_with_the_ways_out() -> None:
    with pytest.raises(
        OSError, match=r"of deit_tiny_patch16_224 can't be fetched .*--model FOLDER.*--model none"
    ) as caught:
        fastast_from_deit("deit_tiny_patch16_224")  # the tests are without a network
    assert "\n" not in str(caught.value)
