"""A report on a model's scores: a page to open and listen to, and the same as csv."""

from __future__ import annotations

import base64
import csv
import io
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray

from ..audio import AudioError, load_part, load_row, name_of
from ..errors import left_out_if_missing
from .measures import (
    BINS,
    UNTUNED,
    Scored,
    class_figures,
    confusions,
    headline,
    reliability,
    scored,
    together,
    worst_pairs,
)
from .pictures import MOST_SHOWN, confusion_picture, reliability_picture

logger = logging.getLogger(__name__)

PAGE, CLASSES, WRONG = "report.html", "classes.csv", "wrong.csv"
MOST_WRONG = 300  # clips on the page; the csv file has all
AUDIO_MEGABYTES = 8.0  # of sound in the page, as mp3
LONGEST_SECONDS = 20.0  # of each clip
RATE = 16000


def write_report(
    y_true: ArrayLike,
    scores: ArrayLike,
    labels: Sequence[str],
    files: Sequence[Any],
    folder: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    title: str = "Report",
    facts: Mapping[str, Any] | None = None,
    thresholds: Sequence[float] | None = None,
    audio_megabytes: float = AUDIO_MEGABYTES,
) -> Path:
    """Write what a classifier, ours or one's own, gets right and wrong.

    Args:
        y_true: (N,) class ids, or (N, C) of 0 and 1 where clips have any number of labels.
        scores: (N, C), from 0 to 1.
        labels: Of the C classes.
        files: (N,) what [`load_audio`] takes: paths, say; or rows of a corpus.
        folder: Where `report.html`, `classes.csv` and `wrong.csv` go; it is made.
        names: (N,) of the clips; None for those of their files.
        title: Of the page.
        facts: What else is to be said at its head, by name.
        thresholds: (C,) the score that gives a label, where clips have any number of them; None for 0.5.
        audio_megabytes: How much sound of wrong clips the page holds, at most; 0 for none.

    Returns:
        The page.

    Raises:
        ValueError: Shapes do not match, or a score is not from 0 to 1.
        OSError: The folder can't be written to.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> tone = (np.sin(np.arange(16000) / 6), 16000)
        >>> with TemporaryDirectory() as folder:
        ...     write_report([0, 1], [[0.9, 0.1], [0.6, 0.4]], ["dog", "rain"], [tone, tone], folder).name
        'report.html'
    """
    of = scored(y_true, scores, labels, thresholds)
    names = [name_of(file) for file in files] if names is None else names
    if not len(of.targets) == len(files) == len(names):
        raise ValueError(f"{len(of.targets)} clips have {len(files)} files and {len(names)} names: give one for each")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    figures, counts, sure = class_figures(of), confusions(of), reliability(of)
    write_rows(place / CLASSES, [asdict(figure) for figure in figures])
    wrong = [_mistake(of, clip, names[clip]) for clip in of.wrong.tolist()]
    paths = [_path(files[clip]) for clip in of.wrong.tolist()]
    columns = _COLUMNS if of.thresholds is None else _COLUMNS_OF_SEVERAL
    write_rows(place / WRONG, [{"file": path, **row} for path, row in zip(paths, wrong, strict=True)], columns)
    pictures = {}
    with left_out_if_missing("the report's pictures"):
        pictures["reliability"] = reliability_picture(sure)
        if of.thresholds is None and len(labels) <= MOST_SHOWN:
            pictures["confusion"] = confusion_picture(counts, labels, together(counts))
    shown = wrong[:MOST_WRONG]
    page = _template().render(
        title=title,
        facts={name: value for name, value in (facts or {}).items() if value not in (None, "")},
        headline=headline(of),
        macro_f1=np.mean([figure.f1 or 0.0 for figure in figures if figure.clips]),
        classes=sorted(
            figures, key=lambda figure: (not figure.clips, _worst_first(figure, of.thresholds is not None))
        ),
        multi_label=of.thresholds is not None,
        tuned=thresholds is not None,
        untuned=UNTUNED,
        clips=len(of.targets),
        pictures=pictures,
        most_shown=MOST_SHOWN,
        pairs=worst_pairs(counts, labels),
        reliability=sure,
        wrong=shown,
        sounds=_sounds([files[clip] for clip in of.wrong[:MOST_WRONG].tolist()], audio_megabytes),
        all_wrong=len(wrong),
        seconds=LONGEST_SECONDS,
        megabytes=audio_megabytes,
        bins=BINS,
        CLASSES=CLASSES,
        WRONG=WRONG,
    )
    (place / PAGE).write_text(page, encoding="utf-8", errors="replace")
    return place / PAGE


_COLUMNS = ("file", "clip", "true", "given", "score", "score_of_true")
_COLUMNS_OF_SEVERAL = ("file", "clip", "true", "given", "missed", "given_wrongly")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write a csv file, whole or not at all; `columns` of the first row where none are given.

    Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows({name: _no_formula(value) for name, value in row.items()} for row in rows)
    partial.replace(path)


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def _mistake(of: Scored, clip: int, name: str) -> dict[str, str]:
    """A clip's labels, true and given, with their scores."""
    true, given, score = of.targets[clip], of.given[clip], of.scores[clip]
    if of.thresholds is not None:

        def listed(flags: NDArray[np.bool_], form: str = "{0}") -> str:
            own = zip(of.labels, score, flags, strict=True)
            return "; ".join(form.format(label, share) for label, share, there in own if there)

        form = "{0} {1:.3f}"
        wrong = {"missed": listed(true & ~given, form), "given_wrongly": listed(given & ~true, form)}
        return {"clip": name, "true": listed(true), "given": listed(given), **wrong}
    wanted, got = int(true.argmax()), int(given.argmax())
    scores = {"score": f"{score[got]:.3f}", "score_of_true": f"{score[wanted]:.3f}"}
    return {"clip": name, "true": of.labels[wanted], "given": of.labels[got], **scores}


def _worst_first(figure: Any, multi_label: bool) -> float:
    return (figure.average_precision if multi_label else figure.f1) or 0.0


def _path(source: Any) -> str:
    """Of a file; empty of samples."""
    if isinstance(source, dict):
        source = source["audio"].get("path") if "audio" in source else source.get("path")
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else ""


def _sounds(files: Sequence[Any], megabytes: float) -> list[str]:
    """The beginning of each file as data that a page holds in itself; empty from where there is no room for more."""
    room, sounds = megabytes * 1e6, []
    for file in files:
        sound = ""
        if room > 0:
            try:
                sound = _as_mp3(file)
            except AudioError as error:
                logger.warning("left out of the report: %s", error)
            room -= len(sound)
        sounds.append(sound if room > 0 else "")
    return sounds


def _as_mp3(file: Any) -> str:
    """Mono at 16 kHz, as most models hear it."""
    sound, most = io.BytesIO(), round(LONGEST_SECONDS * RATE)
    row = isinstance(file, dict) and "audio" in file
    samples = load_row(file, RATE, most) if row else load_part(file, RATE, 0, most)
    soundfile.write(sound, samples, RATE, format="MP3")
    return f"data:audio/mpeg;base64,{base64.b64encode(sound.getvalue()).decode()}"


def _template() -> jinja2.Template:
    source = (Path(__file__).parent / "report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.1f}"
    return environment.from_string(source)
