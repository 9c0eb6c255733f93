"""A CNN of timm as an audio classifier: the teacher of CMKD (Gong et al. 2022) and PSLA (Gong et al. 2021).

A spectrogram is a picture of one channel: (B, frames, mel bins) → (B, 1, mel bins, frames) → the CNN's feature map
(B, features, mel', frames') → head → logits (B, labels).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

HEADS = ("mean", "psla")
_SMALLEST = 1e-7  # probabilities of PSLA's head are kept this far from 0 and 1


@strict
class CNNConfig(PreTrainedConfig):
    """Configuration of [`CNNForAudioClassification`].

    Args:
        backbone: timm's name of a CNN.
        head: `"mean"`, the mean over time and frequency and a linear layer (CMKD), or `"psla"`, PSLA's attention
            pooling over time (§3.3 of its paper).
        attention_heads: Of PSLA's head.
        drop_path_rate: Stochastic depth in training.
        batch_norm_eps: Of all batch norms; None for the backbone's own.
        num_mel_bins: Mel bins of a spectrogram.
        max_length: Frames of a spectrogram; others will do.
        kwargs: What [`PreTrainedConfig`] takes: `num_labels`, `id2label`, `problem_type` …

    Raises:
        ValueError: Another head (inside huggingface_hub's `StrictDataclassError`).

    Example:
        >>> CNNConfig(num_labels=50).backbone
        'efficientnet_b2'
    """

    model_type = "fastast_cnn"

    backbone: str = "efficientnet_b2"
    head: str = "mean"
    attention_heads: int = 4
    drop_path_rate: float | int = 0.0
    batch_norm_eps: float | None = None
    num_mel_bins: int = 128
    max_length: int = 1024

    def validate_head(self) -> None:
        """Check `head` (called when a config is built)."""
        if self.head not in HEADS:
            raise ValueError(f"head is {self.head!r}: choose one of {', '.join(HEADS)}")


class MeanHead(nn.Module):
    """Mean over time and frequency, then a linear layer: CMKD's."""

    def __init__(self, num_features: int, num_labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, num_labels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, features, mel', frames') to logits (B, labels)."""
        return self.linear(features.mean(dim=(2, 3)))


class AttentionHead(nn.Module):
    """PSLA's multi-head attention pooling (Gong et al. 2021, §3.3): scores of each frame, weighed and summed.

    What it sums are probabilities; they are given as their logits, so that this head is used as any other is.
    """

    def __init__(self, num_features: int, num_labels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention = nn.Conv1d(num_features, num_heads * num_labels, 1)
        self.scores = nn.Conv1d(num_features, num_heads * num_labels, 1)
        self.head_weight = nn.Parameter(torch.full((num_heads,), 1 / num_heads))

    def forward(self, features: Tensor) -> Tensor:
        """(B, features, mel', frames') to logits (B, labels)."""
        frames = features.mean(dim=2)
        attention, scores = (
            layer(frames).float().sigmoid().unflatten(1, (self.num_heads, -1))
            for layer in (self.attention, self.scores)
        )
        attention = attention.clamp(_SMALLEST, 1 - _SMALLEST)
        attention = attention / attention.sum(dim=3, keepdim=True)
        probabilities = ((attention * scores).sum(dim=3) * self.head_weight[:, None]).sum(dim=1)
        return torch.logit(probabilities, eps=_SMALLEST)


class CNNForAudioClassification(PreTrainedModel):
    """A CNN of timm with an audio head; its front end is [`FastASTFeatureExtractor`], as AST's is.

    Example:
        >>> model = CNNForAudioClassification(CNNConfig(backbone="efficientnet_lite0", num_labels=10))
        >>> model.eval()(torch.zeros(1, 128, 128)).logits.shape
        torch.Size([1, 10])
    """

    config_class = CNNConfig
    main_input_name = "input_values"
    input_modalities = ("audio",)
    _no_split_modules = ()

    def __init__(self, config: CNNConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.backbone, features = _create(config)
        if config.batch_norm_eps is not None:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eps = config.batch_norm_eps
        self.head = (
            MeanHead(features, config.num_labels)
            if config.head == "mean"
            else AttentionHead(features, config.num_labels, config.attention_heads)
        )
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Only of a head that a checkpoint lacks; timm and torch have begun the others well."""
        if isinstance(module, (nn.Linear, nn.Conv1d)) and any(module is part for part in self.head.modules()):
            module.reset_parameters()
        elif isinstance(module, AttentionHead):
            init.constant_(module.head_weight, 1 / module.num_heads)

    @can_return_tuple
    def forward(self, input_values: Tensor, labels: Tensor | None = None, **kwargs: Any) -> SequenceClassifierOutput:
        """Classify log-mel spectrograms.

        Args:
            input_values: (B, frames, mel bins).
            labels: (B,) class indices, or (B, labels) floats for multi-label problems.
            kwargs: Ignored.

        Raises:
            ValueError: `input_values` has another shape.
        """
        if input_values.dim() != 3 or input_values.shape[2] != self.config.num_mel_bins:
            raise ValueError(
                f"input_values has shape {tuple(input_values.shape)}; this CNN takes (batch, frames, "
                f"{self.config.num_mel_bins} mel bins)"
            )
        pictures = input_values.transpose(1, 2).unsqueeze(1)
        # A CPU computes depthwise convolutions several times as fast with the channels last.
        features = self.backbone(pictures.contiguous(memory_format=torch.channels_last))
        logits = self.head(features)
        loss = None if labels is None else self.loss_function(labels, logits, self.config, **kwargs)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def cnn_from_imagenet(
    name: str = "efficientnet_b2", weights: str | Path | None = None, **config_fields: Any
) -> CNNForAudioClassification:
    """A classifier on a CNN trained on ImageNet, with a fresh head; the stem's weights are averaged over RGB (CMKD).

    Args:
        name: timm's name.
        weights: A safetensors file of timm's weights for it; None has timm download them.
        config_fields: Of [`CNNConfig`]: `num_labels=50`, `head="psla"` …

    Raises:
        ImportError: timm is not installed.
        ValueError: timm has no such CNN, or the file is of another one.
        OSError: The weights can't be read or downloaded.
    """
    import timm

    model = CNNForAudioClassification(CNNConfig(backbone=name.split(".")[0], **config_fields))
    try:
        picture_network = timm.create_model(name, pretrained=weights is None, num_classes=0)
    except RuntimeError as error:  # no weights of that name
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"timm can't make {name!r} with its weights ({reason})") from error
    except OSError as error:
        raise OSError(
            f"the ImageNet weights of {name} can't be fetched ({type(error).__name__}): check the network, give a "
            "file of them (--imagenet-weights FILE), or start from nothing (--model none)"
        ) from error
    state = picture_network.state_dict()
    if weights is not None:
        state |= _read_weights(Path(weights), name, state)
    own = model.backbone.state_dict()
    stem = next(key for key, weight in state.items() if weight.shape != own[key].shape)
    state[stem] = state[stem].mean(dim=1, keepdim=True)
    model.backbone.load_state_dict(state)
    return model.eval()


