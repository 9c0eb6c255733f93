"""FastAST with 8-bit linear layers, for inference on CPUs that multiply 8-bit integers (VNNI).

Weights are rounded to 8 bits once, by output channel; activations at each call, by the tensor's own range. Products
are summed exactly in 32-bit integers. Attention, normalisation, the residual stream and merging stay in float32.
"""

from __future__ import annotations

import copy
import math
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from .layer_fastast import FastASTLayer
from .modeling_fastast import FastASTForAudioClassification


class Quantized(NamedTuple):
    """Activations in 8 bits, `scale * (integers - zero_point)`; `spoilt` (..., 1) is NaN for rows with NaN, if any."""

    integers: Tensor
    scale: float
    zero_point: int
    spoilt: Tensor | None


def to_int8(model: FastASTForAudioClassification) -> FastASTForAudioClassification:
    """A copy of a model, for inference on the CPU, whose layers' linear parts compute in 8 bits.

    Logits move by a few hundredths of their spread (`benchmarks/README.md`). As activations are rounded by the range
    of the whole batch, they depend a little on what else is in it. What can't be told of such a model is its
    attention maps, and it can't be saved.

    Args:
        model: Stays as it is; the copy shares nothing with it.

    Raises:
        ValueError: This machine or PyTorch lacks the instructions, or a layer's linear parts are not plain.

    Example:
        >>> from fastast_hf import FastASTConfig
        >>> model = FastASTForAudioClassification(FastASTConfig(num_hidden_layers=2, hidden_size=24, max_length=64))
        >>> if int8_works():
        ...     to_int8(model)(torch.zeros(1, 64, 128), tome_r=8).logits.shape
        torch.Size([1, 2])
    """
    if not int8_works():
        raise ValueError("int8 needs an x86 processor with VNNI: choose float32 or bfloat16 here")
    encoder = model.audio_spectrogram_transformer
    layers, encoder.layers = encoder.layers, nn.ModuleList()
    try:  # without copying what is about to be replaced
        fast = copy.deepcopy(model).to("cpu", torch.float32).requires_grad_(False).eval()
    finally:
        encoder.layers = layers
    fast.audio_spectrogram_transformer.layers = nn.ModuleList([Int8Layer(layer) for layer in layers])
    return fast


class Int8Linear:
    """One or more linear layers of one input, side by side, on quantised inputs.

    Args:
        layers: Each with weights (out, in); the outputs are in their order.

    Raises:
        ValueError: They are not plain linear layers: adapted or quantised ones.
    """

    def __init__(self, *layers: Any) -> None:
        for layer in layers:
            if type(layer) is not nn.Linear or "forward" in vars(layer):
                raise ValueError(
                    f"int8 was asked of a {type(layer).__name__} in place of a linear layer: merge adapters first"
                )
        weight = torch.cat([layer.weight.detach().cpu().float() for layer in layers])
        biases = [torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in layers]
        scale = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        rounded = (weight / scale.unsqueeze(1)).round().to(torch.int8)
        self.scale, self.zero_point = scale, torch.zeros(len(weight), dtype=torch.int64)
        self.bias = torch.cat([bias.detach().cpu().float() for bias in biases])
        self.weight = torch.ops.onednn.qlinear_prepack(rounded, None)

    def __deepcopy__(self, memo: dict[int, Any]) -> Int8Linear:
        return self  # oneDNN's layout of the weights can't be copied, and need not be: it never changes

    def __call__(self, inputs: Quantized, activation: str = "none", residual: Tensor | None = None) -> Tensor:
        """Quantised (..., in) to float32 (..., out): `activation` of it, or with `residual` (..., out) added."""
        integers, scale, zero_point, spoilt = inputs
        factors = (integers, scale, zero_point, self.weight, self.scale, self.zero_point)
        if residual is None:
            # "gelu" by "none" is the exact one.
            output: Any = (1.0, 0, torch.float32, activation, [], "none" if activation == "gelu" else "")
            outputs = torch.ops.onednn.qlinear_pointwise(*factors, self.bias, *output)
        else:
            added: Any = (1.0, 0, torch.float32, 1.0, 0, "add", 1.0, "none", [], "")
            outputs = torch.ops.onednn.qlinear_pointwise.binary(*factors, residual, self.bias, *added)
        return outputs if spoilt is None else outputs + spoilt


