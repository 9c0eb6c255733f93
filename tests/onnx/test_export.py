"""Exported files: the model's logits at any batch, and everything that labels need."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from full_disk import room_for

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification, Tagger, load_audio
from fastast_hf.loading.bundled import SPEECH_COMMANDS
from fastast_hf.onnx.export import export_onnx
from fastast_hf.onnx.runtime import CONFIG_KEY, FEATURE_EXTRACTOR_KEY

Make = Callable[..., Any]
SPEECH = sorted((Path(__file__).parents[1] / "data" / "speech").iterdir())
MERGES = [
    # of the tiny model of 3 layers, 50 tokens
    {"tome_r": 0},
    {"tome_r": 8},
    {"tome_r": 8, "tome_schedule": "decreasing"},
    {"tome_r": 8, "tome_schedule": "increasing"},
    {"tome_r": [5, 0, 9]},
    {"tome_r": [0, 999, 1]},
    {"tome_r": 999},
]
FIELDS = [
    # further fields of a config
    {"qkv_bias": False},
    {"hidden_act": "relu"},
    {"hidden_act": "gelu_new"},
    {"tome_proportional_attention": False},
    {"tome_metric": "hidden_states"},
    {"frequency_stride": 16, "time_stride": 8, "num_hidden_layers": 1},
    {"layer_norm_eps": 1e-3, "num_attention_heads": 4},
]


def run(path: Path, clips: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
    """The file in plain ONNX Runtime, as someone without this package has it."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    arrays = {"input_values": clips.numpy(), **{name: value.numpy() for name, value in inputs.items()}}
    return torch.from_numpy(session.run(None, arrays)[0])


@torch.no_grad()
def assert_same_logits(path: Path, model: Any, spectrogram: Make, frames: int = 128, atol: float = 1e-4) -> None:
    for batch in (1, 2, 5):
        clips = spectrogram(batch=batch, frames=frames, seed=batch)
        torch.testing.assert_close(run(path, clips), model(clips).logits, rtol=0, atol=atol)


@pytest.mark.parametrize("merges", MERGES)
def test_logits_are_the_models_at_any_batch(
    merges: dict[str, Any], make_fastast: Make, spectrogram: Make, tmp_path: Path
) -> None:
    path, model = tmp_path / "model.onnx", make_fastast()
    exported = export_onnx(model, path, **merges)
    assert list(tmp_path.iterdir()) == [path]
    assert model.config.tome_r == 0
    assert_same_logits(path, make_fastast(**merges), spectrogram)
    assert exported.config.tome_r == merges["tome_r"]


@pytest.mark.parametrize("fields", FIELDS)
def test_every_kind_of_model_is_exported(
    fields: dict[str, Any], make_fastast: Make, spectrogram: Make, tmp_path: Path
) -> None:
    model = make_fastast(**{"tome_r": 8, **fields})
    export_onnx(model, tmp_path / "model.onnx")
    assert_same_logits(tmp_path / "model.onnx", model, spectrogram)


@pytest.mark.parametrize("frames", [64, 200])
def test_frames_are_another_length(frames: int, make_fastast: Make, spectrogram: Make, tmp_path: Path) -> None:
    model = make_fastast(tome_r=4)
    export_onnx(model, tmp_path / "model.onnx", num_frames=frames)
    assert model.config.max_length == 128
    model.set_max_length(frames)
    assert_same_logits(tmp_path / "model.onnx", model, spectrogram, frames)


@pytest.mark.parametrize("proportional", [True, False])
def test_a_frame_mask_is_honoured(proportional: bool, make_fastast: Make, spectrogram: Make, tmp_path: Path) -> None:
    model = make_fastast(tome_r=[14, 6, 3], tome_proportional_attention=proportional)
    extractor = FastASTFeatureExtractor(num_mel_bins=48, max_length=128, return_attention_mask=True)
    export_onnx(model, tmp_path / "model.onnx", feature_extractor=extractor)
    clips = spectrogram(batch=3)
    mask = (torch.arange(128) < torch.tensor([[128], [60], [20]])).long()
    with torch.no_grad():
        expected, unmasked = model(clips, attention_mask=mask).logits, model(clips).logits
    got = run(tmp_path / "model.onnx", clips, attention_mask=mask)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    assert (expected - unmasked).abs().max() > 1e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stock_models_of_any_dtype_are_exported(
    dtype: torch.dtype, make_ast: Make, spectrogram: Make, tmp_path: Path
) -> None:
    model = make_ast().to(dtype)
    export_onnx(model, tmp_path / "model.onnx", tome_r=6)
    expected = FastASTForAudioClassification.from_ast(model.float(), tome_r=6)
    assert_same_logits(tmp_path / "model.onnx", expected, spectrogram)


