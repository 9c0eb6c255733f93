"""PSLA's released checkpoints (Gong et al. 2021) as [`CNNForAudioClassification`]."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...loading.pickled_weights import read_weights
from ...model.feature_extraction_fastast import FastASTFeatureExtractor
from .cnn import CNNConfig, CNNForAudioClassification

# What its front end normalised AudioSet with; by the standard deviation, where AST's divides by twice that.
PSLA_FRAMES, PSLA_MEAN, PSLA_STD = 1056, -4.6476, 4.5699
_STAGES = (2, 3, 3, 4, 4, 5, 2)  # blocks of each stage of EfficientNet-B2, which PSLA's names count through
_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2", **_SQUEEZE}
_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
    **_SQUEEZE,
}


def cnn_from_psla(checkpoint: str | Path, **config_fields: Any) -> CNNForAudioClassification:
    """Read a checkpoint of PSLA's code: EfficientNet-B2 with its attention pooling.

    Its model equals timm's `efficientnet_b2` with a batch norm epsilon of 1e-3, because the EfficientNet package that
    it was trained with pads as that does.

    Args:
        checkpoint: A `.pth` file; only tensors are read from it, no code.
        config_fields: Of [`CNNConfig`], the labels say: `id2label=…`, `label2id=…`.

    Raises:
        OSError: No such file.
        ValueError: It holds something else than PSLA's weights.

    Example:
        >>> cnn_from_psla("as_mdl_0_wa.pth").save_pretrained("psla")  # doctest: +SKIP
    """
    weights = read_weights(checkpoint)
    weights = {key.removeprefix("module."): weight for key, weight in weights.items()}
    try:
        heads = len(weights["attention.head_weight"])
        num_labels = len(weights["attention.att.0.bias"])
        state = psla_weights(weights, heads)
    except KeyError as error:
        raise ValueError(
            f"{checkpoint} has no weight {error}: give a checkpoint of PSLA's EfficientNet-B2 with its attention heads"
        ) from None
    names = config_fields.get("id2label")
    if names is not None and len(names) != num_labels:  # transformers would drop them without a word
        raise ValueError(f"{len(names)} labels given, {checkpoint} has {num_labels}: give those it was trained on")
    fields = {"num_labels": num_labels, "problem_type": "multi_label_classification", **config_fields}
    config = CNNConfig(
        backbone="efficientnet_b2", head="psla", attention_heads=heads, batch_norm_eps=1e-3, max_length=PSLA_FRAMES,
        **fields,
    )  # fmt: skip
    model = CNNForAudioClassification(config)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()[:160]
        raise ValueError(f"{checkpoint} is of another network than PSLA's EfficientNet-B2 ({reason})") from None
    return model.eval()


def psla_feature_extractor() -> FastASTFeatureExtractor:
    """The front end that PSLA's released checkpoints were trained with.

    Example:
        >>> psla_feature_extractor().max_length
        1056
    """
    return FastASTFeatureExtractor(max_length=PSLA_FRAMES, mean=PSLA_MEAN, std=PSLA_STD / 2)


def psla_weights(weights: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """PSLA's weights under the names of [`CNNForAudioClassification`]."""
    state = {}
    for key, weight in weights.items():
        if key.startswith("effnet.") and not key.startswith("effnet._fc"):
            state[f"backbone.{_backbone_name(key.removeprefix('effnet.'))}"] = weight
    for old, new in (("att", "attention"), ("cla", "scores")):
        for kind in ("weight", "bias"):
            joined = torch.cat([weights[f"attention.{old}.{head}.{kind}"] for head in range(heads)])
            state[f"head.{new}.{kind}"] = joined.squeeze(-1) if kind == "weight" else joined
    state["head.head_weight"] = weights["attention.head_weight"]
    return state


def _backbone_name(key: str) -> str:
    """`_blocks.3._depthwise_conv.weight` to `blocks.1.1.conv_dw.weight`; what PSLA has not, as it is."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(.+)", key)
    if not block:
        layer, _, kind = key.partition(".")
        return f"{_STEM.get(layer, layer)}.{kind}"
    index, firsts = int(block[1]), [0, *accumulate(_STAGES)]
    stage = max(number for number in range(len(_STAGES)) if firsts[number] <= index)
    names = _FIRST_STAGE if stage == 0 else _OTHER_STAGES
    return f"blocks.{stage}.{index - firsts[stage]}.{names.get(block[2], block[2])}.{block[3]}"
