"""FastAST: the Audio Spectrogram Transformer with Token Merging in every layer, on transformers' own AST."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ASTConfig, ASTForAudioClassification, ASTModel
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import (
    ASTMLPHead,
    ASTPreTrainedModel,
)
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_fastast import FastASTConfig
from .layer_fastast import FastASTEmbeddings, FastASTLayer, copy_checkpointing
from .patch_grid import resize_position_embeddings, token_mask
from .token_merging import NUM_PREFIX_TOKENS, attention_bias, merges_per_layer, tokens_per_layer

# AST checkpoints on the Hub have the key names of transformers < 5.9. Transformers renames them at load by a table
# keyed on the name of the inner class; without this line every layer of FastASTModel would stay random.
register_checkpoint_conversion_mapping("FastASTModel", get_checkpoint_conversion_mapping("ASTModel"), overwrite=True)


@dataclass
class FastASTModelOutput(BaseModelOutputWithPooling):
    """Output of [`FastASTModel`].

    Args:
        merge_map: One (B, P) int64 tensor for each layer asked for: for each of the P input patches, the index of
            the token it is part of after that layer (0 is CLS, 1 the distillation token, so 2 or more).
        kwargs: The rest is [`BaseModelOutputWithPooling`]'s.
    """

    merge_map: tuple[Tensor, ...] | None = None


@dataclass
class FastASTClassifierOutput(SequenceClassifierOutput):
    """Output of [`FastASTForAudioClassification`]: [`SequenceClassifierOutput`] and `FastASTModelOutput.merge_map`."""

    merge_map: tuple[Tensor, ...] | None = None


class FastASTPreTrainedModel(ASTPreTrainedModel):
    """What the FastAST models share: taking over any AST, and the choice of how much to merge."""

    config: FastASTConfig
    config_class = FastASTConfig  # the annotation is a string here, which transformers could not use
    _no_split_modules = ["FastASTEmbeddings", "FastASTLayer"]

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Any,
        *args: Any,
        config: ASTConfig | str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Load any AST or FastAST checkpoint, local or of the Hub, with old or new key names.

        It takes what transformers' `from_pretrained` takes, and any field of the config: `tome_r=`, `tome_schedule=`,
        `max_length=`. For another `max_length` than the checkpoint's, positions are cut or interpolated as AST does.

        Raises:
            ValueError: The checkpoint is no AST, or a setting is wrong.
            OSError: There is no such checkpoint.
            RuntimeError: The weights have other shapes than the config says (another number of labels, for example).
        """
        if pretrained_model_name_or_path is None:  # transformers takes config= and state_dict= this way
            return super().from_pretrained(None, *args, config=config, **kwargs)
        stored, _ = FastASTConfig.get_config_dict(pretrained_model_name_or_path, **kwargs)
        stored_length = stored.get("max_length", FastASTConfig.max_length)
        max_length = kwargs.pop("max_length", config.max_length if isinstance(config, ASTConfig) else stored_length)
        if isinstance(config, ASTConfig):  # the Auto classes pass one
            config = FastASTConfig.from_ast(config, max_length=stored_length)
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, config=config, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.set_tome_r(model.config.tome_r)  # fields set by keyword have not been checked together yet
        if max_length != stored_length:
            model.set_max_length(max_length)
        return loaded

    @classmethod
    def from_ast(cls, model: ASTPreTrainedModel, **overrides: Any) -> Any:
        """Make a FastAST model of an AST model in memory. Both share the same weights.

        Args:
            model: An `ASTForAudioClassification` for [`FastASTForAudioClassification`], an `ASTModel` for
                [`FastASTModel`].
            overrides: Fields of the config, such as `tome_r=20`. With another `max_length=`, the new model gets its
                own position table.

        Raises:
            TypeError: `model` is of another class.
            ValueError: Its layers are not plain (adapters in them, say), or a wrong setting.
        """
        wanted = ASTForAudioClassification if issubclass(cls, ASTForAudioClassification) else ASTModel
        if not isinstance(model, wanted):
            raise TypeError(
                f"{cls.__name__}.from_ast was given a {type(model).__name__}; it takes a {wanted.__name__}"
            )
        max_length = overrides.pop("max_length", model.config.max_length)
        config = FastASTConfig.from_ast(model.config, **overrides)
        with torch.device("meta"):
            fast = cls(config)
        state = model.state_dict(keep_vars=True)
        if different := sorted(set(state) ^ set(fast.state_dict())):
            raise ValueError(
                f"the {type(model).__name__} has other weights than AST ({different[0]} among {len(different)}): "
                "merge adapters and undo quantisation first"
            )
        for name, parameter in fast.named_parameters():
            parameter.requires_grad_(state[name].requires_grad)  # else assigning would unfreeze them in both models
        fast.load_state_dict(state, assign=True)
        copy_checkpointing(model, fast)
        if max_length != config.max_length:
            fast.set_max_length(max_length)
        return fast.train(model.training)

    def set_tome_r(self, tome_r: int | Sequence[int], tome_schedule: str | None = None) -> None:
        """Merge `tome_r` tokens a layer from now on, and save that with the model.

        Arguments and errors are those of [`FastASTConfig`].

        Example:
            >>> model = FastASTModel(FastASTConfig(num_hidden_layers=2, max_length=128))
            >>> model.set_tome_r(20)
            >>> model.token_schedule()
            [146, 126]
        """
        schedule = self.config.tome_schedule if tome_schedule is None else tome_schedule
        merges_per_layer(tome_r, self.config.num_hidden_layers, schedule)
        # The head's config and the encoder's are one object.
        self.config.tome_r = [int(r) for r in tome_r] if isinstance(tome_r, Sequence) else int(tome_r)
        self.config.tome_schedule = schedule

    def token_schedule(self, num_frames: int | None = None, tome_r: int | Sequence[int] | None = None) -> list[int]:
        """Tokens entering each layer, for clips of `num_frames` frames (the config's `max_length` if None)."""
        frequency, time = self.config.patch_grid_of(self.config.max_length if num_frames is None else num_frames)
        merges = self.config.merges_per_layer(tome_r)
        return tokens_per_layer(NUM_PREFIX_TOKENS + frequency * time, merges)[:-1]

    def set_max_length(self, max_length: int) -> None:
        """Cut or interpolate the position table for clips of `max_length` frames, for good."""
        model: Any = getattr(self, self.base_model_prefix, self)
        embeddings, config = model.embeddings, self.config
        new_grid = config.patch_grid_of(max_length)
        table = resize_position_embeddings(embeddings.position_embeddings.detach(), config.patch_grid, new_grid)
        embeddings.position_embeddings = nn.Parameter(
            table.clone(), requires_grad=embeddings.position_embeddings.requires_grad
        )
        config.max_length = max_length


