"""Which clips a model is tuned on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sounds import tone

from fastast_hf.tagging.tagger import Tagger
from fastast_hf.tuning.clips import gathered, reservoir


@pytest.fixture
def tagger(checkpoint: Path) -> Tagger:
    return Tagger(checkpoint, device="cpu")  # of clips of 1.28 s


def tones(count: int, seconds: float = 1.0) -> list[Any]:
    """Each of its own pitch, as samples and rate."""
    return [(tone(200 + 50 * number, seconds=seconds), 16000) for number in range(count)]


def test_halves_share_no_recording_and_targets_follow_their_clips(tagger: Tagger) -> None:
    sources = tones(10)
    clips = gathered(tagger, sources, targets=np.eye(10), most=8)
    assert (len(clips.windows), clips.split, clips.recordings) == (8, 4, 8)
    assert clips.targets is not None
    for window, target in zip(clips.windows, clips.targets, strict=True):
        assert np.allclose(window, sources[target.argmax()][0], atol=1e-6)


def test_the_seed_says_which_clips(tagger: Tagger) -> None:
    first, again, other = (gathered(tagger, tones(20), most=8, seed=seed).windows for seed in (0, 0, 1))
    assert all(map(np.array_equal, first, again)) and not all(map(np.array_equal, first, other))


def test_one_long_recording_is_cut_into_windows_and_in_two(tagger: Tagger) -> None:
    rising = np.cumsum(np.linspace(0.01, 0.9, 16000 * 30))
    clips = gathered(tagger, [(np.sin(rising), 16000)], most=16)
    assert (len(clips.windows), clips.split, clips.recordings) == (16, 8, 1)
    crossings = [np.diff(np.sign(window)).astype(bool).sum() for window in clips.windows]
    assert crossings == sorted(crossings)  # in the recording's order, so that the halves are its two parts


def test_a_recording_that_cannot_be_read_is_counted(
    tagger: Tagger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = gathered(tagger, [*tones(9), tmp_path / "missing.wav"], most=128)
    assert clips.unreadable == 1 and clips.recordings == 9
    assert "left out" in caplog.text and "missing.wav" in caplog.text


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([], "there is no audio"),
        (tones(2), "there are 2 clips: tuning needs 8"),
        (tones(1), "there is 1 clip: tuning needs 8"),
        ([(np.zeros(16000), 16000)] * 9, "all 9 clips are silent"),
        (tones(1) * 9, "there are 9 clips, 1 of them different"),
    ],
)
def test_clips_that_tell_nothing_are_refused(tagger: Tagger, sources: list[Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        gathered(tagger, sources)


def test_a_reservoir_holds_each_item_equally_often() -> None:
    drawn = random.Random(0)
    counts = np.zeros(10)
    for _ in range(2000):
        own: Any = reservoir(iter(range(10)), 3, drawn)  # type: ignore[arg-type]
        assert own == sorted(set(own)) and len(own) == 3
        counts[own] += 1
    assert counts.min() > 500 and counts.max() < 700  # 600 each, give or take four standard deviations
