"""Presets: what each sets, what overrides it, and what a device that lacks something gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, Tagger
from fastast_hf.loading.devices import half_precision
from fastast_hf.tagging import presets
from fastast_hf.tagging.int8 import Int8Layer, int8_works
from fastast_hf.tagging.presets import PRESETS, fast_dtype, merges_of_share, resolved_dtype

Make = Callable[..., Any]
CPU = torch.device("cpu")
CLIP = (np.random.default_rng(0).standard_normal(8000).astype(np.float32) / 8, 16000)
# frames, layers, share: merges of each layer, the patches being 12 times the time patches
SHARES = [
    (512, 12, 0.8, [80, 73, 65, 58, 51, 44, 36, 29, 22, 15, 7, 0]),
    (128, 12, 0.8, [20, 18, 16, 15, 13, 11, 9, 7, 5, 4, 2, 0]),
    (128, 6, 0.5, [24, 19, 14, 10, 5, 0]),
    (128, 1, 0.5, [72]),
    (128, 6, 0.0, [0] * 6),
]


@pytest.fixture
def make_tagger(make_fastast: Make) -> Make:
    def make(own_r: int = 0, **settings: Any) -> Tagger:
        extractor = FastASTFeatureExtractor(num_mel_bins=48, max_length=128)
        model = make_fastast(tome_r=own_r)
        return Tagger(model, **{"top_k": None, "device": "cpu", "feature_extractor": extractor, **settings})

    return make


def is_int8(tagger: Tagger) -> bool:
    return isinstance(tagger.model.audio_spectrogram_transformer.layers[0], Int8Layer)


@pytest.mark.parametrize(("frames", "layers", "share", "merges"), SHARES)
def test_a_share_of_the_patches_is_merged_most_of_it_early(
    frames: int, layers: int, share: float, merges: list[int]
) -> None:
    assert merges_of_share(FastASTConfig(num_hidden_layers=layers), share, frames) == merges


def test_exact_is_what_a_tagger_is_without_a_preset(make_tagger: Make) -> None:
    plain, exact = make_tagger(), make_tagger(preset="exact")
    assert plain(CLIP) == exact(CLIP)
    assert (exact.dtype, exact.native_length, exact.merges()) == (torch.float32, False, [0, 0, 0])


def test_balanced_computes_in_half_precision_and_merges_half(make_tagger: Make) -> None:
    tagger = make_tagger(preset="balanced")
    assert tagger.dtype == half_precision(CPU)
    assert not tagger.native_length
    assert tagger.merges() == merges_of_share(tagger.model.config, 0.5, 128)
    assert sum(tagger.merges()) == pytest.approx(24, abs=2)


def test_fast_is_int8_at_native_length_and_merges_most(make_tagger: Make) -> None:
    tagger = make_tagger(preset="fast")
    assert is_int8(tagger) == int8_works()
    assert tagger.native_length
    assert sum(tagger.merges()) == pytest.approx(0.8 * 48, abs=2)
    assert sum(tagger.merges(64)) < sum(tagger.merges())  # a share of a shorter clip's patches is fewer


def test_the_model_merges_what_the_tagger_says(make_tagger: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = make_tagger(preset="fast")
    seen = []
    forward = tagger.model.forward
    monkeypatch.setattr(
        tagger.model, "forward", lambda *args, **kwargs: seen.append(kwargs) or forward(*args, **kwargs)
    )
    tagger(CLIP)
    frames = seen[0]["input_values"].shape[1]
    assert frames == 64  # 48 frames of half a second, in whole steps of 32
    assert seen[0]["tome_r"] == tagger.merges(frames)


@pytest.mark.parametrize(
    ("settings", "merges"),
    [
        ({"tome_r": 2}, [2, 2, 2]),
        ({"tome_r": 0}, [0, 0, 0]),
        ({"tome_r": 2, "tome_schedule": "decreasing"}, [4, 2, 0]),
        ({"tome_schedule": "constant"}, [13, 13, 13]),
        ({"tome_schedule": "increasing"}, [0, 13, 26]),
    ],
)
def test_what_is_given_stands_above_the_preset(settings: dict[str, Any], merges: list[int], make_tagger: Make) -> None:
    tagger = make_tagger(preset="fast", dtype="float32", native_length=False, **settings)
    assert tagger.merges() == merges
    assert (tagger.dtype, tagger.native_length, is_int8(tagger)) == (torch.float32, False, False)


def test_a_checkpoint_that_merges_keeps_to_its_own_r(make_tagger: Make) -> None:
    assert make_tagger(own_r=5, preset="fast").merges() == [5, 5, 5]


def test_r_set_later_on_the_model_holds(make_tagger: Make) -> None:
    tagger = make_tagger(preset="balanced")
    tagger.model.set_tome_r(3)
    assert tagger.merges() == [3, 3, 3]


def test_without_int8_fast_computes_in_half_precision(make_tagger: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "int8_works", lambda: False)
    assert make_tagger(preset="fast").dtype == half_precision(CPU)
    with pytest.raises(ValueError, match="int8 is not available on cpu here; it needs an x86 processor with VNNI"):
        make_tagger(dtype="int8")


@pytest.mark.parametrize("has_bf16", [True, False])
def test_half_precision_on_a_cpu_is_only_where_it_is_fast(has_bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert fast_dtype(PRESETS["balanced"], CPU) is (torch.bfloat16 if has_bf16 else torch.float32)


def test_int8_is_refused_on_a_gpu() -> None:
    with pytest.raises(ValueError, match="int8 is not available on cuda: give the device cpu \\(--device cpu\\)"):
        resolved_dtype("int8", torch.device("cuda"))


@pytest.mark.skipif(not int8_works(), reason="no 8-bit instructions here")
@pytest.mark.parametrize("dtype", ["int8", torch.int8])
def test_int8_is_on_the_cpu_where_no_device_is_named(
    dtype: Any, make_fastast: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    extractor = FastASTFeatureExtractor(num_mel_bins=48, max_length=128)
    assert Tagger(make_fastast(), dtype=dtype, feature_extractor=extractor).device == CPU


def test_the_callers_model_stays_as_it_is(make_fastast: Make) -> None:
    model = make_fastast()
    for preset in PRESETS:
        Tagger(model, preset=preset, device="cpu", feature_extractor=FastASTFeatureExtractor(num_mel_bins=48))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.tome_r == 0
