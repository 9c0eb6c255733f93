"""Sound that is still coming in has the scores that it has once it is a file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastast_hf import AudioError, FastASTFeatureExtractor, Tagger
from fastast_hf.tagging.timelines.events import Moment

RATE = 16000


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger(device="cpu", tome_r=20, native_length=True, batch_size=3)


def sound(samples: int) -> np.ndarray:
    """Noise, with a tone that comes and goes."""
    time = np.arange(samples) / RATE
    tone = 0.5 * np.sin(2000 * time) * (np.sin(3 * time) > 0)
    return (np.random.default_rng(0).normal(0, 0.05, samples) + tone).astype(np.float32)


def in_blocks(samples: np.ndarray, *lengths: int) -> Iterator[np.ndarray]:
    while len(samples):
        for length in lengths:
            yield samples[:length]
            samples = samples[length:]


def check_equal(found: list[Moment], expected: list[Moment]) -> None:
    """All but the end of the last moment, which live sound does not know to be the last."""
    assert [(moment.time, moment.start) for moment in found] == [(moment.time, moment.start) for moment in expected]
    assert [moment.end for moment in found[:-1]] == [moment.end for moment in expected[:-1]]
    np.testing.assert_allclose([m.scores for m in found], [m.scores for m in expected], atol=1e-5)


@pytest.mark.parametrize("hop", [0.25, 0.0997])
@pytest.mark.parametrize("samples", [400, 8000, 8001, 8000 + 3 * 4000 - 1, 8000 + 3 * 4000, 19_999])
def test_an_iterator_gives_what_the_timeline_of_the_recording_gives(hop: float, samples: int, tagger: Tagger) -> None:
    recording = sound(samples)
    timeline = tagger.timeline((recording, RATE), 0.5, hop)
    stream = tagger.listen(in_blocks(recording, 1234), RATE, 0.5, hop)
    found = list(stream)
    assert len(timeline.times) == len(found)  # and they are kept
    check_equal(found, list(timeline))
    assert stream.labels == timeline.labels and stream.seconds == samples / RATE and stream.skipped == 0
    again = tagger.listen(in_blocks(recording, 999), RATE, 0.5, hop)
    events = sorted(again.events(0.2, 0.1), key=lambda event: event.start)
    assert [event[:3] for event in events] == [event[:3] for event in timeline.events(0.2, 0.1)]
    assert [event.mean for event in events] == pytest.approx([e.mean for e in timeline.events(0.2, 0.1)], abs=1e-5)


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=4), st.sampled_from([16000, 44100]))
@settings(deadline=None, max_examples=10)
def test_what_is_pushed_does_not_depend_on_blocks_or_on_how_a_rate_is_changed(
    tagger: Tagger, lengths: list[int], rate: int
) -> None:
    recording = sound(24_000)
    expected = tagger.timeline((recording, rate), 0.3, 0.1)
    stream = tagger.listen(None, rate, 0.3, 0.1)
    found = [moment for block in in_blocks(recording, *lengths) for moment in stream.push(block)] + stream.close()
    assert [moment.time for moment in found] == expected.times.tolist()
    np.testing.assert_allclose([moment.scores for moment in found], expected.scores, atol=1e-4)


def test_a_moment_is_known_as_soon_as_its_window_is_whole_and_the_tail_when_it_is_closed(tagger: Tagger) -> None:
    stream = tagger.listen(None, RATE, window=0.5)
    assert stream.hop == 0.5
    recording = sound(12_000)
    assert stream.push(recording[:7999]) == []
    (first,) = stream.push(np.stack([recording[7999:8001]] * 2, axis=1))  # of two channels
    assert (first.start, first.time, first.end) == (0.0, 0.25, 0.5)
    assert stream.push(recording[8001:]) == []
    (tail,) = stream.close()
    assert (tail.start, tail.time, tail.end) == (0.5, 0.5, 0.75)
    expected = tagger((recording[-8000:], RATE))
    assert stream.best(tail) == [{"label": e["label"], "score": pytest.approx(e["score"], abs=1e-5)} for e in expected]
    assert stream.latency(95) > 0 and stream.real_time_factor() > 0


def test_where_there_is_no_time_hops_are_skipped_and_counted(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    recording, drawn, begun = sound(40 * 1600), threading.Event(), threading.Event()

    def blocks() -> Iterator[np.ndarray]:
        for number, block in enumerate(in_blocks(recording, 1600)):
            yield block
            if number == 4:  # the first window is whole, and its scores take until all else has come
                begun.wait(60)
        drawn.set()

    compute = tagger.scores_of_frames

    def slow(frames: Any) -> Any:
        begun.set()
        assert drawn.wait(60)
        return compute(frames)

    monkeypatch.setattr(tagger, "scores_of_frames", slow)
    stream = tagger.listen(blocks(), RATE, 0.5, 0.1, skip=True)
    found = list(stream)
    monkeypatch.undo()
    expected = list(tagger.timeline((recording, RATE), 0.5, 0.1))
    assert 2 <= len(found) <= 6 and len(found) + stream.skipped == len(expected) == 36
    assert found[0].time == expected[0].time and found[-1].time == expected[-1].time
    by_time = {moment.time: moment.scores for moment in expected}
    for moment in found:
        np.testing.assert_allclose(moment.scores, by_time[moment.time], atol=1e-5)
    # What no window has heard belongs to no stretch.
    assert found[1].start == pytest.approx(found[1].time - 0.25) and found[1].start > found[0].end


def test_what_was_found_before_the_sound_breaks_off_stands(tagger: Tagger) -> None:
    def breaking() -> Iterator[np.ndarray]:
        yield from in_blocks(sound(16_000), 800)
        raise OSError("unplugged")

    for skip in (False, True):
        times: list[float] = []
        moments = tagger.listen(breaking(), RATE, 0.5, 0.5, skip)
        with pytest.raises(OSError, match="unplugged"):
            times.extend(moment.time for moment in moments)
        assert times[-1:] == [0.75]
    stream = tagger.listen(None, RATE, 0.5)
    assert len(stream.push(sound(8000))) == 1
    with pytest.raises(AudioError, match=r"a sample is nan, at 0\.50 s"):
        stream.push(np.full(10, np.nan))


def test_sound_that_never_comes_is_an_error_at_the_end(tagger: Tagger) -> None:
    for skip in (False, True):
        with pytest.raises(AudioError, match="zero samples"):
            list(tagger.listen(iter([]), RATE, skip=skip))
    with pytest.raises(ValueError, match="no blocks"):
        list(tagger.listen(None, RATE))
    with pytest.raises(AudioError, match="sampling rate 10 Hz"):
        tagger.listen(None, 10)


@pytest.mark.slow
def test_memory_stays_flat_over_24_hours_and_scores_are_the_timelines(make_fastast: Callable[..., Any]) -> None:
    """At 2 kHz, where they would be 691 MB; both at full speed, side by side."""
    resident = pytest.importorskip("psutil").Process().memory_info
    extractor = FastASTFeatureExtractor(sampling_rate=2000, num_mel_bins=16, max_length=1024)
    small = Tagger(make_fastast(num_mel_bins=16, max_length=1024), device="cpu", feature_extractor=extractor)

    def day() -> Iterator[np.ndarray]:
        noise = np.random.default_rng(0)
        for _ in range(24 * 360):
            yield noise.normal(0, 0.1, 20_000).astype(np.float32)  # 10 s

    both = zip(small.listen(day(), 2000, hop=10), small.timeline((day(), 2000), hop=10), strict=True)
    for live, offline in islice(both, 60):  # ten minutes
        assert live.time == offline.time
    before = resident().rss
    for live, offline in both:
        assert live.time == offline.time
        np.testing.assert_allclose(live.scores, offline.scores, atol=1e-5)
    assert live.end == 24 * 3600
    assert resident().rss < 1.05 * before
