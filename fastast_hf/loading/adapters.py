"""Adapters (LoRA and its like) in a model in memory: found, and merged into the weights that they adapt."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn


def has_adapters(model: Any) -> bool:
    """Whether a model is wrapped by peft, or has its layers within."""
    return hasattr(model, "merge_and_unload") or any(map(_adapts, model.modules()))


def merged(model: Any) -> Any:
    """A copy of a model with its adapters merged, as plain as before they were put in.

    Args:
        model: A `PeftModel`, or a model that peft or transformers' `add_adapter` put layers into. It stays as it is.
    """
    model = copy.deepcopy(model)
    if hasattr(model, "merge_and_unload"):
        return model.merge_and_unload()
    for name, layer in list(model.named_modules()):
        if _adapts(layer):
            layer.merge()
            model.set_submodule(name, layer.get_base_layer())
    return model


def _adapts(layer: nn.Module) -> bool:
    return hasattr(layer, "merge") and hasattr(layer, "get_base_layer")
