"""oneDNN's linear layer: the same numbers, and PyTorch's own wherever it must not be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fastast_hf.model import cpu_linear
from fastast_hf.model.cpu_linear import SMALLEST_WEIGHT, _onednn_works, fast_linear

Make = Callable[..., Any]
# rows, inputs, outputs
SHAPES = [((1,), 4, 3), ((12,), 32, 64), ((2, 14), 192, 768), ((3, 50, 2), 7, 5), ((0,), 4, 3), ((2, 0), 4, 3)]

needs_onednn = pytest.mark.skipif(
    not _onednn_works(torch.float32), reason="this PyTorch lacks oneDNN's linear operator"
)


@pytest.fixture(autouse=True)
def however_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_linear, "SMALLEST_WEIGHT", 0)


class Operators(TorchDispatchMode):
    """Counts the calls of oneDNN's operator while it is on."""

    calls = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += "mkldnn" in str(function) and "_linear_pointwise" in str(function)
        return function(*args, **(kwargs or {}))


def uses_onednn(layer: nn.Linear, inputs: Tensor, **kwargs: Any) -> bool:
    with Operators() as operators:
        outputs = fast_linear(layer, inputs, **kwargs)
        called = operators.calls
    assert torch.equal(outputs, layer(inputs)) or called
    return bool(called)


def make_layer(in_features: int = 16, out_features: int = 8, **kwargs: Any) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(in_features, out_features, **kwargs)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize(("rows", "in_features", "out_features"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_it_gives_what_the_layer_gives(
    mode: Any, rows: tuple[int, ...], in_features: int, out_features: int, bias: bool
) -> None:
    layer = make_layer(in_features, out_features, bias=bias)
    inputs = torch.randn(*rows, in_features)
    with mode():
        outputs = fast_linear(layer, inputs)
        assert outputs.shape == (*rows, out_features)
        torch.testing.assert_close(outputs, layer(inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("rows", [1, 12, 300])
@torch.inference_mode()
def test_it_applies_the_exact_gelu(rows: int, allowed: bool) -> None:
    layer, inputs = make_layer(32, 64), 3 * torch.randn(rows, 32)
    outputs = fast_linear(layer, inputs, allowed, gelu=True)
    expected = nn.functional.gelu(layer(inputs).double()).float()
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_it_takes_strided_inputs_and_weights() -> None:
    layer = make_layer()
    layer.weight.data = torch.randn(16, 8).T
    inputs = torch.randn(16, 5, 2).permute(2, 1, 0)
    torch.testing.assert_close(fast_linear(layer, inputs), layer(inputs), atol=1e-5, rtol=1e-5)


class Adapted(nn.Linear):
    """A linear layer that does something of its own."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + 1


class Packed(Tensor):
    """A weight that only looks like float32, as quantised ones do."""


@needs_onednn
@torch.inference_mode()
def test_onednn_is_used_for_plain_float32_inference() -> None:
    assert uses_onednn(make_layer(), torch.randn(3, 16))
    assert uses_onednn(make_layer(bias=False).eval().requires_grad_(False), torch.randn(3, 16))


@torch.inference_mode()
def test_a_layer_that_is_more_than_its_weights_runs_itself() -> None:
    inputs = torch.randn(3, 16)
    assert not uses_onednn(make_layer(), inputs, allowed=False)
    assert not uses_onednn(Adapted(16, 8), inputs)

    for register in ("register_forward_hook", "register_forward_pre_hook"):
        layer, seen = make_layer(), []
        getattr(layer, register)(lambda *_, seen=seen: seen.append(1))
        assert not uses_onednn(layer, inputs)
        assert len(seen) == 2

    layer = make_layer()
    layer.forward = lambda inputs: torch.full((3, 8), 7.0)  # as libraries that move weights between devices do
    assert not uses_onednn(layer, inputs)

    layer = make_layer()
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Packed), requires_grad=False)
    assert not uses_onednn(layer, inputs)

    layer = nn.utils.parametrizations.weight_norm(make_layer())
    assert not uses_onednn(layer, inputs)

    layer = make_layer()
    quantised = torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {nn.Linear})[0]
    torch.testing.assert_close(fast_linear(quantised, inputs), layer(inputs), atol=0.1, rtol=0)


@torch.inference_mode()
def test_a_small_layer_runs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_linear, "SMALLEST_WEIGHT", SMALLEST_WEIGHT)
    inputs = torch.randn(2, 256)
    assert uses_onednn(make_layer(256, 512), inputs) == _onednn_works(torch.float32)
    assert not uses_onednn(make_layer(256, 511), inputs)


def test_training_runs_the_layer() -> None:
    layer, inputs = make_layer(), torch.randn(3, 16)
    assert not uses_onednn(layer, inputs)
    fast_linear(layer, inputs).sum().backward()
    torch.testing.assert_close(layer.weight.grad, inputs.sum(0).expand(8, 16))


@torch.inference_mode()
def test_other_precisions_run_the_layer() -> None:
    for dtype in (torch.float16, torch.float64):
        outputs = fast_linear(make_layer().to(dtype), torch.randn(3, 16, dtype=dtype))
        assert outputs.dtype == dtype
        assert not uses_onednn(make_layer().to(dtype), torch.randn(3, 16, dtype=dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not uses_onednn(make_layer(), torch.randn(3, 16))
        assert fast_linear(make_layer(), torch.randn(3, 16)).dtype == torch.bfloat16


@pytest.mark.skipif(not _onednn_works(torch.bfloat16), reason="this processor has no bfloat16")
@pytest.mark.parametrize("gelu", [False, True])
@torch.inference_mode()
def test_it_is_used_for_bfloat16_with_its_rounding(gelu: bool) -> None:
    layer, inputs = make_layer(64, 32).bfloat16(), torch.randn(5, 64).bfloat16()
    assert uses_onednn(layer, inputs)
    expected = nn.functional.linear(inputs.double(), layer.weight.double(), layer.bias.double())
    expected = nn.functional.gelu(expected) if gelu else expected
    torch.testing.assert_close(fast_linear(layer, inputs, gelu=gelu).double(), expected, atol=5e-3, rtol=8e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_whether_it_works_does_not_depend_on_the_default_dtype(dtype: torch.dtype) -> None:
    expected = _onednn_works(dtype)
    torch.set_default_dtype(torch.float16)
    try:
        assert _onednn_works.__wrapped__(dtype) == expected  # not the answer that is kept
    finally:
        torch.set_default_dtype(torch.float32)


@needs_onednn
@torch.inference_mode()
def test_a_model_that_merges_nothing_never_uses_it(make_fastast: Make, spectrogram: Make) -> None:
    model, clips = make_fastast(), spectrogram()
    for tome_r, layers_that_merge in ((0, 0), ([0, 0, 4], 1), (4, 3)):
        with Operators() as operators:
            model(clips, tome_r=tome_r)
        assert operators.calls == 6 * layers_that_merge  # query, key, value, output and the two of the MLP
