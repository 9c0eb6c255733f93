"""Start a FastAST from a DeiT or ViT trained on pictures, as AST does (Gong et al. 2021, §2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...model.configuration_fastast import FastASTConfig
from ...model.modeling_fastast import FastASTForAudioClassification
from ...model.patch_grid import resize_position_embeddings

_WANTED = "FastAST starts from a plain DeiT or ViT of timm, such as 'deit_base_distilled_patch16_384'"
_EMBEDDINGS = ("cls_token", "pos_embed")
# timm's modules and AST's, each with a weight and a bias; a layer's are under blocks.0. and layers.0., and so on.
MODULES = {"patch_embed.proj": "embeddings.patch_embeddings.projection", "norm": "layernorm"}
LAYER_MODULES = {
    "norm1": "layernorm_before",
    "attn.qkv": "attention.{}_proj",
    "attn.proj": "attention.o_proj",
    "norm2": "layernorm_after",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
LAYER_SCALES = {"ls1": "attn.proj", "ls2": "mlp.fc2"}  # and the modules whose output they scale


def fastast_from_deit(
    name_or_model: str | nn.Module,
    config: FastASTConfig | None = None,
    pretrained: bool = True,
    **config_fields: Any,
) -> FastASTForAudioClassification:
    """Make a FastAST of an ImageNet DeiT, with a fresh classifier (AST, Gong et al. 2021, §2.2).

    Patch weights are summed over the image's channels and positions cut or interpolated to the spectrogram's grid;
    the ImageNet heads are dropped. A DeiT without a distillation token, or a ViT, gives a copy of its class token,
    with the class token's position. LayerScale (DINOv2, Oquab et al. 2024) is multiplied into the layers. The new
    model has weights of its own (float32, on the CPU), in eval mode.

    Args:
        name_or_model: timm's name of a DeiT or plain ViT, `deit_base_distilled_patch16_384` for AST's own start, or
            such a timm model in memory.
        config: Everything but the sizes (hidden, heads, layers, MLP, patch) and the LayerNorms' epsilon, which are the
            DeiT's. AST's defaults if None: 128 mel bins, stride 10, 1024 frames.
        pretrained: Whether a model given by name has its ImageNet weights, which timm downloads, or random ones.
        config_fields: Fields set on top of `config`: `max_length=512`, `num_labels=50`, `tome_r=20`. A
            `num_hidden_layers` takes the first layers alone, and the weights of patches of another `patch_size` are
            resized as FlexiViT's are (Beyer et al. 2023, §3.4).

    Raises:
        ImportError: timm is not installed.
        ValueError: timm has no such model, it is no plain DeiT or ViT, a field contradicts its sizes, or a clip is
            shorter than a patch. Other wrong fields raise as in [`FastASTConfig`].
        OSError: The ImageNet weights can't be downloaded.

    Example:
        >>> model = fastast_from_deit("deit_tiny_distilled_patch16_224", pretrained=False, max_length=128)
        >>> model.token_schedule()[0], model.config.hidden_size
        (146, 192)
    """
    deit: Any = create_deit(name_or_model, pretrained) if isinstance(name_or_model, str) else name_or_model
    if reason := why_not_plain(deit):
        raise ValueError(f"{_WANTED}, but {name_of(name_or_model)} {reason}")
    sizes = deit_sizes(deit)
    sizes["patch_size"] = config_fields.get("patch_size", sizes["patch_size"])
    sizes["num_hidden_layers"] = min(config_fields.get("num_hidden_layers", len(deit.blocks)), len(deit.blocks))
    for field, size in sizes.items():
        if config_fields.get(field, size) != size:
            raise ValueError(
                f"{field}={config_fields[field]!r} contradicts {name_of(name_or_model)}, which has {size}: "
                f"leave {field} out, or choose another DeiT"
            )
    fields = {"layer_norm_eps": deit.norm.eps, **config_fields, **sizes}
    config = FastASTConfig(**fields) if config is None else FastASTConfig.from_ast(config, **fields)

    model = FastASTForAudioClassification(config)
    model.audio_spectrogram_transformer.load_state_dict(_encoder_weights(deit, config))
    return model.eval()


def create_deit(name: str, pretrained: bool) -> Any:
    """The timm model of that name, if its name is one of a DeiT or ViT: others are not downloaded to be refused."""
    import timm

    if not timm.models.is_model_in_modules(name.split(".")[0], ("deit", "vision_transformer")):
        raise ValueError(f"{_WANTED}, but timm has none called {name!r}: timm.list_models('deit*') lists DeiTs")
    try:
        return timm.create_model(name, pretrained=pretrained)
    except RuntimeError as error:  # an unknown tag after the dot, or no ImageNet weights
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{_WANTED}, but timm can't make {name!r} ({reason}): "
            "timm.list_models('deit*', pretrained=True) lists what there is"
        ) from error
    except OSError as error:
        raise OSError(
            f"the ImageNet weights of {name} can't be fetched ({type(error).__name__}): check the network, start from "
            "a checkpoint (--model FOLDER), or from nothing (--model none)"
        ) from error


def name_of(name_or_model: str | nn.Module) -> str:
    """What an error calls a model that is given by timm's name or in memory."""
    return repr(name_or_model) if isinstance(name_or_model, str) else f"the {type(name_or_model).__name__} given"


