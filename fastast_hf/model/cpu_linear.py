"""Linear layers for few tokens on a CPU: oneDNN's kernel where PyTorch would take MKL's."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

SMALLEST_WEIGHT = 2**17  # numbers


def fast_linear(layer: nn.Linear, inputs: Tensor, allowed: bool = True, gelu: bool = False) -> Tensor:
    """`layer(inputs)`, or its GELU, by oneDNN for inference on a CPU; equal to it within the dtype's rounding.

    Once most tokens are merged away, a layer multiplies large weights by a dozen rows, and MKL then takes about twice
    as long as reading the weights does. oneDNN takes half of that, and a tenth less for many rows
    (`benchmarks/README.md`). The operator has no gradient, so training keeps PyTorch's own path; so do compiled and
    exported models, quantised or adapted layers, layers with hooks, and ones so small that it is the operator's start,
    ten microseconds more, that counts.

    Args:
        layer: Weights (out, in).
        inputs: (..., in).
        allowed: False for `layer(inputs)` itself, to the bit.
        gelu: Whether to apply GELU (the exact one), which oneDNN does while the outputs are in the cache.

    Returns:
        (..., out).

    Example:
        >>> layer, inputs = nn.Linear(4, 3), torch.ones(2, 4)
        >>> bool(torch.allclose(fast_linear(layer, inputs), layer(inputs)))
        True
    """
    if (
        allowed
        and type(layer) is nn.Linear
        and not torch.is_grad_enabled()
        and not (torch.compiler.is_compiling() or torch.jit.is_tracing())
        and inputs.device.type == "cpu"
        and inputs.dtype == layer.weight.dtype
        and layer.weight.numel() >= SMALLEST_WEIGHT
        and not torch.is_autocast_enabled("cpu")
        and type(layer.weight) is nn.Parameter
        and layer.weight.device == inputs.device
        and "forward" not in vars(layer)
        and not (layer._forward_hooks or layer._forward_pre_hooks)
        and _onednn_works(inputs.dtype)
    ):
        activation, algorithm = ("gelu", "none") if gelu else ("none", "")
        return torch.ops.mkldnn._linear_pointwise(inputs, layer.weight, layer.bias, activation, [], algorithm)
    outputs = layer(inputs)
    return F.gelu(outputs) if gelu else outputs


@cache
def _onednn_works(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has the operator that its own compiler lowers linear layers to, tried out once."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    weight = torch.arange(6, device="cpu", dtype=dtype).view(2, 3)
    inputs = torch.ones(1, 3, device="cpu", dtype=dtype)
    try:
        outputs = torch.ops.mkldnn._linear_pointwise(inputs, weight, None, "none", [], "")
        return torch.equal(outputs, inputs @ weight.T)
    except (AttributeError, RuntimeError):  # there is none, or not for this processor
        return False


def _flops(inputs: Any, weight: Any, *_: Any, **__: Any) -> int:
    """Of shapes (..., in) and (out, in)."""
    return 2 * math.prod(inputs) * int(weight[0])


# Torch's FLOP counter would take the operator for nothing, and FastAST for faster than it is.
with suppress(AttributeError, RuntimeError):  # no such operator here, or one that torch counts by itself
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_flops)
