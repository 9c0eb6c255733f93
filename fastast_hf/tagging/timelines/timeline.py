"""The scores of a recording over time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from ...audio import AudioError, name_of, read_audio, windows
from ...model.feature_extraction_fastast import HOP_SECONDS, frame_samples, num_frames
from ...showing import html_table
from ..pooling import pooled
from .events import Event, Moment, clock, find_events
from .overview import BANDS, LEAST_SCORE, Overview, overview_of
from .shared_frames import SharedFrames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..tagger import Tagger

Item = TypeVar("Item")


class Timeline:
    """Scores of a recording's windows, computed when they are asked for.

    Iterating reads the recording and gives its moments as they are computed, without keeping them: a recording may be
    longer than the memory. `times`, `scores` and what builds on them read it once and keep all scores (24 hours every
    half second: 364 MB for 527 labels). A file object that cannot seek, or an iterator, can be read but once.

    Args:
        labels: Names of the labels, in the order of scores.
        moments: The windows from front to back; what can be iterated over again is read again.

    Example:
        >>> timeline = Timeline(["dog"], [Moment(0.5, 0.0, 1.0, np.float32([0.75]))])
        >>> timeline.scores, [moment.time for moment in timeline]
        (array([[0.75]], dtype=float32), [0.5])
    """

    def __init__(self, labels: Sequence[str], moments: Iterable[Moment]) -> None:
        self.labels = list(labels)
        self._moments = moments

    def __iter__(self) -> Iterator[Moment]:
        return iter(self.__dict__.get("_kept", self._moments))

    def __repr__(self) -> str:
        kept = self.__dict__.get("_kept")
        if kept is None:
            return f"Timeline({len(self.labels)} labels; windows are scored when they are asked for)"
        end = clock(kept[-1].end, 1) if kept else "0"
        return f"Timeline({len(kept)} windows over {end}, {len(self.labels)} labels)"

    def _repr_html_(self) -> str:
        """The likeliest labels where scores are kept; it never reads a recording by itself."""
        best = self.top() if self.__dict__.get("_kept") else []
        rows = [[row["label"], f"{row['score']:.3f}", clock(row["time"], 1)] for row in best]
        return html_table(repr(self), rows, ["label", "highest score", "at"] if rows else [])

    @cached_property
    def _kept(self) -> list[Moment]:
        return list(self._moments)

    @cached_property
    def times(self) -> np.ndarray:
        """The middle (T,) of each window, in seconds."""
        return np.array([moment.time for moment in self._kept])

    @cached_property
    def scores(self) -> np.ndarray:
        """(T, labels), float32."""
        return np.array([moment.scores for moment in self._kept], np.float32).reshape(-1, len(self.labels))

    def top(self, k: int = 5) -> list[dict[str, Any]]:
        """The labels with the highest scores, and when.

        Returns:
            `k` rows of `{"label": str, "score": float, "time": float}`, best first; time in seconds.
        """
        peaks = self.scores.argmax(axis=0)
        best = self.scores[peaks, range(len(self.labels))]
        return [
            {"label": self.labels[i], "score": float(best[i]), "time": float(self.times[peaks[i]])}
            for i in np.argsort(-best, kind="stable")[:k]
        ]

    def events(
        self,
        threshold: float | Sequence[float] = 0.5,
        off: float | Sequence[float] | None = None,
        min_seconds: float = 0.0,
        merge_seconds: float = 0.0,
    ) -> list[Event]:
        """Where labels are heard; arguments as of [`EventFinder`].

        Returns:
            Events by their start. Scores that were not kept before are not kept now.
        """
        found = find_events(self, self.labels, threshold, off, min_seconds, merge_seconds)
        return sorted(found, key=lambda event: event.start)

    def pool(self, how: str = "mean") -> np.ndarray:
        """One score (labels,) for each label, by `"mean"`, `"max"` or `"top3"` over the windows."""
        return pooled(torch.from_numpy(self.scores), how).numpy()

    def to_pandas(self) -> Any:
        """A DataFrame with a row for each window: its time in seconds is the index, and each label a column."""
        import pandas as pd

        return pd.DataFrame(self.scores, index=pd.Index(self.times, name="time"), columns=self.labels)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        bands: int = BANDS,
        threshold: float | Sequence[float] = LEAST_SCORE,
    ) -> Figure:
        """Draw the spectrogram, and beneath it the scores of the likeliest labels as bands.

        Where the timeline was iterated over, that much is drawn; else the recording is read now.

        Args:
            path: The picture to write (.png, .svg, .pdf), if any.
            bands: Labels that are shown, at most; fewer where others are never likely.
            threshold: The least score of a label that is shown besides the likeliest one; or one for each label.

        Returns:
            A matplotlib figure, which a notebook shows.

        Raises:
            ImportError: matplotlib is not installed.
        """
        if not isinstance(self._moments, _Scoring):
            return overview_of(self).draw(self.labels, path, bands, threshold)
        if self._moments.overview is None:
            for _ in self:
                pass
        return self._moments.overview.draw(self.labels, path, bands, threshold)


class WindowScorer:
    """Makes moments of a recording's windows, given in batches from front to back.

    Args:
        tagger: The model.
        hop: Samples from one window's start to the next.
        name: Of the recording, for messages.
        overview: Gets the frames, each once.
    """

    def __init__(self, tagger: Tagger, hop: int, name: str, overview: Overview | None = None) -> None:
        self._tagger, self._name, self._rate = tagger, name, tagger.feature_extractor.sampling_rate
        self._half_hop = hop / 2 / self._rate
        self._shared = SharedFrames(tagger.feature_extractor, tagger.device)
        self._end = 0.0  # of the last stretch
        self._overview, self._heard = overview, 0  # frames

    def __call__(self, windows: Sequence[tuple[int, np.ndarray]]) -> list[Moment]:
        """The moment of each window (place of its first sample, samples).

        Raises:
            AudioError: A score is NaN or infinite.
            MemoryError: The batch does not fit into the device's memory.
        """
        frames = self._shared.of(windows)
        scores = self._tagger.scores_of_frames(frames).numpy()
        if not np.isfinite(scores).all():
            raise AudioError(f"{self._name}: the model's scores are not finite; check its weights and front end")
        moments = []
        for (start, samples), row in zip(windows, scores, strict=True):
            middle = (start + len(samples) / 2) / self._rate
            begin = max(self._end, start / self._rate)  # later where windows were left out between
            self._end = middle + self._half_hop
            moments.append(Moment(middle, begin, self._end, row))
        if self._overview is not None:
            for (start, samples), own in zip(windows, frames, strict=True):
                new = num_frames(start + len(samples), self._rate) - self._heard
                self._overview.add_frames(own[max(0, len(own) - new) :].cpu().numpy())
                self._heard += new
        return moments


class _Scoring:
    """The moments of a recording, computed anew each time they are iterated over, and an overview of what has been."""

    def __init__(self, tagger: Tagger, source: Any, length: int, hop: int) -> None:
        self._tagger, self._source, self._length, self._hop = tagger, source, length, hop
        self.overview: Any = None

    def __iter__(self) -> Iterator[Moment]:
        tagger = self._tagger
        name, hertz = name_of(self._source), tagger.feature_extractor.mel_hertz().numpy()
        overview = self.overview = Overview(HOP_SECONDS, hertz, Path(name).name)
        for moment in self._scored(WindowScorer(tagger, self._hop, name, overview)):
            overview.add_moment(moment)
            yield moment

    def _scored(self, score: WindowScorer) -> Iterator[Moment]:
        tagger = self._tagger
        rate = tagger.feature_extractor.sampling_rate
        last: Moment | None = None
        try:
            for batch in batches(windows(read_audio(self._source, rate), self._length, self._hop), tagger.batch_size):
                for moment in score(batch):
                    if last is not None:
                        yield last
                    last = moment
                start, samples = batch[-1]
                end = (start + len(samples)) / rate
        except AudioError:
            if last is not None:
                yield last
            raise
        if last is not None:
            yield last._replace(end=end)


def timeline_of(tagger: Tagger, source: Any, window: float | None = None, hop: float | None = None) -> Timeline:
    """The timeline of a recording; see [`Tagger.timeline`]."""
    return Timeline(tagger.label_names(), _Scoring(tagger, source, *samples_of(tagger, window, hop)))


def samples_of(tagger: Tagger, window: float | None, hop: float | None) -> tuple[int, int]:
    """Samples of a window and of a hop, given in seconds; None for the model's input, and for the window.

    Raises:
        ValueError: They can't be.
    """
    extractor = tagger.feature_extractor
    rate, longest = extractor.sampling_rate, extractor.samples_of(extractor.max_length)
    length = longest if window is None else round(window * rate)
    if not frame_samples(rate) <= length <= longest:
        least, most = frame_samples(rate) / rate, longest / rate
        raise ValueError(f"window is {window:g} s: this model takes {least:g} to {most:g} s")
    step = length if hop is None else round(hop * rate)
    if not 1 <= step <= length:
        raise ValueError(
            f"hop is {hop:g} s: give more than 0 and at most the window's {length / rate:g} s, so that no sound is "
            "left out"
        )
    return length, step


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of items; where the items end with an error, the last list comes before it."""
    batch: list[Item] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == size:
                yield batch
                batch = []
    except AudioError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
