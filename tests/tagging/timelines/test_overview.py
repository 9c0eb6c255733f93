"""The picture of a recording of any length: nothing that was heard is lost in it, and its size stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastast_hf import Tagger
from fastast_hf.tagging.timelines import overview as overviews
from fastast_hf.tagging.timelines.events import Moment, clock
from fastast_hf.tagging.timelines.overview import Columns, Overview, likeliest
from fastast_hf.tagging.timelines.timeline import Timeline


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 100, 1001])
def test_columns_are_few_and_hold_every_row(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overviews, "COLUMNS", 4)
    values = np.random.default_rng(0).normal(size=(rows, 3))
    sums, peaks = Columns(np.add), Columns(np.maximum)
    for row in values:
        sums.add(row)
        peaks.add(row)
    parts = [values[start : start + sums.step] for start in range(0, rows, sums.step)]
    assert len(parts) <= 8 and sums.step < 4 * max(1, rows / 4)
    np.testing.assert_allclose(sums.array(), [part.sum(axis=0) for part in parts])
    np.testing.assert_array_equal(peaks.array(), [part.max(axis=0) for part in parts])
    assert sums.counts().tolist() == [len(part) for part in parts]


def test_an_event_of_one_window_shows_in_ten_hours(tmp_path: Path) -> None:
    overview = Overview()
    for second in range(36_000):
        scores = np.float32([0.3, 0.95 * (second == 7000), 0.01])
        overview.add_moment(Moment(second + 0.5, second, second + 1, scores))
    scores, edges = overview.scores()
    column = int(scores[:, 1].argmax())
    assert len(scores) <= 1200 and scores[column, 1] == np.float32(0.95)
    assert edges[column] <= 7000 < edges[column + 1] and edges[-1] == 36_000
    figure = overview.draw(["Music", "Dog", "Rain"], tmp_path / "a.png")
    (bands,) = [axes for axes in figure.axes if axes.get_yticklabels() and axes.get_ylabel() != "score"]
    assert [tick.get_text() for tick in bands.get_yticklabels()] == ["Dog", "Music"]
    times = [tick.get_text() for tick in bands.get_xticklabels()]
    assert times == [clock(3600 * hour) for hour in range(11)] and times[-1] == "10:00:00"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_likeliest_label_is_shown_and_others_that_are_likely() -> None:
    scores = np.float32([[0.01, 0.02, 0.0], [0.03, 0.01, 0.0]])
    assert likeliest(scores) == [0]
    assert likeliest(np.float32([[0.5, 0.9, 0.05, 0.1]])) == [1, 0, 3]
    assert likeliest(np.float32([[0.5, 0.9, 0.05, 0.1]]), 2) == [1, 0]
    assert likeliest(np.float32([[0.5, 0.9, 0.05, 0.1]]), 3, [0.6, 0.95, 0.01, 0.2]) == [1, 2]


def test_a_timeline_draws_its_spectrogram_over_the_same_seconds_as_its_bands(tmp_path: Path) -> None:
    time = np.arange(48_077) / 16000
    recording = np.where(time < 1.5, 0.001, 0.5) * np.sin(2 * np.pi * 440 * time)
    tagger = Tagger(device="cpu", tome_r=20)
    for hop in (0.5, 0.3333):  # frames are shared, or not
        timeline = tagger.timeline((recording, 16000), window=1.0, hop=hop)
        figure = timeline.plot(tmp_path / "a.svg")
        spectrogram, bands, _ = figure.axes
        assert spectrogram.get_xlim() == bands.get_xlim() == (0, pytest.approx(48_077 / 16000))
        (image,) = spectrogram.get_images()
        assert image.get_extent()[:2] == [0, pytest.approx(48_077 / 16000, abs=0.03)]
        loud = np.asarray(image.get_array()).max(axis=0) > -5
        assert np.flatnonzero(loud)[0] * 0.01 == pytest.approx(1.5, abs=0.04)
        assert len(loud) == 1 + (48_077 - 400) // 160
        assert (tmp_path / "a.svg").stat().st_size > 1000


def test_a_timeline_of_scores_alone_draws_bands() -> None:
    moments = [Moment(i + 0.5, i, i + 1, np.float32([0.2 * i])) for i in range(5)]
    figure = Timeline([r"a$\frac{$"], moments).plot()
    assert len(figure.axes) == 2
    figure.canvas.draw()
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [r"a$\frac{$"]
    assert figure.axes[0].get_xlabel() == "time (h:mm:ss)"
