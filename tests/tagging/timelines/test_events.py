"""Events are those that a plain loop finds, whatever the scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastast_hf.tagging.timelines.events import Event, EventFinder, Moment, find_events

HOP = 0.5


def moments_of(scores: np.ndarray) -> list[Moment]:
    return [Moment(HOP * (i + 0.5), HOP * i, HOP * (i + 1), row) for i, row in enumerate(np.asarray(scores))]


def by_a_loop(
    scores: list[float], threshold: float, off: float, min_seconds: float, merge_seconds: float
) -> list[tuple[float, float, float, float]]:
    """Start, end, peak and mean of one label's events: runs, then merged, then the short ones dropped."""
    runs: list[list[int]] = []
    inside = False
    for i, score in enumerate(scores):
        if not inside and score >= threshold:
            inside = True
            runs.append([])
        elif inside and score < off:
            inside = False
        if inside:
            runs[-1].append(i)
    merged: list[list[int]] = []
    for run in runs:
        if merged and HOP * (run[0] - merged[-1][-1] - 1) <= merge_seconds:
            merged[-1] += run
        else:
            merged.append(run)
    found = []
    for run in merged:
        start, end = HOP * run[0], HOP * (run[-1] + 1)
        if end - start >= min_seconds:
            heard = [scores[i] for i in run]
            found.append((start, end, max(heard), sum(heard) / len(heard)))
    return found


@given(
    st.lists(st.lists(st.integers(0, 10), min_size=2, max_size=2), max_size=40),
    st.integers(1, 10),
    st.integers(0, 10),
    st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]),
    st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)
@settings(deadline=None, max_examples=300)
def test_events_are_those_of_a_loop(
    eighths: list[list[int]], threshold: int, off: int, min_seconds: float, merge_seconds: float
) -> None:
    scores = np.array(eighths, dtype=np.float64).reshape(-1, 2) / 8
    on, off_score = threshold / 8, min(off, threshold) / 8
    found = list(find_events(moments_of(scores), ["a", "b"], on, off_score, min_seconds, merge_seconds))
    for index, label in enumerate("ab"):
        expected = by_a_loop(scores[:, index].tolist(), on, off_score, min_seconds, merge_seconds)
        own = [(event.start, event.end, event.score, event.mean) for event in found if event.label == label]
        assert own == expected  # eighths are exact
    assert [event.end for event in found] == sorted(event.end for event in found) or merge_seconds


def test_an_event_is_told_as_soon_as_it_is_over() -> None:
    finder = EventFinder(["a"], 0.5, 0.25, merge_seconds=0.5)
    told = [finder.push(moment) for moment in moments_of(np.array([[0.3], [0.6], [0.3], [0.1], [0.1], [0.9]]))]
    first = Event(0.5, 1.5, "a", 0.6, pytest.approx(0.45))  # type: ignore[arg-type]
    assert told == [[], [], [], [], [first], []]
    assert finder.close() == [Event(2.5, 3.0, "a", 0.9, 0.9)]
    assert finder.close() == []


def test_each_label_may_have_its_own_threshold() -> None:
    found = find_events(moments_of(np.array([[0.4, 0.4]])), ["a", "b"], [0.3, 0.5])
    assert [event.label for event in found] == ["a"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"min_seconds": -1.0}, "min_seconds is -1.0: give 0 or more"),
        ({"merge_seconds": float("nan")}, "merge_seconds is nan: give 0 or more"),
        ({"off": 0.6}, "off is 0.6, above the threshold 0.5: an event ends at a lower score"),
        ({"threshold": [0.5]}, r"threshold is \[0.5\]: give a score, or one for each of the 2 labels"),
        ({"threshold": float("nan")}, "threshold is nan: give a score"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EventFinder(["a", "b"], **settings)
