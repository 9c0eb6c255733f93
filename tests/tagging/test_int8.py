"""8-bit linear layers: what rounding allows and no more, NaN that stays where it is, and clear refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastast_hf import FastASTForAudioClassification, Tagger
from fastast_hf.tagging import int8
from fastast_hf.tagging.int8 import Int8Linear, Quantized, int8_works, quantized, to_int8

Make = Callable[..., Any]
SPEECH = Path(__file__).parents[1] / "data" / "speech"
SHAPES = [((3,), 8, 4), ((2, 50), 64, 192), ((1, 1), 768, 16), ((4, 7, 3), 24, 96)]
# How far logits of the bundled checkpoint move, whose own spread over clips and labels is about 3.
TOLERANCE = 0.1

needs_int8 = pytest.mark.skipif(not int8_works(), reason="this machine lacks 8-bit products")


def values(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 2 + 0.5


def dequantized(inputs: Quantized) -> Tensor:
    """By the definition."""
    return inputs.largest.double() / 127 * (inputs.integers.double() - 128)


def reference(layer: nn.Linear, inputs: Quantized) -> Tensor:
    """The layer with weights rounded to 127 steps a side in each row, in float64."""
    scale = layer.weight.double().abs().amax(dim=1, keepdim=True) / 127
    weight = (layer.weight.double() / scale).round() * scale
    return dequantized(inputs) @ weight.T + (0 if layer.bias is None else layer.bias.double())


@needs_int8
@pytest.mark.parametrize(("rows", "in_features", "out_features"), SHAPES)
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_layer_gives_the_products_of_the_rounded_numbers(
    rows: tuple[int, ...], in_features: int, out_features: int, bias: bool
) -> None:
    torch.manual_seed(0)  # a weight halfway between two integers may be rounded either way
    layer = nn.Linear(in_features, out_features, bias=bias)
    inputs = quantized(values(*rows, in_features))
    exact, residual = reference(layer, inputs), values(*rows, out_features)
    fast = Int8Linear(layer)
    for outputs, expected in (
        (fast(inputs), exact),
        (fast(inputs, residual=residual), exact + residual),
    ):
        torch.testing.assert_close(outputs.double(), expected, atol=1e-4, rtol=1e-5)


@needs_int8
def test_numbers_are_rounded_to_the_nearest_step_of_their_tokens_range() -> None:
    some = values(5, 7)
    for inputs in (some, some.abs(), -some.abs(), some * torch.tensor([[1.0], [1e-6], [1e6], [0], [1e-30]])):
        largest = inputs.abs().amax(dim=1, keepdim=True)
        rounded = quantized(inputs.clone())
        assert ((dequantized(rounded) - inputs).abs() <= largest / 127 * 0.501).all()
        assert (rounded.integers.int() - 128).abs().amax(dim=1).tolist() == (
            127 * (largest > 0).int()
        ).flatten().tolist()


@needs_int8
def test_layers_side_by_side_give_what_each_gives() -> None:
    layers = [nn.Linear(16, 5), nn.Linear(16, 3, bias=False), nn.Linear(16, 4)]
    inputs = quantized(values(6, 16))
    together = Int8Linear(*layers)(inputs)
    torch.testing.assert_close(together, torch.cat([Int8Linear(layer)(inputs) for layer in layers], dim=1))


@needs_int8
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@torch.inference_mode()
def test_a_clip_that_is_not_finite_stays_so_and_spares_the_others(bad: float, make_fastast: Make) -> None:
    model = to_int8(make_fastast(tome_r=6))
    clips = values(3, 128, 48)
    clean = model(clips).logits
    clips[1, 4, 5] = bad
    logits = model(clips).logits
    assert not logits[1].isfinite().any()
    assert torch.equal(logits[[0, 2]], clean[[0, 2]])


@needs_int8
@torch.inference_mode()
def test_a_clips_logits_do_not_depend_on_the_batch(make_fastast: Make) -> None:
    model = to_int8(make_fastast(tome_r=6))
    clips = values(4, 128, 48) * torch.tensor([1.0, 10, 0.1, 3]).view(4, 1, 1)
    alone = torch.cat([model(clip.unsqueeze(0)).logits for clip in clips])
    torch.testing.assert_close(model(clips).logits, alone, atol=1e-5, rtol=0)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"tome_r": 6},
    {"tome_r": 6, "tome_proportional_attention": False},
    {"tome_r": 6, "tome_metric": "hidden_states"},
]


@needs_int8
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@torch.inference_mode()
def test_a_model_moves_a_little_and_the_one_it_was_made_of_not_at_all(
    settings: dict[str, Any], make_fastast: Make
) -> None:
    model = make_fastast(**settings)
    before = copy.deepcopy(model.state_dict())
    fast = to_int8(model)
    clips = values(4, 128, 48)
    mask = torch.ones(4, 128)
    mask[:, 80:] = 0
    for inputs in ({}, {"attention_mask": mask}):
        expected, logits = model(clips, **inputs).logits, fast(clips, **inputs).logits
        assert not torch.equal(logits, expected)
        assert (logits - expected).abs().max() < 0.1 * expected.std()
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert type(model.audio_spectrogram_transformer.layers[0]) is not int8.Int8Layer


@needs_int8
@torch.inference_mode()
def test_a_model_says_where_patches_went_and_what_its_layers_gave(make_fastast: Make) -> None:
    fast = to_int8(make_fastast(tome_r=6))
    outputs = fast(values(2, 128, 48), output_merge_map=True, output_hidden_states=True)
    assert [states.shape[1] for states in outputs.hidden_states] == [50, 44, 38, 32]
    assert [int(where.max()) + 1 for where in outputs.merge_map] == [44, 38, 32]


@needs_int8
def test_another_activation_than_gelu_is_kept(make_fastast: Make) -> None:
    model = make_fastast(hidden_act="relu")
    clips = values(2, 128, 48)
    with torch.inference_mode():
        assert (to_int8(model)(clips).logits - model(clips).logits).abs().max() < 0.05


@needs_int8
def test_labels_of_the_bundled_clips_stay_and_logits_within_the_tolerance() -> None:
    files = sorted(SPEECH.glob("*"))
    exact, fast = Tagger(device="cpu", top_k=None), Tagger(device="cpu", top_k=None, dtype="int8")
    assert [labels[0]["label"] for labels in fast(files)] == [labels[0]["label"] for labels in exact(files)]
    inputs = exact.features([exact_samples(file, exact) for file in files])
    with torch.inference_mode():
        moved = fast.model(**inputs).logits - exact.model(**inputs).logits
    assert 0 < moved.abs().max() < TOLERANCE


def exact_samples(file: Path, tagger: Tagger) -> Any:
    from fastast_hf import load_audio

    rate = tagger.feature_extractor.sampling_rate
    return load_audio(file, rate)[: tagger.feature_extractor.samples_of(tagger.feature_extractor.max_length)]


@needs_int8
def test_a_copy_computes_the_same(make_fastast: Make) -> None:
    fast = to_int8(make_fastast(tome_r=6))
    clips = values(2, 128, 48)
    with torch.inference_mode():
        assert torch.equal(copy.deepcopy(fast)(clips).logits, fast(clips).logits)


@needs_int8
def test_it_is_not_saved_as_if_it_were_whole(make_fastast: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can't be saved or turned into another: give the model it was made of"):
        to_int8(make_fastast()).save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


@needs_int8
def test_what_is_in_int8_already_is_refused(make_fastast: Make) -> None:
    fast = to_int8(make_fastast())
    with pytest.raises(ValueError, match="in int8 already: give the model it was made of"):
        to_int8(fast)
    with pytest.raises(ValueError, match="give the model it was made of"):
        Tagger(fast, device="cpu")


@needs_int8
def test_other_threads_can_use_the_model_meanwhile(make_fastast: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model, clips = make_fastast(), values(1, 128, 48)
    expected, seen = model(clips).logits, []
    deepcopy = copy.deepcopy

    def used_while_copied(*args: Any) -> Any:
        seen.append(model(clips).logits)
        return deepcopy(*args)

    monkeypatch.setattr(int8.copy, "deepcopy", used_while_copied)
    to_int8(model)
    assert seen
    assert all(torch.equal(logits, expected) for logits in seen)


@needs_int8
def test_adapters_are_refused(make_fastast: Make) -> None:
    class Adapted(nn.Linear):
        pass

    model = make_fastast()
    model.audio_spectrogram_transformer.layers[1].mlp.fc1 = Adapted(24, 96)
    layers = model.audio_spectrogram_transformer.layers
    with pytest.raises(ValueError, match="Adapted in place of a linear layer: merge adapters and undo"):
        to_int8(model)
    assert model.audio_spectrogram_transformer.layers is layers


def test_without_the_instructions_it_is_refused(make_fastast: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "int8_works", lambda: False)
    with pytest.raises(ValueError, match="x86 processor with VNNI"):
        to_int8(make_fastast())


@pytest.mark.parametrize("has_vnni", [True, False])
def test_it_works_only_with_vnni(has_vnni: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: has_vnni)
    assert int8_works.__wrapped__() is has_vnni


@needs_int8
def test_the_models_class_is_kept(make_fastast: Make) -> None:
    assert type(to_int8(make_fastast())) is FastASTForAudioClassification


def test_whether_it_works_does_not_depend_on_the_default_dtype() -> None:
    expected = int8_works()
    int8_works.cache_clear()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert int8_works() == expected
    finally:
        torch.set_default_dtype(torch.float32)
