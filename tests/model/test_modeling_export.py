"""Compiled and exported models: one graph, the same numbers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

Make = Callable[..., Any]
CALLS = [
    # arguments of the model besides the clips
    {},
    {"tome_r": 3},
    {"tome_r": [1, 30, 0], "output_merge_map": [0, 2]},
    {"attention_mask": torch.arange(128)[None] < torch.tensor([[128], [50]])},
]


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    """No graph of one test serves another."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("kwargs", CALLS)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_model_has_no_graph_break_and_gives_the_same(
    backend: str, kwargs: dict[str, Any], make_fastast: Make, spectrogram: Make
) -> None:
    model, clips = make_fastast(num_hidden_layers=2, tome_r=8), spectrogram()
    if isinstance(kwargs.get("tome_r"), list):
        kwargs = {**kwargs, "tome_r": kwargs["tome_r"][:2], "output_merge_map": [0, 1]}
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    with torch.no_grad():
        expected, got = model(clips, **kwargs), compiled(clips, **kwargs)
    torch.testing.assert_close(got.logits, expected.logits, rtol=0, atol=1e-6)
    for one, other in zip(got.merge_map or (), expected.merge_map or (), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("implementation", ["eager", "sdpa_folded"])
def test_every_implementation_compiles(implementation: str, make_fastast: Make, spectrogram: Make) -> None:
    model, clips = make_fastast(num_hidden_layers=2, tome_r=8, attn_implementation=implementation), spectrogram()
    with torch.no_grad():
        got = torch.compile(model, fullgraph=True, backend="eager")(clips).logits
        torch.testing.assert_close(got, model(clips).logits, rtol=0, atol=1e-6)


def test_compiled_training_step_gives_the_same_gradients(make_fastast: Make, spectrogram: Make) -> None:
    models = [make_fastast(num_hidden_layers=2, tome_r=8).train() for _ in range(2)]
    for call in (torch.compile(models[0], fullgraph=True, backend="aot_eager"), models[1]):
        call(spectrogram(), labels=torch.tensor([0, 1])).loss.backward()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kwargs", CALLS)
def test_inductor_gives_the_same(kwargs: dict[str, Any], make_fastast: Make, spectrogram: Make) -> None:
    model, clips = make_fastast(tome_r=8), spectrogram()
    with torch.no_grad():
        got = torch.compile(model, fullgraph=True)(clips, **kwargs).logits
        torch.testing.assert_close(got, model(clips, **kwargs).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("r", [0, 8, 100])
def test_exported_program_gives_the_same(r: int, make_fastast: Make, spectrogram: Make) -> None:
    model = make_fastast(num_hidden_layers=2, tome_r=r)
    program = torch.export.export(model, (spectrogram(),))
    clips = spectrogram(seed=1)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(clips).logits, model(clips).logits, rtol=0, atol=1e-6)


def test_batch_may_stay_open_in_export(make_fastast: Make, spectrogram: Make) -> None:
    model = make_fastast(num_hidden_layers=2, tome_r=8)
    shapes = {"input_values": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(model, (spectrogram(batch=3),), dynamic_shapes=shapes)
    clips = spectrogram(batch=5, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(clips).logits, model(clips).logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_give_the_same(again: Callable[[Any], Any], make_fastast: Make, spectrogram: Make) -> None:
    model = make_fastast(tome_r=8)
    other = again(model)
    assert torch.equal(other(spectrogram()).logits, model(spectrogram()).logits)
    other.set_tome_r(2)
    assert model.config.tome_r == 8