def test_the_file_says_what_labels_and_front_end_are_and_nothing_of_places(tmp_path: Path, make_fastast: Make) -> None:
    folder = tmp_path / "secret-place"
    make_fastast(tome_r=3, problem_type="multi_label_classification").save_pretrained(folder)
    FastASTFeatureExtractor(num_mel_bins=48, max_length=128, mean=-7.5, std=3.25).save_pretrained(folder)
    export_onnx(folder, tmp_path / "model.onnx", num_frames=64)
    stored = {entry.key: json.loads(entry.value) for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    config, front_end = stored[CONFIG_KEY], stored[FEATURE_EXTRACTOR_KEY]
    assert (config["tome_r"], config["max_length"], len(config["id2label"])) == (3, 64, 5)
    assert config["problem_type"] == "multi_label_classification"
    assert (front_end["mean"], front_end["std"], front_end["max_length"]) == (-7.5, 3.25, 64)
    assert b"secret-place" not in (tmp_path / "model.onnx").read_bytes()


def test_int8_keeps_the_labels_of_the_bundled_clips(tmp_path: Path) -> None:
    path, whole = tmp_path / "model.onnx", tmp_path / "float32.onnx"
    tagger = Tagger(SPEECH_COMMANDS, device="cpu")
    clips = tagger.features([load_audio(file) for file in SPEECH]).input_values
    export_onnx(tagger.model, path, int8=True)
    export_onnx(tagger.model, whole)
    with torch.no_grad():
        expected = tagger.model(clips).logits
    got = run(path, clips)
    assert path.stat().st_size < 0.3 * whole.stat().st_size
    assert torch.equal(got.argmax(dim=1), expected.argmax(dim=1))
    assert 1e-4 < (got - expected).abs().max() < 0.1
    # Whatever it shares a batch with.
    torch.testing.assert_close(run(path, clips[3:4]), got[3:4], rtol=0, atol=1e-5)


def test_int8_is_near_on_random_weights(make_fastast: Make, spectrogram: Make, tmp_path: Path) -> None:
    model = make_fastast(hidden_size=128, num_attention_heads=2, intermediate_size=512)
    export_onnx(model, tmp_path / "model.onnx", int8=True)
    clips = spectrogram(batch=5)
    with torch.no_grad():
        expected = model(clips).logits
    difference = (run(tmp_path / "model.onnx", clips) - expected).abs()
    assert 0 < difference.max() < 0.05 * expected.abs().max()


def test_int8_takes_silent_and_huge_inputs(make_fastast: Make, tmp_path: Path) -> None:
    model = make_fastast(tome_r=4)
    export_onnx(model, tmp_path / "model.onnx", int8=True)
    clips = torch.stack([torch.zeros(128, 48), torch.full((128, 48), 1e4)])
    got = run(tmp_path / "model.onnx", clips)
    assert np.isfinite(got.numpy()).all()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tome_r": -1}, "tome_r is -1"),
    ({"tome_r": [1, 2]}, "2 numbers for 3 layers"),
    ({"tome_schedule": "steep"}, "steep"),
    ({"num_frames": 9}, "shorter than one patch"),
]


@pytest.mark.parametrize(("settings", "said"), REFUSED)
def test_a_wrong_setting_is_refused_and_nothing_is_written(
    settings: dict[str, Any], said: str, make_fastast: Make, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        export_onnx(make_fastast(), tmp_path / "model.onnx", **settings)
    assert not list(tmp_path.iterdir())


def test_a_wrong_name_or_place_or_model_is_refused(make_fastast: Make, make_ast: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not end in \.onnx"):
        export_onnx(make_fastast(), tmp_path / "model.bin")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"is a file, and model\.onnx can't be in it"):
        export_onnx(make_fastast(), tmp_path / "file" / "model.onnx")
    with pytest.raises(TypeError, match="was given a ASTModel"):
        export_onnx(make_ast().audio_spectrogram_transformer, tmp_path / "model.onnx")


def test_a_full_disk_leaves_the_file_that_was_there(make_fastast: Make, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(make_fastast(), path, tome_r=8)
    before = path.read_bytes()
    with pytest.raises(OSError, match=r"model\.onnx'$"), room_for(len(before) // 2):
        export_onnx(make_fastast(), path, tome_r=4)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    export_onnx(make_fastast(), path, tome_r=4)
    assert path.read_bytes() != before and list(tmp_path.iterdir()) == [path]


def test_without_onnx_it_says_what_to_install(
    make_fastast: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"ONNX files need onnx: in a clone .* pip install '.\[onnx\]'"):
        export_onnx(make_fastast(), tmp_path / "model.onnx")
