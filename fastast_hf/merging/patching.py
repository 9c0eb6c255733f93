"""Token Merging for a model that is already there, in place, and back again; weights are shared, never copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from transformers import ASTConfig, ASTModel
from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import ASTPreTrainedModel

from ..model.layer_fastast import copy_checkpointing
from ..model.modeling_fastast import FastASTModel, FastASTPreTrainedModel
from ..model.token_merging import merges_per_layer


def apply_token_merging(ast_or_pipeline: Any, r: int | Sequence[int], tome_schedule: str | None = None) -> None:
    """Make every AST encoder inside a model or pipeline merge `r` tokens a layer, in place.

    The encoder is replaced by a [`FastASTModel`] that holds the same parameters: an optimiser goes on training them,
    and saving writes the AST checkpoint that stock AST reads. Called again, it changes `r`. The encoder then has a
    config of its own: what is set on the model's config later (`output_hidden_states`, say) does not reach it, where
    a keyword of the call does. A model that is compiled whole is compiled anew.

    Args:
        ast_or_pipeline: An `ASTForAudioClassification`, a pipeline around one, or any module that has an `ASTModel`
            somewhere within.
        r: Tokens merged in each layer; an int, or one int per layer.
        tome_schedule: As in [`FastASTConfig`]; None keeps what merges already, and is constant for what does not.

    Raises:
        TypeError: There is no AST encoder inside, it is compiled on its own, or it is a bare `ASTModel`, which nothing
            holds that could swap it.
        ValueError: A wrong `r` or schedule.

    Example:
        >>> from transformers import ASTForAudioClassification
        >>> model = ASTForAudioClassification(ASTConfig(num_hidden_layers=2, max_length=128))
        >>> apply_token_merging(model, r=20)
        >>> model(torch.zeros(1, 128, 128)).logits.shape
        torch.Size([1, 2])
    """
    module = _module(ast_or_pipeline)
    if isinstance(module, FastASTPreTrainedModel):
        module.set_tome_r(r, tome_schedule)
        return
    if isinstance(module, ASTModel):
        raise TypeError(
            "a bare ASTModel cannot be swapped in place: use FastASTModel.from_ast(model, tome_r=…) instead"
        )
    encoders = list(_encoders(module, ASTModel))
    if not encoders:
        raise TypeError(
            f"{type(module).__name__} has no AST encoder inside: give an AST model or a pipeline around one"
        )
    for _, _, encoder in encoders:  # all are checked before the first one changes
        merges_per_layer(r, encoder.config.num_hidden_layers, tome_schedule or "constant")
    for owner, name, encoder in encoders:
        if isinstance(encoder, FastASTModel):
            encoder.set_tome_r(r, tome_schedule)
        else:
            fast = FastASTModel.from_ast(encoder)
            fast.set_tome_r(r, tome_schedule or "constant")
            _share_hooks(encoder, fast)
            setattr(owner, name, fast)


def remove_token_merging(ast_or_pipeline: Any) -> None:
    """Undo [`apply_token_merging`]: stock AST encoders, with the same parameters, take their old places.

    Raises:
        TypeError: The model is a FastAST of its own, which `model.set_tome_r(0)` turns into stock AST's numbers.

    Example:
        >>> from transformers import ASTForAudioClassification
        >>> model = ASTForAudioClassification(ASTConfig(num_hidden_layers=2, max_length=128))
        >>> apply_token_merging(model, r=20)
        >>> remove_token_merging(model)
        >>> type(model.audio_spectrogram_transformer).__name__
        'ASTModel'
    """
    module = _module(ast_or_pipeline)
    if isinstance(module, FastASTPreTrainedModel):
        raise TypeError(f"a {type(module).__name__} merges by nature: model.set_tome_r(0) gives stock AST's numbers")
    for owner, name, encoder in list(_encoders(module, FastASTModel)):
        if isinstance(owner, FastASTPreTrainedModel):
            raise TypeError(f"a {type(owner).__name__} merges by nature: its set_tome_r(0) gives stock AST's numbers")
        shared = owner.config if isinstance(owner, ASTPreTrainedModel) else None
        stock = stock_encoder(encoder, shared)
        _share_hooks(encoder, stock)
        setattr(owner, name, stock)


def stock_encoder(model: FastASTModel, config: ASTConfig | None = None) -> ASTModel:
    """The stock `ASTModel` that shares the parameters of a FastAST encoder, and `config` where one is given."""
    if config is None:
        fields = model.config.to_dict()
        own = {key for key in fields if key.startswith("tome_")}
        config = ASTConfig(**{k: v for k, v in fields.items() if k not in own | {"model_type", "auto_map"}})
        config._attn_implementation = model.config._attn_implementation
    with torch.device("meta"):
        stock = ASTModel(config)
    state = model.state_dict(keep_vars=True)
    for name, parameter in stock.named_parameters():
        parameter.requires_grad_(state[name].requires_grad)  # assigning would thaw what is frozen
    stock.load_state_dict(state, assign=True)
    copy_checkpointing(model, stock)
    return stock.train(model.training)


def _module(ast_or_pipeline: Any) -> nn.Module:
    """The model itself, or the one inside a pipeline."""
    module = ast_or_pipeline if isinstance(ast_or_pipeline, nn.Module) else getattr(ast_or_pipeline, "model", None)
    if not isinstance(module, nn.Module):
        raise TypeError(f"a {type(ast_or_pipeline).__name__} was given: give an AST model or a pipeline around one")
    return module


def _encoders(module: nn.Module, kind: type[ASTModel]) -> Iterator[tuple[nn.Module, str, Any]]:
    """Each encoder of `kind` within `module`, with the module and the name that hold it."""
    for owner in module.modules():
        for name, child in owner._modules.items():  # named_children would name one that stands at two places once
            if not isinstance(child, kind):
                continue
            if name == "_orig_mod":
                raise TypeError(
                    f"the {type(child).__name__} is compiled on its own, and would stay so: merge tokens first, then "
                    "compile"
                )
            yield owner, name, child


def _share_hooks(old: nn.Module, new: nn.Module) -> None:
    """Hooks move along with what they were put on, and their handles still remove them."""
    for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
        setattr(new, name, getattr(old, name))
    for name in ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs"):
        setattr(new, name, getattr(old, name))