def why_not_plain(deit: Any) -> str | None:
    """What AST's encoder could not compute as this model does, or None."""
    import timm

    vit: Any = timm.models.vision_transformer
    if not isinstance(deit, vit.VisionTransformer):
        return "is no timm VisionTransformer"
    names = {name for name in deit.state_dict() if not name.startswith(("head.", "head_dist."))}
    plain = {*_EMBEDDINGS, *(f"{module}.{kind}" for module in MODULES for kind in ("weight", "bias"))}
    for index in range(len(deit.blocks)):
        plain |= {f"blocks.{index}.{module}.{kind}" for module in LAYER_MODULES for kind in ("weight", "bias")}
    if missing := sorted(plain - names):
        return f"has no {missing[0]}"
    scales = {f"blocks.{index}.{scale}.gamma" for index in range(len(deit.blocks)) for scale in LAYER_SCALES}
    if extra := sorted(names - plain - scales - {"dist_token"}):
        return f"has {extra[0]}, for which AST has no place"
    # These have a DeiT's weights and compute something else with them.
    for block in deit.blocks:
        if type(block) is not vit.Block:
            return f"has layers of class {type(block).__name__}"
        if not isinstance(block.mlp.act, nn.GELU) or block.mlp.act.approximate != "none":
            return f"has the activation {block.mlp.act}, not GELU()"
    height, width = deit.patch_embed.patch_size
    if height != width:
        return f"has patches of {height} x {width}, not square ones"
    if deit.pos_embed.shape[1] != deit.num_prefix_tokens + deit.patch_embed.num_patches:
        return "has no position for its class token"
    return None


def deit_sizes(deit: Any) -> dict[str, int]:
    """The fields of an AST's config that a DeiT's weights fix."""
    return {
        "hidden_size": deit.embed_dim,
        "num_attention_heads": deit.blocks[0].attn.num_heads,
        "num_hidden_layers": len(deit.blocks),
        "intermediate_size": deit.blocks[0].mlp.fc1.out_features,
        "patch_size": deit.patch_embed.patch_size[0],
    }


def renamed(weights: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Weights of a DeiT's modules under the names of AST's encoder, its queries, keys and values apart.

    Args:
        weights: By timm's names; its tables (tokens and positions) are not taken.
        depth: How many layers it has.

    Raises:
        KeyError: A weight is missing.
    """
    modules = dict(MODULES)
    for index in range(depth):
        modules |= {f"blocks.{index}.{old}": f"layers.{index}.{new}" for old, new in LAYER_MODULES.items()}
    state: dict[str, Tensor] = {}
    for old, new in modules.items():
        for kind in ("weight", "bias"):
            weight = weights[f"{old}.{kind}"]
            parts = zip("qkv", weight.tensor_split(3), strict=True) if "{}" in new else [("", weight)]
            state |= {f"{new.format(name)}.{kind}": part for name, part in parts}
    return state


def without_layer_scales(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A timm model's weights, with each LayerScale (Touvron et al. 2021) in the weights whose output it scales."""
    plain = {key: weight.detach().float() for key, weight in weights.items()}
    for key in [key for key in plain if key.endswith(".gamma")]:
        gamma = plain.pop(key)
        layer, scale = key.removesuffix(".gamma").rsplit(".", 1)
        for scaled in (f"{layer}.{LAYER_SCALES[scale]}.{kind}" for kind in ("weight", "bias")):
            plain[scaled] = gamma.view(-1, *[1] * (plain[scaled].dim() - 1)) * plain[scaled]
    return plain


def _encoder_weights(deit: Any, config: FastASTConfig) -> dict[str, Tensor]:
    """The DeiT's weights under the names of AST's encoder."""
    from timm.layers.patch_embed import resample_patch_embed

    weights = without_layer_scales(deit.state_dict())
    state = renamed(weights, config.num_hidden_layers)
    projection = "embeddings.patch_embeddings.projection.weight"
    # A grayscale picture has the same values in every channel, so that the sum sees it as the DeiT did.
    patches = state[projection].sum(dim=1, keepdim=True)
    state[projection] = resample_patch_embed(patches, [config.patch_size, config.patch_size])
    positions = weights["pos_embed"]
    if "dist_token" not in weights:
        positions = torch.cat([positions[:, :1], positions], dim=1)
    state["embeddings.cls_token"] = weights["cls_token"]
    state["embeddings.distillation_token"] = weights.get("dist_token", weights["cls_token"])
    state["embeddings.position_embeddings"] = resize_position_embeddings(
        positions, deit.patch_embed.grid_size, config.patch_grid
    )
    return state
