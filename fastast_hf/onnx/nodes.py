"""ONNX nodes one after another: what [`onnx_graph`] writes a model with."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

END = int(np.iinfo(np.int64).max)
INT8_LEVELS = 127
ZERO_POINT = 128  # of rounded activations, which are uint8: the kernels for signed ones are slower


class Nodes:
    """The nodes and weights of a graph in the making, in standard operators.

    Args:
        int8: Whether linear layers multiply 8-bit integers.

    Example:
        >>> add = Nodes()
        >>> add("Relu", "input")
        'Relu_0'
        >>> [node.op_type for node in add.nodes]
        ['Relu']
    """

    def __init__(self, int8: bool = False) -> None:
        self.int8 = int8
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._small: dict[tuple[Any, ...], str] = {}

    def __call__(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node: the name of its output, or a list of names where it has several."""
        name = f"{op}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=name, **attributes))
        return name if outputs == 1 else names

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """A tensor that is part of the file. Shapes, axes and the like are stored once."""
        value = value.detach().float().cpu().numpy() if isinstance(value, Tensor) else value
        array = np.array(value, dtype, order="C")
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size < 8 else (len(self.weights),)
        if key not in self._small:
            self._small[key] = f"constant_{len(self.weights)}"
            self.weights.append(numpy_helper.from_array(array, self._small[key]))
        return self._small[key]

    def ints(self, *values: int) -> str:
        """A vector of int64: a shape, axes, or indices."""
        return self.constant(values, np.int64)

    def slice(self, data: str, start: int, stop: int = END, step: int = 1) -> str:
        """Tokens (axis 1) from `start` to `stop`."""
        return self("Slice", data, self.ints(start), self.ints(stop), self.ints(1), self.ints(step))

    def unsqueeze(self, data: str, *axes: int) -> str:
        """With axes of size 1 put in."""
        return self("Unsqueeze", data, self.ints(*axes))

    def rows(self, data: str, index: str) -> str:
        """Of (B, N, C), the rows that (B, M) names: whole rows are copied, where a gather by element takes longer."""
        return self("GatherND", data, self.unsqueeze(index, 2), batch_dims=1)

    def layernorm(self, data: str, layer: nn.LayerNorm) -> str:
        """Over the last axis."""
        weights = self.constant(layer.weight), self.constant(layer.bias)
        return self("LayerNormalization", data, *weights, axis=-1, epsilon=layer.eps)

    def linear(self, data: str, tokens: int, weight: Tensor, bias: Tensor | None) -> str:
        """(B, `tokens`, in) times `weight` (out, in) plus `bias`; in 8-bit integers where the graph is of those."""
        matrix = weight.detach().float().cpu().numpy().T
        product = (
            self._int8_product(data, tokens, matrix) if self.int8 else self("MatMul", data, self.constant(matrix))
        )
        return product if bias is None else self("Add", product, self.constant(bias))

    def _int8_product(self, data: str, tokens: int, matrix: np.ndarray) -> str:
        """(B, `tokens`, in) times (in, out): weights rounded per output, activations per token as they come.

        A scale for all activations at once, as DynamicQuantizeLinear gives, would be a tenth faster, and have a clip's
        scores depend on what else is in its batch.
        """
        tiny = np.finfo(np.float32).tiny
        scale = np.maximum(np.abs(matrix).max(axis=0), tiny) / INT8_LEVELS
        weights, zeros = self.constant(np.rint(matrix / scale), np.int8), self.constant(0 * scale, np.int8)
        flat = self("Reshape", data, self.ints(-1, len(matrix)))
        largest = self("ReduceMax", self("Abs", flat), self.ints(1), keepdims=0)
        row_scale = self("Max", self("Mul", largest, self.constant(1 / INT8_LEVELS)), self.constant(tiny))
        zero_points = self(
            "ConstantOfShape",
            self("Shape", row_scale),
            value=helper.make_tensor("zero_point", TensorProto.UINT8, [1], [ZERO_POINT]),
        )
        rounded = self("QuantizeLinear", flat, row_scale, zero_points, axis=0)
        sums = self("MatMulInteger", rounded, weights, self.constant(ZERO_POINT, np.uint8), zeros)
        scaled = self("Mul", self("Cast", sums, to=TensorProto.FLOAT), self.unsqueeze(row_scale, 1))
        return self("Reshape", self("Mul", scaled, self.constant(scale)), self.ints(-1, tokens, matrix.shape[1]))
