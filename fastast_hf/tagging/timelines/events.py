"""From scores over time to events: where a label begins, ends and how sure the model was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

EXACT = 1e-6  # s; differences of times that are closer are rounding


class Moment(NamedTuple):
    """One window of a recording.

    Attributes:
        time: The window's middle, in seconds from the recording's start.
        start: Of the stretch that the window speaks for: half a hop to either side of its middle. The first stretch
            begins with the recording and the last one ends with it, so that stretches leave nothing out and do not
            overlap.
        end: Of that stretch.
        scores: (labels,), float32.
    """

    time: float
    start: float
    end: float
    scores: np.ndarray


class Event(NamedTuple):
    """A stretch of a recording in which a label is heard.

    Attributes:
        start: In seconds from the recording's start.
        end: In seconds.
        label: Its name.
        score: The highest in there.
        mean: Of the scores in there, but for gaps that were merged.
    """

    start: float
    end: float
    label: str
    score: float
    mean: float


class EventFinder:
    """Finds events while moments come in.

    An event begins where a label's score reaches `threshold`, and lasts as long as it does not fall below `off`.
    Events of one label that are at most `merge_seconds` apart become one. After that, those shorter than `min_seconds`
    are dropped.

    Args:
        labels: Names of the labels, in the order of scores.
        threshold: A score, or one for each label.
        off: A score that is not above `threshold`, or one for each label; None for `threshold`.
        min_seconds: See above.
        merge_seconds: See above.

    Raises:
        ValueError: A setting that makes no sense.

    Example:
        >>> finder = EventFinder(["dog"])
        >>> finder.push(Moment(0.5, 0.0, 1.0, np.array([0.75]))), finder.push(Moment(1.5, 1.0, 2.0, np.array([0.0])))
        ([], [Event(start=0.0, end=1.0, label='dog', score=0.75, mean=0.75)])
    """

    def __init__(
        self,
        labels: Sequence[str],
        threshold: float | Sequence[float] = 0.5,
        off: float | Sequence[float] | None = None,
        min_seconds: float = 0.0,
        merge_seconds: float = 0.0,
    ) -> None:
        for name, seconds in (("min_seconds", min_seconds), ("merge_seconds", merge_seconds)):
            if not seconds >= 0:
                raise ValueError(f"{name} is {seconds}: give 0 or more")
        self._labels, self._min, self._merge = list(labels), min_seconds - EXACT, merge_seconds + EXACT
        count = len(self._labels)
        self._on = _for_each("threshold", threshold, count)
        self._off = self._on if off is None else _for_each("off", off, count)
        if (self._off > self._on).any():
            raise ValueError(f"off is {off}, above the threshold {threshold}: an event ends at a lower score")
        self._active = np.zeros(count, bool)
        # Of the event that is under way, or has ended and may be merged with the next one.
        self._start, self._end, self._peak, self._sum = (np.zeros(count) for _ in range(4))
        self._windows = np.zeros(count, int)  # 0 where there is none

    def push(self, moment: Moment) -> list[Event]:
        """The events that are over, now that this moment has come."""
        scores = moment.scores
        was, self._active = self._active, scores >= np.where(self._active, self._off, self._on)
        new = self._active & ~was
        apart = new & (moment.start - self._end > self._merge)
        ended = self._take(apart)
        self._start[new & (self._windows == 0)] = moment.start
        self._windows += self._active
        self._sum[self._active] += scores[self._active]
        self._peak[self._active] = np.where(self._windows == 1, scores, np.maximum(self._peak, scores))[self._active]
        self._end[self._active] = moment.end
        # No later moment begins before this one ends.
        return ended + self._take(~self._active & (moment.end - self._end > self._merge))

    def close(self, end: float | None = None) -> list[Event]:
        """The events that were not over yet; those under way last until `end`, in seconds, where it is given."""
        if end is not None:
            self._end[self._active] = end
        return self._take(np.ones(len(self._labels), bool))

    def _take(self, which: np.ndarray) -> list[Event]:
        indices = np.flatnonzero(which & (self._windows > 0))
        events = [
            Event(
                float(self._start[i]),
                float(self._end[i]),
                self._labels[i],
                float(self._peak[i]),
                float(self._sum[i] / self._windows[i]),
            )
            for i in indices
            if self._end[i] - self._start[i] >= self._min
        ]
        self._windows[indices] = 0
        self._sum[indices] = 0
        return events


def find_events(
    moments: Iterable[Moment],
    labels: Sequence[str],
    threshold: float | Sequence[float] = 0.5,
    off: float | Sequence[float] | None = None,
    min_seconds: float = 0.0,
    merge_seconds: float = 0.0,
) -> Iterator[Event]:
    """Events as soon as they are over; arguments as of [`EventFinder`].

    Yields:
        Events in the order of their ends.

    Example:
        >>> list(find_events([Moment(0.5, 0.0, 1.0, np.array([0.25, 0.75]))], ["dog", "rain"]))
        [Event(start=0.0, end=1.0, label='rain', score=0.75, mean=0.75)]
    """
    finder = EventFinder(labels, threshold, off, min_seconds, merge_seconds)
    for moment in moments:
        yield from finder.push(moment)
    yield from finder.close()


def clock(seconds: float, digits: int = 0) -> str:
    """Seconds as h:mm:ss.

    Example:
        >>> clock(3725.25), clock(59.999, 1)
        ('1:02:05', '0:01:00.0')
    """
    units = round(seconds * 10**digits)
    whole, part = divmod(units, 10**digits)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" + (f".{part:0{digits}}" if digits else "")


def _for_each(name: str, scores: float | Sequence[float], labels: int) -> np.ndarray:
    array = np.asarray(scores, dtype=np.float64)
    if array.shape not in ((), (labels,)) or not np.isfinite(array).all():
        raise ValueError(f"{name} is {scores}: give a score, or one for each of the {labels} labels")
    return np.broadcast_to(array, labels)