class FastASTModel(FastASTPreTrainedModel, ASTModel):
    """The encoder: AST's with Token Merging in every layer (FastAST, Behera et al. 2024).

    Example:
        >>> model = FastASTModel(FastASTConfig(num_hidden_layers=2, max_length=128, tome_r=20))
        >>> model(torch.zeros(1, 128, 128)).last_hidden_state.shape
        torch.Size([1, 106, 768])
    """

    def __init__(self, config: FastASTConfig) -> None:
        # ASTModel's own __init__ would build and initialise stock layers only to have them replaced.
        ASTPreTrainedModel.__init__(self, config)
        self.embeddings = FastASTEmbeddings(config)
        self.layers = nn.ModuleList([FastASTLayer(config) for _ in range(config.num_hidden_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.register_load_state_dict_pre_hook(_rename_published_keys)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        *,
        tome_r: int | Sequence[int] | None = None,
        output_merge_map: bool | Sequence[int] | None = False,
        **kwargs: Any,
    ) -> FastASTModelOutput:
        """Encode log-mel spectrograms.

        Args:
            input_values: (B, T, mel bins) as the feature extractor makes them; T need not be the config's
                `max_length`.
            attention_mask: (B, T), 0 for frames that are padding: they then take no part in attention and means, and
                are merged away first. Off (None) by default: published ASTs were trained with padding attended to.
            tome_r: Merges per layer for this call alone; the config's if None.
            output_merge_map: True for all layers, or the indices of the layers whose `merge_map` is wanted.
            kwargs: `output_hidden_states`, `output_attentions`, and what the attention function takes.

        Raises:
            ValueError: A spectrogram or mask of the wrong shape, or a wrong `tome_r`.
        """
        config = self.config
        if input_values is None or input_values.dim() != 3 or input_values.shape[2] != config.num_mel_bins:
            given = None if input_values is None else tuple(input_values.shape)
            raise ValueError(
                f"input_values has shape {given}; FastAST takes (batch, frames, {config.num_mel_bins} mel bins), "
                "which FastASTFeatureExtractor makes"
            )
        config.patch_grid_of(input_values.shape[1])  # raises where a clip is shorter than a patch
        merges = config.merges_per_layer(tome_r)
        token_size = None if attention_mask is None else self._token_size(input_values, attention_mask)
        proportional = config.tome_proportional_attention
        padded = token_size is not None
        mapped = _layers_asked_for(output_merge_map, len(merges))

        hidden_states = self.embeddings(input_values)
        tokens = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        merge_map = tokens[NUM_PREFIX_TOKENS:].expand(hidden_states.shape[0], -1)
        merge_maps = []
        for layer, r in zip(self.layers, merges, strict=True):
            bias = None
            if token_size is not None:
                token_size = token_size.detach()  # reentrant checkpointing gives each output of a layer a gradient
                if proportional or padded:
                    bias = attention_bias(token_size, proportional)
            hidden_states, token_size, assignment = layer(
                hidden_states, token_size, bias, r, bool(mapped), padded, config.tome_metric, **kwargs
            )
            if assignment is not None:
                merge_map = assignment.gather(1, merge_map)
            merge_maps.append(merge_map)
        hidden_states = self.layernorm(hidden_states)
        return FastASTModelOutput(
            last_hidden_state=hidden_states,
            pooler_output=(hidden_states[:, 0] + hidden_states[:, 1]) / 2,
            merge_map=tuple(merge_maps[number] for number in mapped) or None,
        )

    def _token_size(self, input_values: Tensor, attention_mask: Tensor) -> Tensor:
        """1 for each real token and 0 for padding, from a mask over frames, or over tokens as stock AST takes it."""
        grid = self.config.patch_grid_of(input_values.shape[1])
        num_tokens = NUM_PREFIX_TOKENS + grid[0] * grid[1]
        if attention_mask.shape == input_values.shape[:2]:
            return token_mask(attention_mask, grid, self.config.patch_size, self.config.time_stride)
        if attention_mask.shape == (input_values.shape[0], num_tokens):
            mask = (attention_mask != 0).float()
            mask[:, :NUM_PREFIX_TOKENS] = 1  # attention to nothing at all would be NaN
            return mask
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}; it masks the frames, "
            f"{tuple(input_values.shape[:2])}, or the tokens, {(input_values.shape[0], num_tokens)}"
        )


