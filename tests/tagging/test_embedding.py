"""Vectors of recordings: what the head sees, and every token with its size, whatever is merged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastast_hf import AudioError, FastASTFeatureExtractor, Tagger
from fastast_hf.onnx.export import export_onnx

Make = Callable[..., Any]
WINDOW = 400 + 127 * 160  # samples of 128 frames


def noise(length: int, seed: int = 0) -> tuple[np.ndarray, int]:
    return np.random.default_rng(seed).normal(size=length).astype(np.float32) / 5, 16000


@pytest.fixture
def make_tagger(make_fastast: Make) -> Make:
    def make(**settings: Any) -> Tagger:
        model = settings.pop("model", None) or make_fastast(num_hidden_layers=3)
        return Tagger(model, device="cpu", **settings)

    return make


def hidden_states(tagger: Tagger, clip: tuple[np.ndarray, int], r: int) -> torch.Tensor:
    """(tokens, hidden size) after the last norm."""
    inputs = tagger.features(list(tagger.windows(clip)))
    with torch.no_grad():
        return tagger.model.audio_spectrogram_transformer(**inputs, tome_r=r).last_hidden_state[0]


@pytest.mark.parametrize("r", [0, 6])
def test_a_vector_is_what_the_head_sees(r: int, make_tagger: Make) -> None:
    tagger, clips = make_tagger(tome_r=r), [noise(16000), noise(9000, 1), noise(400, 2)]
    vectors = tagger.embed(clips)
    assert vectors.shape == (3, 32) and vectors.dtype == np.float32
    for clip, vector in zip(clips, vectors, strict=True):
        states = hidden_states(tagger, clip, r)
        assert vector == pytest.approx(((states[0] + states[1]) / 2).numpy(), abs=1e-5)
        logits = tagger.model.classifier(torch.from_numpy(vector)[None]).softmax(-1)
        assert logits[0].max().item() == pytest.approx(tagger(clip)[0]["score"], abs=1e-5)
    assert tagger.embed(clips[0]) == pytest.approx(vectors[0], abs=1e-6)
    assert tagger.embed([]).shape == (0, 32)


def test_a_long_recording_gets_the_mean_over_its_windows(make_tagger: Make) -> None:
    tagger, (samples, rate) = make_tagger(tome_r=6), noise(50000)
    windows = [(samples[start : start + WINDOW], rate) for start in (0, WINDOW, 50000 - WINDOW)]
    assert tagger.embed((samples, rate)) == pytest.approx(tagger.embed(windows).mean(axis=0), abs=1e-5)
    assert tagger.embed((samples, rate), tokens=True).embeddings.shape[0] == 3


@pytest.mark.parametrize(("r", "tokens"), [(0, 50), (6, 32), (10**6, 8)])
def test_tokens_and_how_many_patches_each_was_merged_from(r: int, tokens: int, make_tagger: Make) -> None:
    tagger, clip = make_tagger(tome_r=r), noise(16000)
    embeddings, sizes = tagger.embed(clip, tokens=True)
    assert (embeddings.shape, sizes.shape) == ((1, tokens, 32), (1, tokens))
    assert embeddings[0] == pytest.approx(hidden_states(tagger, clip, r).numpy(), abs=1e-5)
    assert sizes.sum() == 50 and sizes.min() == 1 and (sizes[:, :2] == 1).all()
    assert embeddings[0, :2].mean(axis=0) == pytest.approx(tagger.embed(clip), abs=1e-5)


def test_sizes_weigh_a_mean_over_patches(make_tagger: Make) -> None:
    """Slowly: each patch looks up the token it ended in."""
    tagger, clip = make_tagger(tome_r=6), noise(16000)
    embeddings, sizes = tagger.embed(clip, tokens=True)
    inputs = tagger.features(list(tagger.windows(clip)))
    with torch.no_grad():
        (token_of_patch,) = tagger.model(**inputs, output_merge_map=[-1]).merge_map
    expected = np.mean([embeddings[0, token] for token in token_of_patch[0].tolist()], axis=0)
    weighted = np.average(embeddings[0, 2:], axis=0, weights=sizes[0, 2:])
    assert weighted == pytest.approx(expected, abs=1e-6)


def test_padding_under_a_frame_mask_counts_nothing(make_tagger: Make) -> None:
    extractor = FastASTFeatureExtractor(num_mel_bins=48, max_length=128, return_attention_mask=True)
    tagger = make_tagger(tome_r=6, feature_extractor=extractor)
    _, sizes = tagger.embed(noise(8000), tokens=True)
    columns = len(range(0, 48, 10))  # of 48 frames, those whose patch has one
    assert sizes.sum() == 2 + 4 * columns


def test_a_preset_and_native_length_hold_for_vectors_too(make_tagger: Make) -> None:
    tagger = make_tagger(preset="balanced", dtype="float32", native_length=True)
    embeddings, _ = tagger.embed(noise(4000), tokens=True)
    assert embeddings.shape[1] < 2 + 4 * 2  # of 32 frames


def test_errors_are_raised_or_stand_in_their_place(make_tagger: Make) -> None:
    tagger, bad = make_tagger(), (np.zeros(3), 16000)
    with pytest.raises(AudioError, match="too short"):
        tagger.embed([noise(4000), bad])
    first, error, last = tagger.stream_embeddings([noise(4000), bad, noise(4000)], on_error="return")
    assert isinstance(error, AudioError) and np.array_equal(first, last)
    tagger.model.audio_spectrogram_transformer.layernorm.bias.data[0] = torch.nan
    with pytest.raises(AudioError, match="its vector is not finite"):
        tagger.embed(noise(4000))


def test_an_exported_model_gives_labels_alone(checkpoint: Path, tmp_path: Path) -> None:
    export_onnx(checkpoint, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r"model\.onnx gives labels alone: give the checkpoint"):
        Tagger(tmp_path / "model.onnx").embed(noise(4000))
