"""FastAST with 8-bit linear layers, for inference on CPUs that multiply 8-bit integers (VNNI).

Weights are rounded to 8 bits once, by output channel; activations at each call, by token, so that a clip's scores are
its own, whatever else is in the batch. Products are summed exactly in 32-bit integers. Attention, normalisation, the
residual stream and merging stay in float32.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from ..model.layer_fastast import FastASTLayer
from ..model.modeling_fastast import FastASTForAudioClassification

# Steps from 0 to a token's largest value, and what stands for 0.
STEPS, ZERO = 127, 128
ORIGINAL = "give the model it was made of"


class Quantized(NamedTuple):
    """Activations (..., in) in 8 bits: `largest / STEPS * (integers - ZERO)`, `largest` (..., 1) of each token.

    A token that is not finite has a `largest` that is not, and so is what a layer makes of it.
    """

    integers: Tensor
    largest: Tensor


def to_int8(model: FastASTForAudioClassification) -> FastASTForAudioClassification:
    """A copy of a model, for inference on the CPU, whose layers' linear parts compute in 8 bits.

    Logits of small trained models move by 0.6 % of their spread on average, and 5 % at most (`benchmarks/README.md`).
    Such a model tells no attention maps, and can't be saved.

    Args:
        model: Stays as it is; the copy shares nothing with it.

    Raises:
        ValueError: This machine or PyTorch lacks the instructions, a layer's linear parts are not plain, or they are
            in 8 bits already.

    Example:
        >>> from fastast_hf import FastASTConfig
        >>> model = FastASTForAudioClassification(FastASTConfig(num_hidden_layers=2, hidden_size=24, max_length=64))
        >>> if int8_works():
        ...     to_int8(model)(torch.zeros(1, 64, 128), tome_r=8).logits.shape
        torch.Size([1, 2])
    """
    check_works()
    encoder = model.audio_spectrogram_transformer
    if any(isinstance(layer, Int8Layer) for layer in encoder.layers):
        raise ValueError(f"int8 was asked of a model that is in int8 already: {ORIGINAL}")
    # Without copying what is about to be replaced.
    fast: Any = copy.deepcopy(model, {id(encoder.layers): nn.ModuleList()})
    fast = fast.to("cpu", torch.float32).requires_grad_(False).eval()
    fast.audio_spectrogram_transformer.layers = nn.ModuleList([Int8Layer(layer) for layer in encoder.layers])
    return fast


class Int8Linear:
    """One or more linear layers of one input, side by side, on quantised inputs.

    Args:
        layers: Each with weights (out, in); the outputs are in their order.

    Raises:
        ValueError: They are not plain linear layers, but adapted or quantised ones.
    """

    def __init__(self, *layers: Any) -> None:
        for layer in layers:
            if type(layer) is not nn.Linear or "forward" in vars(layer):
                raise ValueError(
                    f"int8 was asked of a {type(layer).__module__}.{type(layer).__name__} in place of a linear layer: "
                    "merge adapters and undo quantisation first"
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

    def __getstate__(self) -> dict[str, Any]:
        # Its layout can't be pickled, nor can a tensor of torch's that is gone before a spawned worker begins.
        return {**vars(self), "weight": self.weight.to_dense().t().contiguous().numpy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        check_works()
        packed = torch.ops.onednn.qlinear_prepack(torch.from_numpy(state["weight"]), None)
        vars(self).update(state, weight=packed)

    def __call__(self, inputs: Quantized, residual: Tensor | None = None) -> Tensor:
        """Quantised (..., in) to float32 (..., out), with `residual` (..., out) added."""
        output: Any = (None, 1.0, 0, torch.float32, "none", [], "")
        products = torch.ops.onednn.qlinear_pointwise(
            inputs.integers, 1 / STEPS, ZERO, self.weight, self.scale, self.zero_point, *output
        )
        # In place: for large batches, fetching new memory takes longer than the arithmetic.
        if residual is None:
            return torch.addcmul(self.bias, products, inputs.largest, out=products)
        return torch.addcmul(residual, products, inputs.largest, out=products).add_(self.bias)


class Int8Layer(FastASTLayer):
    """A [`FastASTLayer`] with its linear layers in 8 bits, for inference.

    Query, key and value are one product of one quantised input.
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
        exact_gelu = attention.config.hidden_act == "gelu"
        self.activation_fn = gelu_ if exact_gelu else layer.mlp.activation_fn
        self.requires_grad_(False).eval()

    @torch.no_grad()
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

    @torch.no_grad()
    def feed_forward(self, hidden_states: Tensor, merging: bool) -> Tensor:
        """As [`FastASTLayer.feed_forward`]."""
        inputs = quantized(self.layernorm_after(hidden_states))
        return self.contract(quantized(self.activation_fn(self.expand(inputs))), residual=hidden_states)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError(f"an int8 model is for inference, and can't be saved or turned into another: {ORIGINAL}")


def quantized(inputs: Tensor) -> Quantized:
    """Float32 values (..., in), contiguous, in 8 bits by each token's own range; they are overwritten."""
    largest = torch.maximum(inputs.amax(dim=-1, keepdim=True), inputs.amin(dim=-1, keepdim=True).neg_())
    largest.clamp_(min=torch.finfo(torch.float32).tiny)  # of a token of zeros
    whole = torch.quantize_per_tensor(inputs.div_(largest), 1 / STEPS, ZERO, torch.quint8)
    # int_repr() would copy them.
    integers = torch.empty(0, dtype=torch.uint8).set_(whole.untyped_storage(), 0, whole.shape, whole.stride())
    return Quantized(integers, largest)


def gelu_(inputs: Tensor) -> Tensor:
    """GELU in place; unlike torch's own operator, it can be pickled."""
    return torch.ops.aten.gelu_(inputs)


def check_works() -> None:
    """Raise a ValueError where there is no int8."""
    if not int8_works():
        raise ValueError("int8 needs an x86 processor with VNNI: choose float32 or bfloat16 here")


@cache
def int8_works() -> bool:
    """Whether this machine multiplies 8-bit integers, and this PyTorch has the operators for it, tried out once."""
    # Without VNNI, sums of 8-bit products saturate at 16 bits.
    if not torch.cpu._is_vnni_supported():
        return False
    try:
        exact: Any = {"dtype": torch.float32, "device": "cpu"}  # whatever the defaults of the process are
        layer = nn.Linear(64, 16, **exact)
        inputs = torch.linspace(-1, 3, 128, **exact).view(2, 64)
        expected = layer(inputs) + 1
        outputs = Int8Linear(layer)(quantized(inputs), residual=torch.ones(2, 16, **exact))
        return torch.allclose(outputs, expected, atol=0.1)
    except (AttributeError, RuntimeError):
        return False
