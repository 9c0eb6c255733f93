"""Sound that has not ended yet: its scores while it comes in."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..audio.arrays import block_to_mono
from ..audio.incoming import Incoming
from ..audio.rolling import RollingWindows
from .timelines.events import Event, EventFinder, Moment
from .timelines.timeline import WindowScorer, batches, samples_of

if TYPE_CHECKING:
    from .tagger import Tagger

HOP = 0.5  # s
MOST_WAITING = 0.5  # s of hops: as much sound as programs may send at once
REMEMBERED = 600  # results that latency and real-time factor are of: a minute of those 0.1 s apart

Window = tuple[int, np.ndarray]


class LiveStream:
    """The moments of a recording while it comes in, each as soon as its window is whole; see [`Tagger.listen`].

    Iterate over it where there are blocks, or push them. It keeps one window of sound, however long the recording.
    Moments equal those of [`Tagger.timeline`], except for `end` of the last one, which is not known to be the last.

    Attributes:
        labels: Names of the labels, in the order of scores.
        window: Seconds of a window.
        hop: Seconds from one window's start to the next.
        skipped: Windows that were not classified because there was no time (`skip`).

    Example:
        >>> from fastast_hf import Tagger
        >>> stream = Tagger().listen(None, 8000, window=1, hop=0.5)
        >>> moments = stream.push(np.zeros(12400)) + stream.close()
        >>> [moment.time for moment in moments]
        [0.5, 1.0, 1.05]
    """

    def __init__(
        self,
        tagger: Tagger,
        blocks: Iterable[Any] | None,
        rate: int,
        window: float | None = None,
        hop: float | None = None,
        skip: bool = False,
        name: str = "array",
    ) -> None:
        own_rate = tagger.feature_extractor.sampling_rate
        length, _ = samples_of(tagger, window, None)
        length, step = samples_of(tagger, window, min(HOP, length / own_rate) if hop is None else hop)
        self.labels = tagger.label_names()
        self.skipped = 0
        self.window, self.hop = length / own_rate, step / own_rate
        self._rate, self._name = own_rate, name
        self._blocks, self._skip, self._tagger = blocks, skip, tagger
        self._incoming, self._rolling = Incoming(rate, own_rate, name), RollingWindows(length, step)
        self._score = WindowScorer(tagger, step, name)
        self._heard = 0
        self._left = False  # by the one who iterates
        self._latencies: deque[float] = deque(maxlen=REMEMBERED)
        self._computing: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def seconds(self) -> float:
        """Of sound so far."""
        return self._heard / self._rate

    @property
    def last_latency(self) -> float:
        """Of the last result; see [`latency`]."""
        return self._latencies[-1]

    def push(self, block: Any) -> list[Moment]:
        """The moments that are known with this block.

        Args:
            block: Samples (n,) or (n, channels), as [`load_audio`] takes them; n may be any number.

        Raises:
            AudioError: The block can't be used, or scores are not finite.
            MemoryError: A batch does not fit into the device's memory.
        """
        return list(self._moments(self._cut(block)))

    def close(self) -> list[Moment]:
        """The moment of the window that ends with the recording, if no other did.

        Raises:
            AudioError: The recording was too short, or scores are not finite.
        """
        return [moment._replace(end=self.seconds) for moment in self._moments(self._rest())]

    def __iter__(self) -> Iterator[Moment]:
        if self._blocks is None:
            raise ValueError("no blocks were given to listen to: push them")
        if not self._skip:
            for block in self._blocks:
                yield from self._moments(self._cut(block))
            yield from self.close()
            return
        waiting = _Waiting(self._windows(self._blocks), max(1, round(MOST_WAITING / self.hop)))
        too_slow = False
        try:
            while (found := waiting.take(too_slow)) is not None:
                window, arrived, missed = found
                self.skipped += missed
                (moment,) = self._compute([window], arrived)
                too_slow = self._computing[-1] > self.hop
                yield moment
        finally:
            self._left = True

    def events(
        self,
        threshold: float | Sequence[float] = 0.5,
        off: float | Sequence[float] | None = None,
        min_seconds: float = 0.0,
        merge_seconds: float = 0.0,
    ) -> Iterator[Event]:
        """Where labels are heard, each event as soon as it is over; arguments as of [`EventFinder`]."""
        finder = EventFinder(self.labels, threshold, off, min_seconds, merge_seconds)
        for moment in self:
            yield from finder.push(moment)
        yield from finder.close(self.seconds)

    def best(self, moment: Moment) -> list[dict[str, Any]]:
        """The labels of a moment as the tagger gives them: `{"label": str, "score": float}`, best first."""
        return self._tagger.labels(torch.from_numpy(moment.scores)[None], self._name)

    def latency(self, percent: float = 50) -> float:
        """Seconds from the arrival of a window's last sound to its scores; the percentile over the last results."""
        return float(np.percentile(self._latencies or [0.0], percent))

    def real_time_factor(self) -> float:
        """Seconds of computing for a second of sound, the median over the last results; above 1 is too slow."""
        return float(np.median(self._computing or [0.0])) / self.hop

    def _cut(self, block: Any) -> Iterator[Window]:
        samples = self._incoming.push(block_to_mono(block, self._name))
        self._heard += len(samples)
        yield from self._rolling.push(samples)

    def _rest(self) -> Iterator[Window]:
        samples = self._incoming.close()
        self._heard += len(samples)
        yield from self._rolling.push(samples)
        yield from self._rolling.close()

    def _windows(self, blocks: Iterable[Any]) -> Iterator[Window]:
        for block in blocks:
            if self._left:
                return
            yield from self._cut(block)
        yield from self._rest()

    def _moments(self, windows: Iterable[Window]) -> Iterator[Moment]:
        arrived = perf_counter()
        for batch in batches(windows, self._tagger.batch_size):
            yield from self._compute(batch, arrived)

    def _compute(self, batch: Sequence[Window], arrived: float) -> list[Moment]:
        begun = perf_counter()
        moments = self._score(batch)
        done = perf_counter()
        self._computing.append((done - begun) / len(batch))
        self._latencies.append(done - arrived)
        return moments


class _Waiting:
    """What an iterator gives, drawn in a thread as it comes; what waits too long is dropped and counted."""

    def __init__(self, items: Iterable[Window], most: int) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Window, float]] = deque()
        self._most, self._missed, self._over = most, 0, False
        self._error: BaseException | None = None
        # Nobody waits for it at the program's end: it may wait for sound that never comes.
        threading.Thread(target=self._draw, args=(items,), name="fastast-listen", daemon=True).start()

    def _draw(self, items: Iterable[Window]) -> None:
        try:
            for item in items:
                with self._changed:
                    self._waiting.append((item, perf_counter()))
                    self._drop(self._most)
                    self._changed.notify()
        except BaseException as error:  # which is raised where the item would be taken
            self._error = error
        with self._changed:
            self._over = True
            self._changed.notify()

    def _drop(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.popleft()
            self._missed += 1

    def take(self, newest: bool) -> tuple[Window, float, int] | None:
        """The next item or the newest, when it came, and how many were missed before it; None at the end."""
        with self._changed:
            while not self._waiting and not self._over:
                self._changed.wait(1)  # on Windows, Ctrl-C does not end a wait without a limit
            if not self._waiting:
                if self._error is not None:
                    raise self._error
                return None
            if newest:
                self._drop(1)
            (item, arrived), missed = self._waiting.popleft(), self._missed
            self._missed = 0
            return item, arrived, missed
