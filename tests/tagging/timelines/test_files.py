"""Every format is read back by a reader that is not ours, with the events that were written."""

from __future__ import annotations

import csv
import html
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

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


def test_rttm_has_ten_fields(write: Any) -> None:
    lines = [line.split(" ") for line in write("rttm").read_text(encoding="utf-8").splitlines()]
    assert {len(line) for line in lines} == {10} and {line[0] for line in lines} == {"SPEAKER"}
    found = [(line[1], float(line[3]), float(line[3]) + float(line[4]), line[7]) for line in lines]
    names = [(plain(event[0]).replace(" ", "_"), plain(event[3]).replace(" ", "_")) for event in EVENTS]
    assert found == [(name, event[1], event[2], label) for event, (name, label) in zip(EVENTS, names, strict=True)]


def test_vtt_has_a_cue_for_each_event(write: Any) -> None:
    header, *cues = write("vtt", RESULTS[:1]).read_text(encoding="utf-8").rstrip("\n").split("\n\n")
    assert header == "WEBVTT"
    found = []
    for cue in cues:
        times, text = cue.split("\n")
        clocks = re.fullmatch(r"(\d\d):(\d\d):(\d\d\.\d{3}) --> (\d\d):(\d\d):(\d\d\.\d{3})", times)
        assert clocks is not None
        h, m, s, *end = map(float, clocks.groups())
        assert not re.search(r"[<>]|&(?!lt;|gt;|amp;)", text)
        label, score = html.unescape(text).rsplit(" ", 1)
        found.append((3600 * h + 60 * m + s, 3600 * end[0] + 60 * end[1] + end[2], label, float(score)))
    assert found == [(e[0], e[1], plain(e[2]), pytest.approx(e[3], abs=0.0051)) for e in FIRST]
