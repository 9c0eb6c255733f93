"""Windows of a recording: all of it is heard, whatever the blocks it comes in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastast_hf.audio import load_audio, read_audio, windows


def in_blocks(samples: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    """The samples in blocks of these lengths, over and over."""
    blocks = []
    while len(samples):
        for length in lengths:
            blocks.append(samples[:length])
            samples = samples[length:]
    return blocks


def of_whole(samples: np.ndarray, length: int, hop: int) -> list[tuple[int, list[float]]]:
    """Windows as their description has them, of a recording in memory."""
    starts = [start for start in range(0, len(samples), hop) if start + length <= len(samples)]
    if not starts or starts[-1] + length < len(samples):
        starts.append(max(0, len(samples) - length))
    return [(start, samples[start : start + length].tolist()) for start in starts]


@pytest.mark.parametrize(
    ("samples", "hop", "starts"),
    [
        (3, None, [0]),
        (10, None, [0]),
        (11, None, [0, 1]),
        (20, None, [0, 10]),
        (25, None, [0, 10, 15]),
        (3, 4, [0]),
        (10, 4, [0]),
        (11, 4, [0, 1]),
        (17, 4, [0, 4, 7]),  # one sample less than two hops more
        (18, 4, [0, 4, 8]),
        (12, 1, [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("block", [1, 4, 10, 99])
def test_windows_are_a_hop_apart_and_the_last_ends_with_the_recording(
    samples: int, hop: int | None, starts: list[int], block: int
) -> None:
    recording = np.arange(samples)
    found = windows(in_blocks(recording, [block]), 10, hop)
    assert [(start, list(window)) for start, window in found] == [(s, list(recording[s : s + 10])) for s in starts]


@given(
    st.integers(1, 200),
    st.lists(st.integers(0, 60), min_size=1, max_size=5).filter(any),
    st.integers(1, 50).flatmap(lambda length: st.tuples(st.just(length), st.integers(1, length))),
)
@settings(deadline=None)
def test_windows_do_not_depend_on_blocks(samples: int, lengths: list[int], window: tuple[int, int]) -> None:
    recording = np.arange(samples, dtype=np.float32)
    found = windows(in_blocks(recording, lengths), *window)
    assert [(start, samples.tolist()) for start, samples in found] == of_whole(recording, *window)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=5), st.sampled_from([8000, 22050, 44100, 48000]))
@settings(deadline=None, max_examples=30)
def test_a_rate_is_changed_alike_whatever_the_blocks(lengths: list[int], rate: int) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 12_001).astype(np.float32)
    blocks = iter(in_blocks(samples, lengths))
    np.testing.assert_allclose(load_audio((blocks, rate)), load_audio((samples, rate)), atol=1e-4)


def test_a_window_keeps_its_samples_when_later_ones_are_read() -> None:
    """Those who gather a batch of them hold them for a while."""
    recording = np.arange(1000, dtype=np.float32)
    found = list(windows(read_audio((iter(in_blocks(recording / 1000, [7])), 16000)), 400, 3))
    assert [(start, samples.tolist()) for start, samples in found] == of_whole(recording / np.float32(1000), 400, 3)
