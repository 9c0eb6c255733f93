"""A recording of any length in as many columns as a picture has, and that picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...plotting import styled
from .events import Moment, clock

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 600  # at most twice as many are kept: a point of the picture or more each
BANDS = 8  # labels beneath the spectrogram, at most
LEAST_SCORE = 0.1  # of a label that is shown besides the likeliest one
SHOWN_HERTZ = (100, 200, 500, 1000, 2000, 4000, 8000, 16000)
TICKS = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    1200,
    1800,
    3600,
    7200,
    14400,
    21600,
    43200,
    86400,
)  # s
MOST_TICKS = 11


class Columns:
    """Rows that come one after another, reduced two by two when they become too many.

    Args:
        reduce: A ufunc that makes one row of two: `np.add` (which gives sums) or `np.maximum`.

    Attributes:
        step: How many rows each column holds.
    """

    def __init__(self, reduce: np.ufunc) -> None:
        self.step = 1
        self._reduce = reduce
        self._rows = 0
        # One piece of memory: many small ones, that come and go between a model's large ones, would scatter it.
        self._columns: np.ndarray | None = None

    def add(self, row: np.ndarray) -> None:
        """The next row (n,)."""
        if self._columns is None:
            self._columns = np.zeros((2 * COLUMNS, len(row)), row.dtype)
        if self._rows == len(self._columns) * self.step:
            self._columns[:COLUMNS] = self._reduce(self._columns[::2], self._columns[1::2])
            self.step *= 2
        column = self._columns[self._rows // self.step]
        if self._rows % self.step == 0:
            column[:] = row
        else:
            self._reduce(column, row, out=column)
        self._rows += 1

    def array(self) -> np.ndarray:
        """(columns, n)."""
        if self._columns is None:
            raise ValueError("nothing was added: there is no recording to draw")
        return self._columns[: len(self.counts())]

    def counts(self) -> np.ndarray:
        """How many rows each column holds (columns,): `step`, but for the last."""
        whole, rest = divmod(self._rows, self.step)
        return np.array([self.step] * whole + [rest] * (rest > 0))


class Overview:
    """The spectrogram and scores of a recording, in memory that does not grow with its length.

    Frames are averaged and scores keep their highest, so that a short sound shows in a long recording.

    Args:
        frame_seconds: From one frame to the next.
        mel_hertz: The middle (mel bins,) of each mel bin, in Hz.
        title: Of the picture.
    """

    def __init__(self, frame_seconds: float = 0.0, mel_hertz: np.ndarray | None = None, title: str = "") -> None:
        self.frame_seconds, self.mel_hertz, self.title = frame_seconds, mel_hertz, title
        self._frames, self._scores, self._ends = Columns(np.add), Columns(np.maximum), Columns(np.maximum)
        self.has_frames = False

    def add_frames(self, frames: np.ndarray) -> None:
        """The next log-mel frames (n, mel bins)."""
        self.has_frames = True
        for frame in frames:
            self._frames.add(frame)

    def add_moment(self, moment: Moment) -> None:
        """The next moment."""
        self._scores.add(moment.scores)
        self._ends.add(np.array([moment.end]))

    def spectrogram(self) -> tuple[np.ndarray, float]:
        """Averaged log-mel frames (columns, mel bins), and the seconds of a column."""
        means = self._frames.array() / self._frames.counts()[:, None]
        return means, self._frames.step * self.frame_seconds

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """The highest scores (columns, labels) and the edges (columns + 1,) of their columns, in seconds."""
        return self._scores.array(), np.concatenate([[0.0], self._ends.array()[:, 0]])

    @styled()
    def draw(
        self,
        labels: Sequence[str],
        path: str | os.PathLike[str] | None = None,
        bands: int = BANDS,
        threshold: float | Sequence[float] = LEAST_SCORE,
    ) -> Figure:
        """Draw the spectrogram, and beneath it the scores of the likeliest labels as bands.

        Args:
            labels: Names of the labels, in the order of scores.
            path: The picture to write (.png, .svg, .pdf), if any.
            bands: Labels that are shown, at most; fewer where others are never likely.
            threshold: The least score of a label that is shown besides the likeliest one; or one for each label.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from matplotlib.figure import Figure

        scores, edges = self.scores()
        shown = likeliest(scores, bands, threshold)
        heights = ([3.0] if self.has_frames else []) + [0.32 * len(shown)]
        figure = Figure(figsize=(10, sum(heights) + 1.0), layout="constrained")
        panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        if self.has_frames:
            self._draw_spectrogram(panels[0], edges[-1])
        panels[0].set_title(self.title, parse_math=False)  # a name may hold $
        panels[-1].set_xlabel("time (h:mm:ss)")
        self._draw_bands(panels[-1], scores[:, shown], edges, [labels[index] for index in shown])
        if path is not None:
            figure.savefig(path)
        return figure

    def _draw_spectrogram(self, axes: Axes, seconds: float) -> None:
        means, column = self.spectrogram()
        low, high = np.percentile(means, (5, 99.8))
        extent = (0, min(len(means) * column, seconds), -0.5, means.shape[1] - 0.5)
        axes.imshow(means.T, aspect="auto", origin="lower", extent=extent, vmin=low, vmax=high)
        if self.mel_hertz is not None:
            ticks = [hertz for hertz in SHOWN_HERTZ if self.mel_hertz[0] <= hertz <= self.mel_hertz[-1]]
            bins = np.interp(ticks, self.mel_hertz, np.arange(len(self.mel_hertz)))
            axes.set_yticks(bins, [f"{h // 1000} kHz" if h >= 1000 else f"{h} Hz" for h in ticks])

    @staticmethod
    def _draw_bands(axes: Axes, scores: np.ndarray, edges: np.ndarray, names: Sequence[str]) -> None:
        mesh = axes.pcolormesh(edges, np.arange(len(names) + 1), scores.T, cmap="Blues", vmin=0, vmax=1)
        shown = [_short(name) for name in names]
        axes.set_yticks(np.arange(len(names)) + 0.5, shown, fontsize=9, parse_math=False)  # a name may hold $
        axes.set_ylim(len(names), 0)
        axes.hlines(np.arange(1, len(names)), edges[0], edges[-1], color="0.8", linewidth=0.5)
        axes.set_xlim(0, edges[-1])
        step = next((tick for tick in TICKS if edges[-1] / tick <= MOST_TICKS), TICKS[-1])
        ticks = np.arange(0, edges[-1] + step / 1000, step)
        axes.set_xticks(ticks, [clock(tick, int(step < 1)) for tick in ticks])
        axes.figure.colorbar(mesh, ax=axes, label="score", pad=0.01, aspect=8)


def likeliest(scores: np.ndarray, most: int = BANDS, threshold: float | Sequence[float] = LEAST_SCORE) -> list[int]:
    """The labels with the highest peaks, best first: the likeliest, and others that are worth a band.

    Example:
        >>> likeliest(np.array([[0.9, 0.02, 0.3], [0.1, 0.0, 0.5]]))
        [0, 2]
    """
    peaks = scores.max(axis=0)
    best, reached = np.argsort(-peaks, kind="stable"), peaks >= np.asarray(threshold)
    return [int(index) for index in best if index == best[0] or reached[index]][:most]


def _short(name: str, most: int = 28) -> str:
    name = " ".join(name.split())
    return name if len(name) <= most else name[: most - 1] + "…"


def overview_of(moments: Any) -> Overview:
    """Of moments alone, without a spectrogram."""
    overview = Overview()
    for moment in moments:
        overview.add_moment(moment)
    return overview
