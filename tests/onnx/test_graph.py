"""Merging in ONNX Runtime: the same tokens as in torch, where ties, crowds and padding make it hard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from fastast_hf.model.token_merging import match_tokens, merge_tokens
from fastast_hf.onnx.graph import IR_VERSION, OPSET, _Writer, build_graph

Make = Callable[..., Any]
TOKENS, CHANNELS, HEADS, HEAD_DIM = 26, 6, 2, 8


def random_keys() -> Tensor:
    return torch.randn(3, TOKENS, HEADS, HEAD_DIM)


def keys_of_a_crowd() -> Tensor:
    """All even tokens are nearest to one odd one."""
    keys = 0.1 * random_keys()
    keys[:, 2::2] += 5
    keys[:, 7] += 5
    return keys


def keys_all_alike() -> Tensor:
    return torch.ones(3, TOKENS, HEADS, HEAD_DIM)


def keys_in_pairs() -> Tensor:
    """Whole numbers, so that each cosine occurs several times, and is the same to the bit."""
    return torch.eye(HEAD_DIM)[torch.arange(TOKENS) // 4 % 3].view(1, TOKENS, 1, HEAD_DIM).repeat(3, 1, HEADS, 1)


KEYS = [random_keys, keys_of_a_crowd, keys_all_alike, keys_in_pairs]


def merged_by_runtime(model: Any, states: Tensor, size: Tensor, metric: Tensor, r: int, padded: bool) -> list[Tensor]:
    """The part of the graph that merges, alone."""
    writer = _Writer(model, int8=False)
    writer.tokens, writer.padded = states.shape[1], padded
    results = writer.merge("input_values", "size", "metric", r)
    given = {"input_values": states, "size": size, "metric": metric}
    graph = helper.make_graph(
        writer.add.nodes,
        "merge",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in given.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results],
        writer.add.weights,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    arrays = session.run(list(results), {name: value.numpy() for name, value in given.items()})
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("padding", [0, 3, 20])
@pytest.mark.parametrize("r", [1, 7, 12])
@pytest.mark.parametrize("make_keys", KEYS)
@pytest.mark.parametrize("tokens", [TOKENS, TOKENS - 1])
def test_merges_what_torch_merges(
    make_keys: Callable[[], Tensor], r: int, padding: int, tokens: int, make_fastast: Make
) -> None:
    torch.manual_seed(0)
    r = min(r, (tokens - 2) // 2)
    metric, states = make_keys()[:, :tokens].mean(dim=2), torch.randn(3, tokens, CHANNELS)
    size = torch.randint(1, 5, (3, tokens)).float()
    size[:, tokens - padding :] = 0
    expected = merge_tokens(states, size, match_tokens(metric, r, size))
    got = merged_by_runtime(make_fastast(), states, size, metric, r, padded=padding > 0)
    assert torch.equal(got[1], expected[1])
    torch.testing.assert_close(got[0], expected[0], rtol=0, atol=1e-5)
    if make_keys is keys_of_a_crowd and not padding:
        assert got[1].max() > 4 * r**0.5  # a crowd it is: its target has taken in many


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("frame_mask", [False, True])
def test_graph_is_valid_and_of_standard_operators(int8: bool, frame_mask: bool, make_fastast: Make) -> None:
    proto = build_graph(make_fastast(tome_r=6), int8=int8, frame_mask=frame_mask)
    onnx.checker.check_model(proto, full_check=True)
    assert [opset.domain for opset in proto.opset_import] == [""]
    used = {name for node in proto.graph.node for name in node.input}
    assert used >= {tensor.name for tensor in proto.graph.initializer}
    kinds = {node.op_type for node in proto.graph.node}
    assert not {kind for kind in kinds if kind.startswith("Scatter")}
    assert ("MatMulInteger" in kinds) == int8
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names)


def test_an_activation_without_an_operator_is_refused(make_fastast: Make) -> None:
    with pytest.raises(ValueError, match="hidden_act is 'quick_gelu': exported are gelu, gelu_new, relu"):
        build_graph(make_fastast(hidden_act="quick_gelu"))


def test_int8_weights_are_as_near_as_their_scale_allows(make_fastast: Make) -> None:
    from fastast_hf.onnx.nodes import Nodes

    add = Nodes(int8=True)
    weight = torch.randn(7, 5)
    weight[3] = 0
    add.linear("data", 4, weight, None)
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in add.weights}
    (rounded,) = (array for array in tensors.values() if array.dtype == np.int8 and array.ndim == 2)
    scale = weight.abs().amax(dim=1).numpy() / 127
    assert np.abs(rounded * scale - weight.T.numpy()).max() <= scale.max() / 2 + 1e-7
    assert np.abs(rounded).max() == 127 and not rounded[:, 3].any()
