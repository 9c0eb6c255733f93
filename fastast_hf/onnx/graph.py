"""FastAST as an ONNX graph: standard operators, any batch, clips of one length.

The graph is written node by node, not traced: that takes a second instead of a minute, needs no tracer, and leaves out
what nobody reads. Tokens are summed by a product with a 0/1 matrix, because runtimes differ in what a scatter does
where several tokens go to one place. Ties go to the lowest index, as in [`token_merging`].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from ..model.modeling_fastast import FastASTForAudioClassification
from ..model.token_merging import NUM_PREFIX_TOKENS, capped_merges
from .nodes import Nodes

OPSET = 20  # the first with Gelu
IR_VERSION = 9  # that opset's own, so that every runtime that knows the operators reads the file
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "gelu": ("Gelu", {}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
}


def build_graph(
    model: FastASTForAudioClassification, *, int8: bool = False, frame_mask: bool = False
) -> onnx.ModelProto:
    """Write a model's computation, its own `tome_r`, `tome_schedule` and `max_length` in it.

    Args:
        model: Stays as it is. Weights of any dtype; the graph's are float32.
        int8: Multiply 8-bit integers in the layers' linear maps: weights rounded per output channel, activations per
            token. Patches, attention, matching, merging and the head stay in float32.
        frame_mask: Take an `attention_mask` (batch, frames), 0 for padding, besides the spectrograms.

    Returns:
        A graph from `input_values` (batch, frames, mel bins) to `logits` (batch, labels).

    Raises:
        ValueError: An activation function that ONNX has no operator for.

    Example:
        >>> from fastast_hf import FastASTConfig
        >>> config = FastASTConfig(num_hidden_layers=2, hidden_size=24, max_length=64, tome_r=8)
        >>> graph = build_graph(FastASTForAudioClassification(config)).graph
        >>> [dimension.dim_param or dimension.dim_value for dimension in graph.input[0].type.tensor_type.shape.dim]
        ['batch', 64, 128]
    """
    config = model.config
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(f"hidden_act is {config.hidden_act!r}: exported are {', '.join(ACTIVATIONS)}")
    encoder = model.audio_spectrogram_transformer
    writer = _Writer(model, int8)
    hidden_states = writer.embeddings()
    size = writer.sizes_of_mask() if frame_mask else None
    for number, (layer, r) in enumerate(zip(encoder.layers, config.merges_per_layer(), strict=True)):
        hidden_states, size = writer.layer(hidden_states, size, layer, r, number == len(encoder.layers) - 1)
    add = writer.add
    pooled = add("ReduceMean", add.layernorm(hidden_states, encoder.layernorm), add.ints(1), keepdims=0)
    head = model.classifier
    matrix, bias = add.constant(head.dense.weight.T), add.constant(head.dense.bias)
    logits = add("Add", add("MatMul", add.layernorm(pooled, head.layernorm), matrix), bias)
    add.nodes.append(helper.make_node("Identity", [logits], ["logits"], name="logits"))

    inputs = [("input_values", TensorProto.FLOAT, [config.max_length, config.num_mel_bins])]
    if frame_mask:
        inputs.append(("attention_mask", TensorProto.INT64, [config.max_length]))
    graph = helper.make_graph(
        add.nodes,
        "fastast",
        [helper.make_tensor_value_info(name, dtype, ["batch", *shape]) for name, dtype, shape in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", config.num_labels])],
        add.weights,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="fastast-hf"
    )


class _Writer:
    """Writes a model's parts, keeping count of the tokens that are left."""

    def __init__(self, model: FastASTForAudioClassification, int8: bool) -> None:
        self.model, self.config, self.add = model, model.config, Nodes(int8)
        frequency, time = self.config.patch_grid
        self.tokens = NUM_PREFIX_TOKENS + frequency * time
        self.batch = self.add("Shape", "input_values", start=0, end=1)
        self.padded = False

    def per_clip(self, tensor: str, *shape: int) -> str:
        """(1, …) repeated for each clip."""
        return self.add("Expand", tensor, self.add("Concat", self.batch, self.add.ints(*shape), axis=0))

    def embeddings(self) -> str:
        """(B, T, mel bins) to (B, 2 + patches, C)."""
        add, embeddings = self.add, self.model.audio_spectrogram_transformer.embeddings
        projection = embeddings.patch_embeddings.projection
        channels, positions = self.config.hidden_size, embeddings.position_embeddings.float()
        image = add.unsqueeze(add("Transpose", "input_values", perm=[0, 2, 1]), 1)
        weights = add.constant(projection.weight), add.constant(projection.bias)
        patches = add("Conv", image, *weights, strides=list(projection.stride))
        patches = add("Transpose", add("Reshape", patches, add.ints(0, channels, -1)), perm=[0, 2, 1])
        patches = add("Add", patches, add.constant(positions[:, NUM_PREFIX_TOKENS:]))
        prefix = torch.cat([embeddings.cls_token, embeddings.distillation_token], dim=1)
        placed = add.constant(prefix + positions[:, :NUM_PREFIX_TOKENS])
        return add("Concat", self.per_clip(placed, NUM_PREFIX_TOKENS, channels), patches, axis=1)

    def sizes_of_mask(self) -> str:
        """1 for each real token (B, N) and 0 for padding: see `patch_grid.token_mask`."""
        add, config = self.add, self.config
        self.padded = True
        real = add("Cast", add("Cast", "attention_mask", to=TensorProto.BOOL), to=TensorProto.FLOAT)
        window: Any = {"kernel_shape": [config.patch_size], "strides": [config.time_stride]}
        columns = add("MaxPool", add.unsqueeze(real, 1), **window)
        patches = add("Reshape", self.per_clip(columns, *config.patch_grid), add.ints(0, -1))
        prefix = self.per_clip(add.constant(np.ones((1, NUM_PREFIX_TOKENS))), NUM_PREFIX_TOKENS)
        return add("Concat", prefix, patches, axis=1)

    def layer(self, hidden_states: str, size: str | None, layer: Any, r: int, last: bool) -> tuple[str, str | None]:
        """Attention, merging, MLP. After the last one only the prefix tokens are read, so it makes no others."""
        add = self.add
        normed = add.layernorm(hidden_states, layer.layernorm_before)
        if last:
            hidden_states = add.slice(hidden_states, 0, NUM_PREFIX_TOKENS)
        attended, keys = self.attention(normed, size, layer, last)
        hidden_states = add("Add", attended, hidden_states)
        r = 0 if last else capped_merges(self.tokens, r)
        if last:
            self.tokens = NUM_PREFIX_TOKENS
        elif r > 0:
            by_keys = self.config.tome_metric == "keys"
            metric = add("ReduceMean", keys, add.ints(2), keepdims=0) if by_keys else hidden_states
            hidden_states, size = self.merge(hidden_states, size, metric, r)
        linear, (act, how) = layer.mlp.fc1, ACTIVATIONS[self.config.hidden_act]
        inner = add.linear(
            add.layernorm(hidden_states, layer.layernorm_after), self.tokens, linear.weight, linear.bias
        )
        linear = layer.mlp.fc2
        inner = add.linear(add(act, inner, **how), self.tokens, linear.weight, linear.bias)
        return add("Add", inner, hidden_states), size

    def attention(self, normed: str, size: str | None, layer: Any, last: bool) -> tuple[str, str]:
        """(B, N, C) to (B, N, C), or to the prefix tokens' alone, and keys (B, N, heads, D)."""
        add, attention = self.add, layer.attention
        query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
        scaled: tuple[Any, Any] = (
            query.weight.float() * attention.scaling,
            None if query.bias is None else query.bias.float() * attention.scaling,
        )
        queries = NUM_PREFIX_TOKENS if last else self.tokens
        if last:
            q = add.linear(add.slice(normed, 0, queries), queries, *scaled)
            k, v = self.joined(normed, [key.weight, value.weight], [key.bias, value.bias])
        else:
            q, k, v = self.joined(normed, [scaled[0], key.weight, value.weight], [scaled[1], key.bias, value.bias])
        q, k, v = (
            add("Reshape", x, add.ints(0, tokens, -1, attention.head_dim))
            for x, tokens in ((q, queries), (k, self.tokens), (v, self.tokens))
        )
        scores = add("MatMul", add("Transpose", q, perm=[0, 2, 1, 3]), add("Transpose", k, perm=[0, 2, 3, 1]))
        proportional = self.config.tome_proportional_attention
        if size is not None and (proportional or self.padded):
            counted = size if proportional else add("Min", size, add.constant(1))
            scores = add("Add", scores, add.unsqueeze(add("Log", counted), 1, 2))
        output = add("MatMul", add("Softmax", scores, axis=-1), add("Transpose", v, perm=[0, 2, 1, 3]))
        output = add("Reshape", add("Transpose", output, perm=[0, 2, 1, 3]), add.ints(0, queries, -1))
        return add.linear(output, queries, attention.o_proj.weight, attention.o_proj.bias), k

    def joined(self, data: str, weights: list[Tensor], biases: list[Any]) -> list[str]:
        """Several linear maps of the same tokens as one, which reads them once."""
        bias = None if biases[0] is None else torch.cat(biases)
        together = self.add.linear(data, self.tokens, torch.cat(weights), bias)
        return self.add("Split", together, axis=2, num_outputs=len(weights), outputs=len(weights))

    def merge(self, hidden_states: str, size: str | None, metric: str, r: int) -> tuple[str, str]:
        """`match_tokens` and `merge_tokens`: r of the N tokens and their sizes (B, N) go into others."""
        add = self.add
        if size is None:
            size = self.per_clip(add.constant(np.ones((1, self.tokens))), self.tokens)
        stay, merged, target = self.match(metric, size, r)
        odd, odd_size = add.slice(hidden_states, 3, step=2), add.slice(size, 3, step=2)
        odds = (self.tokens - NUM_PREFIX_TOKENS) // 2
        # (B, odd tokens, r): 1 where a token is merged into another one.
        goes = add("OneHot", target, add.ints(odds), add.constant([0, 1]), axis=1)
        source_size = add("GatherElements", size, merged, axis=1)
        added = add("Squeeze", add("MatMul", goes, add.unsqueeze(source_size, 2)), add.ints(2))
        odd_size = add("Add", odd_size, added)
        group = add("GatherElements", odd_size, target, axis=1)
        if self.padded:
            group = add("Max", group, add.constant(1))
        weight = add.unsqueeze(add("Div", source_size, group), 2)
        shift = add("Mul", add("Sub", add.rows(hidden_states, merged), add.rows(odd, target)), weight)
        odd = add("Add", odd, add("MatMul", goes, shift))
        self.tokens -= r
        size = add("Concat", add("GatherElements", size, stay, axis=1), odd_size, axis=1)
        return add("Concat", add.rows(hidden_states, stay), odd, axis=1), size

    def match(self, metric: str, size: str, r: int) -> tuple[str, str, str]:
        """Tokens that stay before the odd ones, tokens merged away, and the odd token each of these goes into."""
        add = self.add
        norm = add("Max", add("ReduceL2", metric, add.ints(2)), add.constant(np.finfo(np.float32).tiny))
        metric = add("Div", metric, norm)
        padding = add("Equal", size, add.constant(0)) if self.padded else None
        if padding is not None:
            metric = add("Where", add.unsqueeze(padding, 2), add.constant(0), metric)
        targets = add("Transpose", add.slice(metric, 3, step=2), perm=[0, 2, 1])
        scores = add("MatMul", add.slice(metric, 2, step=2), targets)
        if padding is not None:
            offset = add("Where", add.slice(padding, 3, step=2), add.constant(-2), add.constant(0))
            scores = add("Add", scores, add.unsqueeze(offset, 1))
        best = add("ReduceMax", scores, add.ints(2), keepdims=0)
        if padding is not None:
            best = add("Where", add.slice(padding, 2, step=2), add.constant(2), best)
        evens = (self.tokens - NUM_PREFIX_TOKENS + 1) // 2
        ranking = add("TopK", best, add.ints(evens), outputs=2)[1]
        merged, stay = ranking, self.per_clip(add.ints(0, 1), NUM_PREFIX_TOKENS)
        if r < evens:
            merged, kept = add("Split", ranking, add.ints(r, evens - r), axis=1, outputs=2)
            kept = add("TopK", kept, add.ints(evens - r), largest=0, outputs=2)[0]
            stay = add("Concat", stay, self.even_token(kept), axis=1)
        target = add("GatherElements", add("ArgMax", scores, axis=2, keepdims=0), merged, axis=1)
        return stay, self.even_token(merged), target

    def even_token(self, index: str) -> str:
        """An index among the even tokens as one among all."""
        return self.add("Add", self.add("Mul", index, self.add.ints(2)), self.add.ints(NUM_PREFIX_TOKENS))