class Int8Layer(FastASTLayer):
    """A [`FastASTLayer`] with its linear layers in 8 bits, for inference.

    Query, key and value are one product of one quantised input; GELU and the residual sums are made while the
    products are in the cache.
    """

    def __init__(self, layer: Any) -> None:
        GradientCheckpointingLayer.__init__(self)
        attention = layer.attention
        self.head_dim, self.scaling = attention.head_dim, attention.scaling
        self.layernorm_before = copy.deepcopy(layer.layernorm_before).to("cpu", torch.float32)
        self.layernorm_after = copy.deepcopy(layer.layernorm_after).to("cpu", torch.float32)
        self.query_key_value = Int8Linear(attention.q_proj, attention.k_proj, attention.v_proj)
        self.output = Int8Linear(attention.o_proj)
        self.expand, self.contract = Int8Linear(layer.mlp.fc1), Int8Linear(layer.mlp.fc2)
        self.exact_gelu = attention.config.hidden_act == "gelu"
        self.activation_fn = layer.mlp.activation_fn
        self.requires_grad_(False).eval()

    def attend(
        self, hidden_states: Tensor, key_bias: Tensor | None, merging: bool, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """As [`FastASTLayer.attend`]."""
        batch, tokens, _ = hidden_states.shape
        projected = self.query_key_value(quantized(self.layernorm_before(hidden_states)))
        query, key, value = projected.view(batch, tokens, 3, -1, self.head_dim).permute(2, 0, 3, 1, 4)
        mask = None if key_bias is None else key_bias[:, None, None, :]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=self.scaling)
        attended = attended.transpose(1, 2).reshape(batch, tokens, -1)
        return self.output(quantized(attended), residual=hidden_states), key

    def feed_forward(self, hidden_states: Tensor, merging: bool) -> Tensor:
        """As [`FastASTLayer.feed_forward`]."""
        inputs = quantized(self.layernorm_after(hidden_states))
        inner = self.expand(inputs, "gelu") if self.exact_gelu else self.activation_fn(self.expand(inputs))
        return self.contract(quantized(inner), residual=hidden_states)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("an int8 model is for inference alone: save the model it was made of")


def quantized(inputs: Tensor) -> Quantized:
    """Contiguous float32 values (..., in) in 8 bits, by the scale and zero point that their range calls for."""
    spoilt = None
    try:
        whole = torch.quantize_per_tensor_dynamic(inputs, torch.quint8, False)
        finite = math.isfinite(whole.q_scale())
    except RuntimeError:  # there is no range with NaN in it
        finite = False
    if not finite:  # integers hold no NaN; it goes beside them, so that other clips of the batch are spared
        spoilt = inputs.sum(dim=-1, keepdim=True) * 0
        whole = torch.quantize_per_tensor_dynamic(inputs.nan_to_num(0, 0, 0), torch.quint8, False)
    # int_repr() would copy them.
    integers = torch.empty(0, dtype=torch.uint8).set_(whole.untyped_storage(), 0, whole.shape, whole.stride())
    return Quantized(integers, whole.q_scale(), whole.q_zero_point(), spoilt)


@cache
def int8_works() -> bool:
    """Whether this machine multiplies 8-bit integers, and this PyTorch has the operators for it, tried out once."""
    # Without VNNI, sums of 8-bit products saturate at 16 bits.
    if not torch.cpu._is_vnni_supported():
        return False
    try:
        layer = nn.Linear(64, 16)
        inputs = torch.linspace(-1, 3, 128).view(2, 64)
        outputs = Int8Linear(layer)(quantized(inputs), residual=torch.ones(2, 16))
        return torch.allclose(outputs, layer(inputs) + 1, atol=0.1)
    except (AttributeError, RuntimeError):
        return False
