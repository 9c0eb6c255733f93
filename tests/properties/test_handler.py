"""A request's parameters and sound: whatever they are, an answer's settings or one line."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from properties_settings import PROPERTY

from fastast_hf.model.configuration_fastast import FastASTConfig
from fastast_hf.model.feature_extraction_fastast import FastASTFeatureExtractor
from fastast_hf.serving.handler import MOST_WINDOWS, PARAMETERS, checked, cut, decoded, one_line

EXTRACTOR = FastASTFeatureExtractor(max_length=128, num_mel_bins=48)
CONFIG = FastASTConfig(num_hidden_layers=3, hidden_size=32, num_attention_heads=2, max_length=128, num_mel_bins=48)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("auto"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


def refused(error: ValueError) -> bool:
    """What is sent of it is there, and not too long to show. `one_line` is what the handler sends it through."""
    return 0 < len(one_line(error)) < 300


@PROPERTY
@given(st.dictionaries(st.sampled_from(PARAMETERS), values, max_size=4) | values)
def test_any_parameters_are_settings_in_their_bounds_or_one_line(parameters: Any) -> None:
    try:
        got = checked(parameters, EXTRACTOR, CONFIG)
    except ValueError as error:
        assert refused(error)
        return
    longest = EXTRACTOR.samples_of(EXTRACTOR.max_length)
    assert 400 <= got["window"] <= longest and got["hop"] >= 1 and got["top_k"] >= 1
    assert got["activation"] in ("auto", "softmax", "sigmoid")
    assert got["threshold"] is None or 0 <= got["threshold"] <= 1
    r = got["tome_r"] if isinstance(got["tome_r"], list) else [got["tome_r"] or 0]
    assert all(isinstance(own, int) and own >= 0 for own in r)


@PROPERTY
@given(st.integers(1, 5000), st.integers(1, 700), st.integers(1, 700))
def test_cut_windows_hear_the_whole_sound(samples: int, window: int, hop: int) -> None:
    waveform = np.arange(samples)
    try:
        found = cut(waveform, window, hop, 16000)
    except ValueError as error:
        assert refused(error) and samples // hop >= MOST_WINDOWS - window
        return
    assert found[0][0] == 0 and found[-1][0] + len(found[-1][1]) == samples
    assert all(list(own) == list(range(start, start + len(own))) for start, own in found)
    assert {len(own) for _, own in found} == {min(window, samples)}


@PROPERTY
@given(values | st.binary(max_size=300))
def test_what_is_no_sound_is_one_line(inputs: Any) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - whatever is wrong with it
        decoded(inputs, 16000)
    assert refused(error.value)


@PROPERTY
@given(
    st.sampled_from([("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "PCM_24")]),
    st.integers(400, 3000),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 2**16),
)
def test_a_damaged_sound_is_finite_samples_or_one_line(
    kind: tuple[str, str], samples: int, changes: list[tuple[int, int]], cut_at: int
) -> None:
    made = io.BytesIO()
    soundfile.write(made, np.sin(np.arange(samples) / 5), 16000, format=kind[0], subtype=kind[1])
    sound = bytearray(made.getvalue())
    for place, byte in changes:
        sound[place % len(sound)] = byte
    try:
        heard = decoded(bytes(sound[: 1 + cut_at % len(sound)] if cut_at % 2 else sound), 16000)
    except ValueError as error:
        assert refused(error)
        return
    assert heard.dtype == np.float32 and np.isfinite(heard).all() and len(heard) >= 400