def _read_weights(file: Path, name: str, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The wanted weights in a file. timm itself would leave those that a file of another network lacks random."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; give a safetensors file of {name}'s ImageNet weights")
    try:
        found = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is no safetensors file ({error}); give one of {name}'s ImageNet weights") from error
    for key, weight in wanted.items():
        if not key.endswith("num_batches_tracked") and (key not in found or found[key].shape != weight.shape):
            raise ValueError(
                f"{file} is of another network than {name}: it has no {key} of shape {tuple(weight.shape)}; give a "
                "file of timm's weights for it"
            )
    return {key: weight for key, weight in found.items() if key in wanted}


def _create(config: CNNConfig) -> tuple[Any, int]:
    """The backbone and the number of its features."""
    import timm

    options: dict[str, Any] = {"drop_path_rate": config.drop_path_rate} if config.drop_path_rate else {}
    try:
        backbone = timm.create_model(
            config.backbone, pretrained=False, in_chans=1, num_classes=0, global_pool="", **options
        )
    except (RuntimeError, TypeError, AssertionError) as error:  # not every network takes these options
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"timm can't make {config.backbone!r} ({reason}): timm.list_models() lists what there is"
        ) from error
    # A dry run: transformers of images take one size alone, and some give their channels last.
    picture = torch.zeros(1, 1, config.num_mel_bins, config.max_length, device="meta")
    try:
        features = copy.deepcopy(backbone).to("meta").eval()(picture)
        is_cnn = features.dim() == 4 and features.shape[1] in (backbone.num_features, backbone.head_hidden_size)
    except (RuntimeError, AssertionError):
        is_cnn = False
    if not is_cnn:
        raise ValueError(
            f"{config.backbone!r} makes no feature map of a picture of {config.num_mel_bins} x {config.max_length}: "
            "choose a CNN of timm, such as an EfficientNet, ResNet or ConvNeXt"
        )
    return backbone, features.shape[1]
