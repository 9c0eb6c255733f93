"""Checkpoints as AST's authors release them: AST (Gong et al. 2021) and SSAST (Gong et al. 2022), files of `.pth`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...loading.checkpoint import check_finite
from ...loading.pickled_weights import read_weights
from ...model.configuration_fastast import FastASTConfig, built
from ...model.modeling_fastast import FastASTForAudioClassification, FastASTModel
from .deit import renamed

HEAD_WIDTH = 64  # of every DeiT
EPSILON, HEAD_EPSILON = 1e-6, 1e-5  # of the layer norms of a DeiT, and of the authors' head
STRIDES, LENGTHS = (10, 12, 14, 16), (128, 512, 1024)  # of the authors' recipes
AUDIOSET_LABELS = 527
TABLES = {
    "cls_token": "embeddings.cls_token",
    "dist_token": "embeddings.distillation_token",
    "pos_embed": "embeddings.position_embeddings",
}
# What no classifier uses: the heads for pictures, and those of SSAST's pretraining with the sizes of its clips.
LEFT_OUT = ("v.head.", "v.head_dist.", "cpredlayer.", "gpredlayer.", "mask_embed", "p_input_fdim", "p_input_tdim")


def fastast_from_original(
    checkpoint: str | Path,
    labels: Sequence[str] | None = None,
    stride: int | Sequence[int] | None = None,
    frames: int | None = None,
) -> tuple[FastASTForAudioClassification | FastASTModel, list[str]]:
    """Read a checkpoint of YuanGongND/ast or YuanGongND/ssast; only tensors are read from it, no code.

    The file does not tell the strides and the clips' length. They are those of the authors' recipes that make as many
    patches as it has positions. A head is taken as AST has it, on the mean of the two prefix tokens; that SSAST was
    trained with a head on the mean of all patches (its `ft_avgtok`) can't be seen in the file.

    transformers' AST has one epsilon for all layer norms, and the authors' head has a larger one. To have their logits
    all the same, the last norm before the head is scaled by the root of the ratio, which the head's norm undoes.

    Args:
        checkpoint: A `.pth` file, with or without `module.` before its names.
        labels: Names in the order of its classes.
        stride: Frames and mel bins from one patch to the next; two numbers (frequency, time) where they differ.
        frames: Clip length in frames of 10 ms.

    Returns:
        A classifier, or an encoder where the file has no head (SSAST's pretraining); and the names of the weights that
        were left out.

    Raises:
        OSError: No such file.
        ValueError: It is of something else, or does not fit the labels, stride or frames.

    Example:
        >>> model, left_out = fastast_from_original("audioset_10_10_0.4593.pth")  # doctest: +SKIP
        >>> model.save_pretrained("ast")  # doctest: +SKIP
    """
    weights = {name.removeprefix("module."): weight for name, weight in read_weights(checkpoint).items()}
    left_out = [name for name in weights if name.startswith(LEFT_OUT)]
    try:
        fields = _sizes(weights, stride, frames)
        if labels is not None:
            if len(labels) != fields.get("num_labels"):
                raise ValueError(f"has {fields.get('num_labels', 'no')} labels, and {len(labels)} names were given")
            fields |= {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
        deit = {name.removeprefix("v."): weight for name, weight in weights.items() if name.startswith("v.")}
        state = renamed(deit, fields["num_hidden_layers"]) | {new: deit[old] for old, new in TABLES.items()}
        config, classifies = built(FastASTConfig, fields), "mlp_head.1.weight" in weights
        model = FastASTForAudioClassification(config) if classifies else FastASTModel(config)
        if classifies:
            state = {f"audio_spectrogram_transformer.{name}": weight for name, weight in state.items()}
            for old, new in (("mlp_head.0", "classifier.layernorm"), ("mlp_head.1", "classifier.dense")):
                state |= {f"{new}.{kind}": weights[f"{old}.{kind}"] for kind in ("weight", "bias")}
            for kind in ("weight", "bias"):
                state[f"audio_spectrogram_transformer.layernorm.{kind}"] *= (EPSILON / HEAD_EPSILON) ** 0.5
        if extra := len(weights) - len(left_out) - len(state) + 4 * fields["num_hidden_layers"]:
            raise ValueError(f"has {extra} weights that AST has no place for")
        model.load_state_dict(state)
    except KeyError as error:
        raise ValueError(f"{checkpoint} has no weight {error}: give a checkpoint of AST or SSAST") from None
    except (RuntimeError, IndexError) as error:  # shapes that contradict each other
        reason = " ".join(str(error).splitlines()[-1].split())[:160]
        raise ValueError(f"{checkpoint} is of another network than AST or SSAST ({reason})") from None
    except ValueError as error:
        raise ValueError(f"{checkpoint} {error}") from None
    check_finite(checkpoint, model)
    return model.eval(), left_out


def _sizes(weights: Mapping[str, Tensor], stride: int | Sequence[int] | None, frames: int | None) -> dict[str, Any]:
    """Fields of the config that the shapes tell."""
    projection, width = weights["v.patch_embed.proj.weight"], weights["v.cls_token"].shape[-1]
    channels, height, length = projection.shape[1:]
    if height != length or channels != 1:
        raise ValueError(
            f"has patches of {height} mel bins and {length} frames in {channels} channels: FastAST takes square ones "
            "of one channel, as of SSAST's patch-based models"
        )
    if width % HEAD_WIDTH:
        raise ValueError(f"is {width} wide, and its heads are of {HEAD_WIDTH}: give a checkpoint of AST or SSAST")
    mel_bins = int(weights.get("p_input_fdim", 128))
    if frames is None and "p_input_tdim" in weights:
        frames = int(weights["p_input_tdim"])
    patches = weights["v.pos_embed"].shape[1] - 2
    given = (stride, stride) if isinstance(stride, int) else stride
    found = [
        (frequency, time, clip)
        for frequency, time in ([(s, s) for s in STRIDES] if given is None else [given])
        for clip in (LENGTHS if frames is None else [frames])
        if ((mel_bins - height) // frequency + 1) * ((clip - height) // time + 1) == patches
    ]
    if len(found) != 1:
        raise ValueError(
            f"has {patches} patches, which {len(found) or 'no'} strides and lengths of the authors' make: give its "
            "own (--stride, --frames)"
            if given is None or frames is None
            else f"has {patches} patches, and strides {given} make another number of {frames} frames"
        )
    head = weights.get("mlp_head.1.weight")
    fields: dict[str, Any] = {} if head is None else {"num_labels": len(head)}
    if fields.get("num_labels") == AUDIOSET_LABELS:
        fields["problem_type"] = "multi_label_classification"
    return fields | {
        "hidden_size": width,
        "num_attention_heads": width // HEAD_WIDTH,
        "num_hidden_layers": len({name.split(".")[2] for name in weights if name.startswith("v.blocks.")}),
        "intermediate_size": len(weights["v.blocks.0.mlp.fc1.weight"]),
        "patch_size": height,
        "frequency_stride": found[0][0],
        "time_stride": found[0][1],
        "max_length": found[0][2],
        "num_mel_bins": mel_bins,
        "layer_norm_eps": EPSILON,
    }
