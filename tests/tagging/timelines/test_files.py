"""Every format is read back by a reader that is not ours, with the events that were written."""

from __future__ import annotations

import csv
import html
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import webvtt.errors
from pyannote.database.util import load_rttm

from fastast_hf.tagging.timelines.files import FORMATS, write_events

LABELS = ["Dog", "Rain, heavy", "Ding & <dong>", 'a "b"\tc\nd', "犬"]
RESULTS: list[dict[str, Any]] = [
    {
        "file": "a b/dög.wav",
        "seconds": 4000.0,
        "hertz": 8000.0,
        "events": [
            {"start": 700.0 * i, "end": 700.0 * i + 1.25, "label": label, "score": 0.5 + i / 16, "mean": 0.5}
            for i, label in enumerate(LABELS)
        ],
    },
    {"file": "none.wav", "seconds": 10.0, "hertz": 8000.0, "events": []},
    {
        "file": "cut.wav",
        "seconds": 20.0,
        "hertz": 8000.0,
        "events": [{"start": 0.0, "end": 2.5, "label": "Dog", "score": 0.75, "mean": 0.625}],
        "error": "cut.wav: cut off",
    },
]
EVENTS = [(result["file"], *event.values()) for result in RESULTS for event in result["events"]]
FIRST = [event[1:] for event in EVENTS if event[0] == "a b/dög.wav"]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(name: str, results: list[dict[str, Any]] = RESULTS) -> Path:
        path = tmp_path / f"events{FORMATS[name].ending}"
        write_events(path, results, name)
        assert [file.name for file in tmp_path.iterdir()] == [path.name]
        return path

    return written


def plain(text: str) -> str:
    return " ".join(text.split())


def test_csv_has_all_events_and_errors(write: Any) -> None:
    with write("csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    heard = [row for row in rows if not row["error"]]
    numbers = ("start", "end", "score", "mean")
    assert [(r["file"], float(r["start"]), float(r["end"]), r["label"]) for r in heard] == [e[:4] for e in EVENTS]
    assert [[float(row[name]) for name in numbers[2:]] for row in heard] == [list(event[4:]) for event in EVENTS]
    assert [(row["file"], row["error"]) for row in rows if row["error"]] == [("cut.wav", "cut.wav: cut off")]


def test_jsonl_has_each_recording(write: Any) -> None:
    assert [json.loads(line) for line in write("jsonl").read_text().splitlines()] == RESULTS


def test_parquet_has_all_events_and_errors(write: Any) -> None:
    table = pd.read_parquet(write("parquet"))
    heard = table[table.error.isna()]
    assert list(heard.drop(columns="error").itertuples(index=False, name=None)) == EVENTS
    assert table.error.dropna().tolist() == ["cut.wav: cut off"]
    assert pd.read_parquet(write("parquet", RESULTS[1:2])).dtypes["start"] == "float64"


def test_audacity_has_three_columns(write: Any) -> None:
    lines = [line.split("\t") for line in write("audacity", RESULTS[:1]).read_text(encoding="utf-8").splitlines()]
    assert [(float(a), float(b), label) for a, b, label in lines] == [(e[0], e[1], plain(e[2])) for e in FIRST]


def test_raven_opens_the_recordings_as_one_sound(write: Any) -> None:
    table = pd.read_csv(write("raven"), sep="\t", quoting=csv.QUOTE_NONE)
    assert table["Selection"].tolist() == list(range(1, 7))
    assert table["Begin Path"].tolist() == [event[0] for event in EVENTS]
    assert table["File Offset (s)"].tolist() == [event[1] for event in EVENTS]
    assert table["Begin Time (s)"].tolist() == [*(event[0] for event in FIRST), 4010.0]
    assert table["End Time (s)"].tolist() == [*(event[1] for event in FIRST), 4012.5]
    assert table["Label"].tolist() == [plain(event[3]) for event in EVENTS]
    assert set(table["High Freq (Hz)"]) == {8000} and set(table["Low Freq (Hz)"]) == {0}


def test_rttm_is_what_pyannote_reads(write: Any) -> None:
    path = write("rttm")
    found = [
        (recording, turn.start, turn.end, label)
        for recording, annotation in load_rttm(path).items()
        for turn, _, label in annotation.itertracks(yield_label=True)
    ]
    names = [("_".join(event[0].split()), "_".join(event[3].split())) for event in EVENTS]
    expected = [(name, event[1], event[2], label) for event, (name, label) in zip(EVENTS, names, strict=True)]
    assert sorted(found) == sorted(expected)
    # Which does not look at the confidence, and takes lines that are too short.
    fields = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
    assert [len(line) for line in fields] == [10] * len(EVENTS)
    assert [float(line[8]) for line in fields] == [event[4] for event in EVENTS]


def test_vtt_is_what_webvtt_reads(write: Any) -> None:
    path = write("vtt", RESULTS[:1])
    found = []
    for cue in webvtt.read(path):
        label, score = html.unescape(cue.text).rsplit(" ", 1)  # in .text, what is no tag's is left as it was
        found.append((seconds(cue.start_time), seconds(cue.end_time), label, float(score)))
    assert found == [(e[0], e[1], plain(e[2]), pytest.approx(e[3], abs=0.0051)) for e in FIRST]
    # It passes over what is no cue, and refuses what is no WebVTT.
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(".000 -->", ",000 -->"), encoding="utf-8")
    assert not webvtt.read(path).captions
    path.write_text(text.removeprefix("WEBVTT"), encoding="utf-8")
    with pytest.raises(webvtt.errors.MalformedFileError):
        webvtt.read(path)


def seconds(time: Any) -> float:
    return 3600 * time.hours + 60 * time.minutes + time.seconds + time.milliseconds / 1000