def _rename_published_keys(model: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Give weights that `save_pretrained` wrote the names they have in the model, as `from_pretrained` does.

    `load_state_dict`, by which transformers' Trainer resumes and takes back its best epoch, would pass over them.
    """
    renamings = get_checkpoint_conversion_mapping("FastASTModel")
    for key in list(state_dict):
        name = key.removeprefix(prefix)
        for renaming in renamings:
            name = renaming.rename_source_key(name)[0]
        state_dict[prefix + name] = state_dict.pop(key)


def _layers_asked_for(output_merge_map: Any, num_layers: int) -> list[int]:
    """Indices of the layers whose merge map is asked for."""
    layers = range(num_layers)
    try:
        return list(layers) if output_merge_map is True else [layers[number] for number in output_merge_map or ()]
    except (IndexError, TypeError):
        raise ValueError(
            f"output_merge_map is {output_merge_map!r} for a model of {num_layers} layers: give True or a list of "
            "their indices"
        ) from None


class FastASTForAudioClassification(FastASTPreTrainedModel, ASTForAudioClassification):
    """FastAST with AST's classification head: a faster drop-in for any `ASTForAudioClassification` checkpoint.

    Example:
        >>> config = FastASTConfig(num_hidden_layers=2, max_length=128, num_labels=10, tome_r=20)
        >>> FastASTForAudioClassification(config)(torch.zeros(1, 128, 128), tome_r=8).logits.shape
        torch.Size([1, 10])
    """

    def __init__(self, config: FastASTConfig) -> None:
        ASTPreTrainedModel.__init__(self, config)
        self.num_labels = config.num_labels
        self.audio_spectrogram_transformer = FastASTModel(config)
        self.classifier = ASTMLPHead(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        labels: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> FastASTClassifierOutput:
        """Classify log-mel spectrograms.

        Args:
            input_values: (B, T, mel bins).
            labels: (B,) class indices, or (B, labels) floats for multi-label problems; the loss is AST's.
            attention_mask: As in [`FastASTModel`].
            kwargs: As in [`FastASTModel`], `tome_r` and `output_merge_map` among them.
        """
        outputs = self.audio_spectrogram_transformer(input_values, attention_mask=attention_mask, **kwargs)
        logits = self.classifier(outputs.pooler_output)
        loss = None
        if labels is not None:
            for own in ("tome_r", "output_merge_map"):
                kwargs.pop(own, None)
            loss = self.loss_function(labels, logits, self.config, **kwargs)
        return FastASTClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            merge_map=outputs.merge_map,
        )

    def push_to_hub(self, repo_id: str, **settings: Any) -> Any:
        """Upload model, front end, code, card and endpoint handler in one commit: `fastast_hf.hub.publish.push_model`.

        A checkpoint's own code, where the package is not installed, uploads what transformers does.

        Args:
            repo_id: `USER/NAME`.
            settings: transformers' own (`private`, `token`, `create_pr` …) and those of `push_model`.
        """
        if find_spec("fastast_hf") is None:
            return super().push_to_hub(repo_id, **settings)
        # Not an import statement: transformers would refuse to load this code where the package is not installed.
        return import_module("fastast_hf.hub.publish").push_model(self, repo_id, **settings)


FastASTModel.register_for_auto_class("AutoModel")
FastASTForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")
