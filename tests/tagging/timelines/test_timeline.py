"""A timeline has each window's scores, as if that window were classified alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastast_hf import AudioError, FastASTFeatureExtractor, Tagger
from fastast_hf.model import feature_extraction_fastast
from fastast_hf.tagging.timelines import shared_frames
from fastast_hf.tagging.timelines.events import Moment
from fastast_hf.tagging.timelines.timeline import Timeline

RATE = 16000
LONGEST = 400 + 127 * 160  # samples of the tiny model's 128 frames


@pytest.fixture
def make_tagger(make_fastast: Callable[..., Any]) -> Callable[..., Tagger]:
    extractor = FastASTFeatureExtractor(num_mel_bins=48, max_length=128)

    def make(**settings: Any) -> Tagger:
        settings = {"device": "cpu", "top_k": None, "feature_extractor": extractor, **settings}
        return Tagger(make_fastast(tome_r=4), **settings)

    return make


def noise(samples: int) -> np.ndarray:
    """With a tone that comes and goes, so that windows differ."""
    time = np.arange(samples) / RATE
    return (np.random.default_rng(0).normal(0, 0.05, samples) + 0.5 * np.sin(2000 * time) * np.sin(3 * time)).astype(
        np.float32
    )


def alone(tagger: Tagger, window: np.ndarray) -> list[float]:
    labels = {label["label"]: label["score"] for label in tagger((window, RATE))}
    return [labels[name] for name in tagger.model.config.id2label.values()]


def starts_of(samples: int, length: int, hop: int) -> list[int]:
    starts = list(range(0, max(1, samples - length + 1), hop))
    return starts if starts[-1] + length >= samples else [*starts, samples - length]


@pytest.mark.parametrize(
    ("window", "hop"),
    [(None, None), (1.0, 1.0), (1.0, 0.25), (0.5, 0.01), (0.5, 0.0997), (LONGEST / RATE, 0.3), (0.025, 0.025)],
)
@pytest.mark.parametrize("native_length", [False, True])
def test_each_score_is_that_of_the_window_classified_alone(
    window: float | None, hop: float | None, native_length: bool, make_tagger: Callable[..., Tagger]
) -> None:
    tagger = make_tagger(native_length=native_length, batch_size=3)
    length = LONGEST if window is None else round(window * RATE)
    step = length if hop is None else round(hop * RATE)
    samples = noise(length + 5 * step + 123)
    timeline = tagger.timeline((samples, RATE), window, hop)
    starts = starts_of(len(samples), length, step)
    assert timeline.times.tolist() == [(start + length / 2) / RATE for start in starts]
    expected = [alone(tagger, samples[start : start + length]) for start in starts]
    np.testing.assert_allclose(timeline.scores, expected, atol=1e-5)
    assert timeline.scores.dtype == np.float32
    assert timeline.labels == list(tagger.model.config.id2label.values())


@pytest.mark.parametrize(
    ("samples", "windows"), [(400, 1), (8000, 1), (16000, 1), (16001, 2), (19999, 2), (20000, 2), (31999, 5)]
)
def test_recordings_of_every_length_are_covered_without_gap_or_overlap(
    samples: int, windows: int, make_tagger: Callable[..., Tagger]
) -> None:
    recording = noise(samples)
    tagger = make_tagger()
    moments = list(tagger.timeline((recording, RATE), window=1.0, hop=0.25))
    assert len(moments) == windows
    assert [moments[0].start, *(moment.end for moment in moments)] == [
        *(moment.start for moment in moments),
        samples / RATE,
    ]
    np.testing.assert_allclose(moments[-1].scores, alone(tagger, recording[-16000:]), atol=1e-5)


def test_a_recording_shorter_than_a_frame_is_refused(make_tagger: Callable[..., Tagger]) -> None:
    with pytest.raises(AudioError, match="too short, 320 samples"):
        list(make_tagger().timeline((noise(320), RATE)))


@pytest.fixture(scope="module")
def bundled() -> tuple[Tagger, np.ndarray, dict[int, np.ndarray]]:
    """A tagger, a recording and its scores when it comes whole, by its rate."""
    tagger, recording = Tagger(device="cpu", tome_r=20, native_length=True), noise(20_000)
    whole = {rate: tagger.timeline((recording, rate), 0.3, 0.1).scores for rate in (16000, 44100)}
    return tagger, recording, whole


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=4), st.integers(1, 9), st.sampled_from([16000, 44100]))
@settings(deadline=None, max_examples=15)
def test_scores_do_not_depend_on_blocks_or_batches(
    bundled: tuple[Tagger, np.ndarray, dict[int, np.ndarray]], lengths: list[int], batch_size: int, rate: int
) -> None:
    tagger, left, whole = bundled
    blocks = []
    while len(left):
        for length in lengths:
            blocks.append(left[:length])
            left = left[length:]
    tagger.batch_size = batch_size
    found = tagger.timeline((iter(blocks), rate), window=0.3, hop=0.1)
    np.testing.assert_allclose(found.scores, whole[rate], atol=1e-4)


def test_frames_that_windows_share_are_computed_once(
    make_tagger: Callable[..., Tagger], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []

    def counting(waveforms: torch.Tensor, *rest: Any) -> torch.Tensor:
        frames = feature_extraction_fastast.log_mel_spectrogram(waveforms, *rest)
        computed.append(frames.shape[0] * frames.shape[1])
        return frames

    monkeypatch.setattr(shared_frames, "log_mel_spectrogram", counting)
    samples = noise(400 + 160 * 499)  # 500 frames
    assert len(make_tagger(batch_size=4).timeline((samples, RATE), window=0.505, hop=0.03).times) == 152
    assert sum(computed) == 500


def test_the_pipelines_labels_are_the_mean_of_a_timeline(make_tagger: Callable[..., Tagger]) -> None:
    tagger, recording = make_tagger(), (noise(3 * LONGEST + 99), RATE)
    pooled = tagger.timeline(recording).pool()
    expected = {label["label"]: label["score"] for label in tagger(recording)}
    assert dict(zip(tagger.timeline(recording).labels, pooled, strict=True)) == pytest.approx(expected, abs=1e-6)


def test_a_timeline_is_computed_as_it_is_iterated_over_and_kept_only_when_asked_for(
    make_tagger: Callable[..., Tagger],
) -> None:
    read = []

    def blocks() -> Iterator[np.ndarray]:
        for number in range(20):
            read.append(number)
            yield noise(16000)

    timeline = make_tagger(batch_size=1).timeline((blocks(), RATE), window=1.0)
    moments = iter(timeline)
    assert read == []
    first = next(moments)
    assert first.start == 0.0 and len(read) < 5
    assert len(list(moments)) == 19 and len(read) == 20
    assert "_kept" not in vars(timeline)
    again = make_tagger().timeline((noise(50000), RATE), window=1.0)
    assert len(again.times) == len(again.scores) == len(list(again)) == 4
    assert next(iter(again)) is next(iter(again))


def test_what_was_found_before_a_recording_breaks_off_stands(make_tagger: Callable[..., Tagger]) -> None:
    def blocks() -> Iterator[np.ndarray]:
        yield noise(40000)
        yield np.full(10, np.nan)

    moments: list[Moment] = []
    with pytest.raises(AudioError, match=r"a sample is nan, at 2.50 s"):
        moments.extend(make_tagger().timeline((blocks(), RATE), window=1.0, hop=0.5))
    assert [moment.time for moment in moments] == [0.5, 1.0, 1.5, 2.0]


def test_scores_that_are_not_finite_are_refused(make_tagger: Callable[..., Tagger]) -> None:
    tagger = make_tagger()
    tagger.model.classifier.dense.bias.data.fill_(torch.nan)
    with pytest.raises(AudioError, match="the model's scores are not finite"):
        list(tagger.timeline((noise(16000), RATE)))


@pytest.mark.parametrize(
    ("window", "hop", "said"),
    [
        (0.02, None, "window is 0.02 s: this model takes 0.025 to 1.295 s"),
        (1.3, None, "window is 1.3 s: this model takes 0.025 to 1.295 s"),
        (1.0, 1.5, "hop is 1.5 s: give more than 0 and at most the window's 1 s"),
        (1.0, 0.0, "hop is 0 s: give more than 0"),
        (1.0, -1.0, "hop is -1 s: give more than 0"),
    ],
)
def test_windows_and_hops_that_make_no_sense_are_refused(
    window: float, hop: float | None, said: str, make_tagger: Callable[..., Tagger]
) -> None:
    with pytest.raises(ValueError, match=said):
        make_tagger().timeline("gone.wav", window, hop)


def test_top_labels_events_and_the_table_are_of_the_scores() -> None:
    scores = np.float32([[0.1, 0.2], [0.9, 0.3], [0.8, 0.6]])
    timeline = Timeline(["dog", "rain"], [Moment(i + 0.5, i, i + 1, row) for i, row in enumerate(scores)])
    assert timeline.top(1) == [{"label": "dog", "score": pytest.approx(0.9), "time": 1.5}]
    assert [label["label"] for label in timeline.top()] == ["dog", "rain"]
    assert [(event.start, event.end, event.label) for event in timeline.events()] == [(1, 3, "dog"), (2, 3, "rain")]
    table = timeline.to_pandas()
    assert table.index.tolist() == [0.5, 1.5, 2.5] and table.columns.tolist() == ["dog", "rain"]
    np.testing.assert_array_equal(table.to_numpy(), scores)
    np.testing.assert_allclose(timeline.pool("max"), [0.9, 0.6], rtol=1e-6)
