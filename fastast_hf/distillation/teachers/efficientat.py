"""EfficientAT's released checkpoints (Schmid et al. 2023): MobileNetV3-large (Howard et al. 2019) of any width."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from ...loading.pickled_weights import read_weights

_LAST_CHANNELS = 1280  # of width 1, before the labels
_OTHER_FRONT_END = ("_hop_", "_mels_")  # in the names of checkpoints whose front end no weight tells
_EXAMPLE = "give a released mn*_as*.pt, such as mn04_as_mAP_432.pt"


@strict
class EfficientATConfig(PreTrainedConfig):
    """Configuration of [`EfficientATForAudioClassification`].

    Args:
        width: Times MobileNetV3-large's channels: 0.1, 0.2, 0.4, 0.5, 1, 2, 3 and 4 are released.
        num_mel_bins: Mel bins of a spectrogram.
        kwargs: What [`PreTrainedConfig`] takes: `num_labels`, `id2label`, `problem_type` …

    Example:
        >>> EfficientATConfig(width=0.4).model_type
        'fastast_efficientat'
    """

    model_type = "fastast_efficientat"

    width: float | int = 1.0
    num_mel_bins: int = 128


class EfficientATForAudioClassification(PreTrainedModel):
    """torchvision's MobileNetV3-large for spectrograms; its front end is [`PasstFeatureExtractor`].

    Example:
        >>> model = EfficientATForAudioClassification(EfficientATConfig(width=0.1, num_labels=10))
        >>> model.eval()(torch.zeros(1, 100, 128)).logits.shape
        torch.Size([1, 10])
    """

    config_class = EfficientATConfig
    main_input_name = "input_values"
    input_modalities = ("audio",)
    _no_split_modules = ()

    def __init__(self, config: EfficientATConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.network = _create(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: torchvision has begun them well."""

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
                f"input_values has shape {tuple(input_values.shape)}; this EfficientAT takes (batch, frames, "
                f"{self.config.num_mel_bins} mel bins)"
            )
        pictures = input_values.transpose(1, 2).unsqueeze(1)
        logits = self.network(pictures.contiguous(memory_format=torch.channels_last))
        loss = None if labels is None else self.loss_function(labels, logits, self.config, **kwargs)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def efficientat_from_checkpoint(checkpoint: str | Path, **config_fields: Any) -> EfficientATForAudioClassification:
    """Read one of EfficientAT's released checkpoints, `mn*_as*.pt`.

    Args:
        checkpoint: A `.pt` file; only tensors are read from it, no code.
        config_fields: Of [`EfficientATConfig`], but for the width: what the labels say, `id2label=…`, `label2id=…`.

    Returns:
        The model, in eval mode. Its front end is [`PasstFeatureExtractor`].

    Raises:
        OSError: No such file.
        ValueError: It holds something else than EfficientAT's weights, or was trained with another front end.

    Example:
        >>> efficientat_from_checkpoint("mn04_as_mAP_432.pt").save_pretrained("mn04")  # doctest: +SKIP
    """
    weights = read_weights(checkpoint)
    if other := [part for part in _OTHER_FRONT_END if part in Path(checkpoint).name]:
        raise ValueError(
            f"{checkpoint} hears by another {other[0].strip('_')} than 10 ms and 128 mel bins: {_EXAMPLE}"
        )
    try:
        width = len(weights["classifier.2.bias"]) / _LAST_CHANNELS
        num_labels = len(weights["classifier.5.bias"])
    except KeyError as error:
        raise ValueError(f"{checkpoint} has no weight {error}: {_EXAMPLE}") from None
    names = config_fields.get("id2label")
    if names is not None and len(names) != num_labels:
        raise ValueError(f"{len(names)} labels given, {checkpoint} has {num_labels}: give those it was trained on")
    fields = {"num_labels": num_labels, "problem_type": "multi_label_classification", **config_fields}
    model = EfficientATForAudioClassification(EfficientATConfig(width=width, **fields))
    try:
        model.network.load_state_dict(efficientat_weights(weights))
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()[:160]
        raise ValueError(f"{checkpoint} is of another network than MobileNetV3-large ({reason}): {_EXAMPLE}") from None
    return model.eval()


def efficientat_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EfficientAT's weights under torchvision's names: squeeze-and-excitation there is of 1 × 1 convolutions."""
    state = {}
    for key, weight in weights.items():
        if ".conc_se_layers.0." in key:
            key = key.replace(".conc_se_layers.0.", ".")
            weight = weight[:, :, None, None] if weight.dim() == 2 else weight
        # Pooling and flattening, which torchvision does before its head, are modules of EfficientAT's.
        state[re.sub(r"^classifier\.(\d)", lambda place: f"classifier.{int(place[1]) - 2}", key)] = weight
    return state


def _create(config: EfficientATConfig) -> nn.Module:
    from torchvision.models import mobilenet_v3_large
    from torchvision.ops import SqueezeExcitation

    network = mobilenet_v3_large(width_mult=config.width, num_classes=config.num_labels)
    stem = network.features[0][0]
    network.features[0][0] = nn.Conv2d(1, stem.out_channels, 3, stride=2, padding=1, bias=False)
    for module in network.modules():
        if isinstance(module, SqueezeExcitation):
            module.scale_activation = nn.Sigmoid()  # MobileNetV3's own is piecewise linear
    return network
