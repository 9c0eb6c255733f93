"""PaSST as an audio classifier (Koutini et al. 2022): the transformer teacher of CMKD, on transformers' AST layers.

An AST whose positions are the sum of one per frequency row and one per time column (§2.1 of its paper), and which
learns from a part of the patches: whole columns, whole rows or single patches are left out (patchout, §2.2).
"""

from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import ASTConfig
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import (
    ASTLayer,
    ASTMLPHead,
    ASTPatchEmbeddings,
    ASTPreTrainedModel,
)
from transformers.utils import logging
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

logger = logging.get_logger(__name__)

HEAD_LAYER_NORM_EPS = 1e-5  # where the encoder has `layer_norm_eps`


@strict
class PasstConfig(ASTConfig):
    r"""Configuration of [`PasstForAudioClassification`]: an [`ASTConfig`] with patchout.

    Args:
        time_patchout: Columns of patches left out of a training batch.
        frequency_patchout: Rows of patches left out of a training batch.
        unstructured_patchout: Single patches left out of what remains.
        kwargs: Everything else is [`ASTConfig`]'s. `max_length` sizes the table of time positions, `max_length //
            time_stride` columns; shorter clips will do.

    Raises:
        ValueError: A negative patchout, a clip shorter than a patch, or a stride for which mel bins and patches make
            different numbers of rows (inside huggingface_hub's `StrictDataclassError`).

    Example:
        >>> PasstConfig(time_patchout=40, frequency_patchout=4).position_grid
        (12, 99)
    """

    model_type = "fastast_passt"

    patch_size: int = 16  # ASTConfig allows a pair, which AST's own embeddings can't take
    layer_norm_eps: float = 1e-6
    max_length: int = 998
    time_patchout: int = 0
    frequency_patchout: int = 0
    unstructured_patchout: int = 0

    def validate_patchout(self) -> None:
        """Check how much is left out (called when a config is built)."""
        for name in ("time_patchout", "frequency_patchout", "unstructured_patchout"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give how many to leave out, 0 or more")

    def validate_position_grid(self) -> None:
        """Check that there is a position for every row of patches (called when a config is built)."""
        if self.max_length < self.patch_size or self.num_mel_bins < self.patch_size:
            raise ValueError(
                f"a spectrogram of {self.max_length} frames and {self.num_mel_bins} mel bins is smaller than one "
                f"patch of {self.patch_size}: give a longer max_length, or more mel bins"
            )
        patches = (self.num_mel_bins - self.patch_size) // self.frequency_stride + 1
        if patches != self.position_grid[0]:
            raise ValueError(
                f"{self.num_mel_bins} mel bins at stride {self.frequency_stride} make {patches} rows of patches, and "
                f"PaSST's table has mel bins // stride = {self.position_grid[0]}: choose another frequency_stride, "
                "such as 10, 12, 14 or 16 for 128 mel bins"
            )

    @property
    def position_grid(self) -> tuple[int, int]:
        """Rows and columns that have positions; the columns may be one more than a clip of `max_length` makes."""
        return self.num_mel_bins // self.frequency_stride, self.max_length // self.time_stride


class PasstEmbeddings(nn.Module):
    """Patches with their positions, less those that patchout leaves out, behind the class and distillation tokens."""

    def __init__(self, config: PasstConfig) -> None:
        super().__init__()
        (rows, columns), width = config.position_grid, config.hidden_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_embeddings = ASTPatchEmbeddings(config)
        self.prefix_positions = nn.Parameter(torch.zeros(1, 2, width))
        self.frequency_positions = nn.Parameter(torch.zeros(1, rows, 1, width))
        self.time_positions = nn.Parameter(torch.zeros(1, 1, columns, width))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.config = config

    def forward(self, input_values: Tensor) -> Tensor:
        """(B, T, mel bins) to (B, 2 + patches kept, C)."""
        patches = self.patch_embeddings(input_values).unflatten(1, (self.config.position_grid[0], -1))
        if patches.shape[2] > self.time_positions.shape[2]:
            logger.warning_once(
                f"PaSST was given more frames than it has positions for (max_length={self.config.max_length}): "
                "the end is cut off"
            )
            patches = patches[:, :, : self.time_positions.shape[2]]
        patches = patches + self._time_positions(patches.shape[2]) + self.frequency_positions
        patches = self._patchout(patches) if self.training else patches.flatten(1, 2)
        prefix = torch.cat([self.cls_token, self.distillation_token], dim=1) + self.prefix_positions
        return self.dropout(torch.cat([prefix.expand(len(patches), -1, -1), patches], dim=1))

    def _time_positions(self, columns: int) -> Tensor:
        """(1, 1, columns, C): the first ones or, in training, a stretch from anywhere, one for the batch."""
        table = self.time_positions
        spare = table.shape[2] - columns
        if not self.training or spare == 0:
            return table[:, :, :columns]
        # As indices, so that no number has to come back from the device.
        first = torch.randint(spare + 1, (1,), device=table.device)
        return table.index_select(2, first + torch.arange(columns, device=table.device))

    def _patchout(self, patches: Tensor) -> Tensor:
        """(B, rows, columns, C) to (B, patches kept, C), frequency-major; the whole batch keeps the same ones."""
        config = self.config
        for dim, name, count in ((2, "time", config.time_patchout), (1, "frequency", config.frequency_patchout)):
            if count:
                patches = patches.index_select(dim, _kept(patches.shape[dim], count, f"{name}_patchout", patches))
        patches = patches.flatten(1, 2)
        if count := config.unstructured_patchout:
            patches = patches.index_select(1, _kept(patches.shape[1], count, "unstructured_patchout", patches))
        return patches


def _kept(total: int, dropped: int, name: str, patches: Tensor) -> Tensor:
    """Sorted indices (total - dropped,) of what is kept."""
    if dropped >= total:
        raise ValueError(f"{name}={dropped} leaves nothing of the {total} there are: lower it, or give longer clips")
    return torch.randperm(total, device=patches.device)[: total - dropped].sort().values


class PasstHead(ASTMLPHead):
    """AST's head with the epsilon that PaSST's has."""

    def __init__(self, config: PasstConfig) -> None:
        super().__init__(config)
        self.layernorm.eps = HEAD_LAYER_NORM_EPS


class PasstForAudioClassification(ASTPreTrainedModel):
    """PaSST with its classification head; its front end is [`PasstFeatureExtractor`].

    Example:
        >>> config = PasstConfig(num_hidden_layers=1, max_length=200, num_labels=10)
        >>> PasstForAudioClassification(config).eval()(torch.zeros(1, 100, 128)).logits.shape
        torch.Size([1, 10])
    """

    config: PasstConfig
    config_class = PasstConfig  # transformers would read the annotation, which is a string in this module
    _no_split_modules = ["PasstEmbeddings", "ASTLayer"]

    def __init__(self, config: PasstConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.embeddings = PasstEmbeddings(config)
        self.layers = nn.ModuleList([ASTLayer(config) for _ in range(config.num_hidden_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.classifier = PasstHead(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PasstEmbeddings):
            for parameter in module.parameters(recurse=False):
                init.trunc_normal_(parameter, std=self.config.initializer_range)

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(self, input_values: Tensor, labels: Tensor | None = None, **kwargs: Any) -> SequenceClassifierOutput:
        """Classify log-mel spectrograms.

        Args:
            input_values: (B, T, mel bins) as [`PasstFeatureExtractor`] makes them; T need not be the config's
                `max_length`, and what is longer is cut off.
            labels: (B,) class indices, or (B, labels) floats for multi-label problems; the loss is AST's.
            kwargs: `output_hidden_states`, `output_attentions`, and what the attention function takes.

        Raises:
            ValueError: `input_values` has another shape, an `attention_mask` is given, or patchout leaves nothing.
        """
        config = self.config
        if input_values.dim() != 3 or input_values.shape[2] != config.num_mel_bins:
            raise ValueError(
                f"input_values has shape {tuple(input_values.shape)}; this PaSST takes (batch, frames, "
                f"{config.num_mel_bins} mel bins)"
            )
        if input_values.shape[1] < config.patch_size:
            raise ValueError(
                f"a clip of {input_values.shape[1]} frames is shorter than one patch of {config.patch_size}: "
                "pad it, or take a longer clip"
            )
        if kwargs.pop("attention_mask", None) is not None:
            raise ValueError(
                "PaSST takes no attention_mask, as it learned from padding as silence: leave it out, and "
                "return_attention_mask too"
            )
        hidden_states = self.embeddings(input_values)
        for layer in self.layers:
            hidden_states = layer(hidden_states, None, **kwargs)
        prefix = self.layernorm(hidden_states[:, :2])
        logits = self.classifier((prefix[:, 0] + prefix[:, 1]) / 2)
        loss = None if labels is None else self.loss_function(labels, logits, config, **kwargs)
        return SequenceClassifierOutput(loss=loss, logits=logits)
