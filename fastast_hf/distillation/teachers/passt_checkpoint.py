"""PaSST from its released checkpoints (Koutini et al. 2022), or from a DeiT trained on ImageNet as those were."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...loading.pickled_weights import read_weights
from ...training.start.deit import (
    LAYER_MODULES,
    MODULES,
    create_deit,
    deit_sizes,
    name_of,
    why_not_plain,
    without_layer_scales,
)
from .passt import PasstConfig, PasstForAudioClassification

MEL_BINS, HEAD_WIDTH = 128, 64  # of all released checkpoints
_STRIDES = {12: 10, 10: 12, 9: 14, 8: 16}  # by the rows of patches
_DIMENSIONS = {"cls_token": 3, "freq_new_pos_embed": 4, "time_new_pos_embed": 4, "patch_embed.proj.weight": 4}
_FRAMES = 998  # of a clip of 10 s, in the released checkpoints' settings


def passt_from_checkpoint(
    checkpoint: str | Path, stride: int | None = None, **config_fields: Any
) -> PasstForAudioClassification:
    """Read one of PaSST's released checkpoints, `passt-*.pt`.

    Args:
        checkpoint: A `.pt` file; only tensors are read from it, no code.
        stride: Mel bins, and frames, from one patch to the next. By default the released checkpoints' that makes as
            many rows of patches: 10, 12, 14 or 16.
        config_fields: Of [`PasstConfig`], but for the sizes: what the labels say (`id2label=…`, `label2id=…`), the
            patchout of further training, or `problem_type="single_label_classification"` where a clip has one label
            (as in ESC-50); multi-label otherwise, as in AudioSet.

    Returns:
        The model, in eval mode. Its front end is [`PasstFeatureExtractor`].

    Raises:
        OSError: No such file.
        ValueError: It holds something else than PaSST's weights, or the stride or a field contradicts them.

    Example:
        >>> passt_from_checkpoint("passt-s-kd-ap.486.pt").save_pretrained("passt")  # doctest: +SKIP
    """
    weights = read_weights(checkpoint)
    try:
        sizes = _checkpoint_sizes(weights, stride)
        state = passt_weights(weights)
    except KeyError as error:
        raise ValueError(f"{checkpoint} has no weight {error}: give a released checkpoint of PaSST") from None
    except ValueError as error:
        raise ValueError(f"{checkpoint} {error}") from None
    given = {"num_labels": len(config_fields["id2label"])} if "id2label" in config_fields else {}
    _refuse_contradictions(sizes, {**config_fields, **given}, str(checkpoint))
    fields = {"problem_type": "multi_label_classification", **config_fields, **sizes}
    model = PasstForAudioClassification(PasstConfig(**fields))
    own = model.state_dict()
    if other := sorted(name for name, weight in state.items() if weight.shape != own[name].shape):
        raise ValueError(
            f"{checkpoint} has {other[0]} of shape {tuple(state[other[0]].shape)}, where the PaSST of its size has "
            f"{tuple(own[other[0]].shape)}: give a released checkpoint of PaSST"
        )
    model.load_state_dict(state)
    return model.eval()


def passt_from_deit(
    name_or_model: str | nn.Module = "deit_base_distilled_patch16_384", pretrained: bool = True, **config_fields: Any
) -> PasstForAudioClassification:
    """Make a PaSST of an ImageNet DeiT, with a fresh classifier, as PaSST was begun.

    The DeiT's positions are resized to PaSST's grid (bicubic); their means over time and over frequency become the
    positions of rows and columns. Patch weights are summed over the image's channels. A DeiT without a distillation
    token, or a ViT, gives a copy of its class token.

    Args:
        name_or_model: timm's name of a DeiT or plain ViT, or such a timm model in memory.
        pretrained: Whether a model given by name has its ImageNet weights, which timm downloads, or random ones.
        config_fields: Of [`PasstConfig`], but for the sizes, which are the DeiT's: `num_labels=50`,
            `time_patchout=10` …

    Returns:
        The model, with weights of its own (float32, on the CPU), in eval mode.

    Raises:
        ImportError: timm is not installed.
        ValueError: timm has no such model, it is no plain DeiT or ViT, or a field contradicts its sizes. Other wrong
            fields raise as in [`PasstConfig`].
        OSError: The ImageNet weights can't be downloaded.

    Example:
        >>> passt_from_deit("deit_tiny_distilled_patch16_224", pretrained=False).config.position_grid
        (12, 99)
    """
    deit: Any = create_deit(name_or_model, pretrained) if isinstance(name_or_model, str) else name_or_model
    if reason := why_not_plain(deit):
        raise ValueError(
            f"PaSST starts from a plain DeiT or ViT of timm, such as 'deit_base_distilled_patch16_384', but "
            f"{name_of(name_or_model)} {reason}"
        )
    sizes = deit_sizes(deit)
    _refuse_contradictions(sizes, config_fields, name_of(name_or_model))
    config = PasstConfig(**{"layer_norm_eps": deit.norm.eps, **config_fields, **sizes})
    model = PasstForAudioClassification(config)

    weights = without_layer_scales(deit.state_dict())
    positions = weights.pop("pos_embed")
    if "dist_token" not in weights:
        weights["dist_token"] = weights["cls_token"]
        positions = torch.cat([positions[:, :1], positions], dim=1)
    plane = positions[:, 2:].transpose(1, 2).unflatten(2, deit.patch_embed.grid_size)
    plane = F.interpolate(plane, config.position_grid, mode="bicubic", align_corners=False)
    weights |= {
        "new_pos_embed": positions[:, :2],
        "freq_new_pos_embed": plane.mean(dim=3, keepdim=True),
        "time_new_pos_embed": plane.mean(dim=2, keepdim=True),
        # A grayscale picture has the same values in every channel, so that the sum sees it as the DeiT did.
        "patch_embed.proj.weight": weights["patch_embed.proj.weight"].sum(dim=1, keepdim=True),
        # The fresh head's own: what ImageNet's says is nothing to sounds.
        "head.0.weight": model.classifier.layernorm.weight,
        "head.0.bias": model.classifier.layernorm.bias,
        "head.1.weight": model.classifier.dense.weight,
        "head.1.bias": model.classifier.dense.bias,
    }
    for imagenet in ("head.weight", "head.bias"):
        weights.pop(imagenet, None)
    model.load_state_dict(passt_weights(weights))
    return model.eval()


def passt_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """PaSST's weights under the names of [`PasstForAudioClassification`], its queries, keys and values apart.

    Raises:
        KeyError: A weight is missing.
        ValueError: There is one more than PaSST has. `head_dist`, which PaSST has and does not use, is left out.
    """
    modules = {"head.0": "classifier.layernorm", "head.1": "classifier.dense", **MODULES}
    for index in range(_depth(weights)):
        modules |= {f"blocks.{index}.{old}": f"layers.{index}.{new}" for old, new in LAYER_MODULES.items()}
    names = {f"{old}.{kind}": f"{new}.{kind}" for old, new in modules.items() for kind in ("weight", "bias")}
    names |= {
        "cls_token": "embeddings.cls_token",
        "dist_token": "embeddings.distillation_token",
        "new_pos_embed": "embeddings.prefix_positions",
        "freq_new_pos_embed": "embeddings.frequency_positions",
        "time_new_pos_embed": "embeddings.time_positions",
    }
    state: dict[str, Tensor] = {}
    for old, new in names.items():
        weight = weights[old]
        if old in ("freq_new_pos_embed", "time_new_pos_embed"):
            weight = weight.permute(0, 2, 3, 1)  # PaSST has them as pictures, channels first
        parts = zip("qkv", weight.tensor_split(3), strict=True) if "{}" in new else [("", weight)]
        state |= {new.format(letter): part for letter, part in parts}
    if extra := sorted(key for key in weights if key not in names and not key.startswith("head_dist.")):
        raise ValueError(f"has a weight {extra[0]!r}, for which PaSST has no place: give a released checkpoint of it")
    return state


def _checkpoint_sizes(weights: Mapping[str, Tensor], stride: int | None) -> dict[str, Any]:
    """Fields of the config that a checkpoint's shapes tell."""
    for name, dimensions in _DIMENSIONS.items():
        if weights[name].dim() != dimensions:
            raise ValueError(
                f"has a {name} of shape {tuple(weights[name].shape)}, unlike PaSST's: give a released checkpoint"
            )
    rows, columns = weights["freq_new_pos_embed"].shape[2], weights["time_new_pos_embed"].shape[3]
    chosen = _STRIDES.get(rows) if stride is None else stride
    if chosen is None:
        raise ValueError(f"has {rows} rows of patches, as no released PaSST has: give its stride=")
    if chosen < 1 or MEL_BINS // chosen != rows:
        raise ValueError(f"has {rows} rows of patches, and stride={chosen} makes {MEL_BINS // max(1, chosen)} of them")
    width = weights["cls_token"].shape[2]
    if width == 0 or width % HEAD_WIDTH:
        raise ValueError(f"is {width} wide, and PaSST's heads are of {HEAD_WIDTH}: give a released checkpoint of it")
    return {
        "hidden_size": width,
        "num_hidden_layers": _depth(weights),
        "num_attention_heads": width // HEAD_WIDTH,
        "intermediate_size": weights["blocks.0.mlp.fc1.weight"].shape[0],
        "patch_size": weights["patch_embed.proj.weight"].shape[3],
        "qkv_bias": True,
        "num_mel_bins": MEL_BINS,
        "frequency_stride": chosen,
        "time_stride": chosen,
        "max_length": _FRAMES if _FRAMES // chosen == columns else columns * chosen,
        "num_labels": weights["head.1.bias"].shape[0],
    }


def _refuse_contradictions(sizes: Mapping[str, Any], fields: Mapping[str, Any], called: str) -> None:
    for field, size in sizes.items():
        if fields.get(field, size) != size:
            raise ValueError(
                f"{field}={fields[field]!r} contradicts {called}, which has {size}: "
                "leave it out, or give another model"
            )


def _depth(weights: Mapping[str, Tensor]) -> int:
    return len({key.split(".")[1] for key in weights if key.startswith("blocks.")})
