"""`fastast classify` with windows: when a word is said, as a table and in files, and what a stop leaves."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from fastast_hf import Tagger
from fastast_hf.audio import read_audio
from fastast_hf.cli.main import main
from fastast_hf.tagging.timelines import timeline

SPEECH = Path(__file__).parents[1] / "data" / "speech"
Classify = Callable[..., tuple[int, str, str]]
WINDOWS = ("--window", "1", "--hop", "0.5", "--threshold", "0.6", "--off", "0.5")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of faint noise, with the word yes from 6 to 7 s."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    samples = np.random.default_rng(0).normal(size=192_000) * 0.003
    word, _ = soundfile.read(SPEECH / "yes_slt.wav")
    samples[96_000 : 96_000 + len(word)] += word
    soundfile.write(path, samples, 16000)
    return path


@pytest.fixture
def classify(capsys: pytest.CaptureFixture[str]) -> Classify:
    """Runs the command with the bundled checkpoint: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main(["classify", "--device", "cpu", *map(str, arguments)])
        except SystemExit as exit:
            code = int(exit.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_table_says_when_a_word_is_said(classify: Classify, recording: Path) -> None:
    code, printed, errors = classify(recording, *WINDOWS)
    assert (code, errors) == (0, "")
    header, _, *rows = printed.split("\n\n")[0].splitlines()
    assert header.split() == ["file", "start", "end", "label", "score", "mean"]
    events = Tagger(device="cpu").timeline(recording, 1, 0.5).events(0.6, 0.5)
    assert [row.split()[3:5] for row in rows] == [[event.label, f"{event.score:.3f}"] for event in events]
    (yes,) = [row.split() for row in rows if "yes" in row]
    assert "0:00:05.50" <= yes[1] <= "0:00:06.50" and "0:00:06.50" <= yes[2] <= "0:00:07.50"
    assert f"{len(rows)} events, 1 labelled; tome_r=" in printed


def test_json_has_the_events_of_each_file_and_stdin(
    classify: Classify, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with io.BytesIO(recording.read_bytes()) as sound:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(sound))
        code, printed, _ = classify(recording, "-", "gone.wav", *WINDOWS, "--json")
    assert code == 2
    whole, stdin, gone = map(json.loads, printed.splitlines())
    assert (whole["file"], stdin["file"], gone["file"]) == (str(recording), "-", "gone.wav")
    assert whole["events"] == stdin["events"] and len(whole["events"]) >= 3 and whole["seconds"] == 12
    assert gone["events"] == [] and gone["error"] == "gone.wav: no such file; check the path"


def test_one_file_for_all_goes_on_after_a_stop(
    classify: Classify, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, out = SPEECH / "down_en-us.wav", tmp_path / "events.csv"
    clean = tmp_path / "clean.csv"
    assert classify(recording, short, *WINDOWS, "-o", clean)[0] == 0

    def stopped(source: Any, rate: int) -> Iterator[np.ndarray]:
        for number, block in enumerate(read_audio(source, rate)):
            if source == recording and number == 35:
                raise KeyboardInterrupt
            yield block

    with monkeypatch.context() as patch:
        patch.setattr(timeline, "read_audio", stopped)
        code, printed, errors = classify(short, recording, *WINDOWS, "-o", out, "--batch-size", 4)
    assert (code, printed) == (130, "")
    said = f"{recording}: stopped; its events until 0:00:08 stand"
    assert errors == f"fastast classify: {said}\n"
    table = pd.read_csv(out)
    assert set(table.file) == {str(short), str(recording)} and "yes" in set(table.label)
    assert table.error.dropna().tolist() == [said]
    assert classify(short, recording, *WINDOWS, "-o", out)[2].endswith(
        "add --resume to go on with it, or give another file\n"
    )
    said = classify(short, recording, *WINDOWS, "--hop", "0.25", "-o", out, "--resume")[2]
    assert "was begun with hop 0.5 and not 0.25" in said
    code, printed, errors = classify(recording, short, *WINDOWS, "-o", out, "--resume")
    assert (code, errors) == (0, "") and " events, 2 labelled, 1 of them before" in printed
    assert out.read_bytes() == clean.read_bytes()


def test_a_folder_gets_a_file_for_each_recording(
    classify: Classify, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "b").mkdir(parents=True)
    for name in ("a.wav", "b/a.wav"):
        (tmp_path / "in" / name).write_bytes(recording.read_bytes())
    (tmp_path / "in" / "bad.wav").write_bytes(b"no sound")
    monkeypatch.chdir(tmp_path)
    code, printed, _ = classify("in", *WINDOWS, "-o", "out", "--format", "audacity")
    assert code == 2 and " events, 2 labelled, 1 failed" in printed
    assert sorted(str(path) for path in Path("out").rglob("*.txt")) == ["out/in/a.wav.txt", "out/in/b/a.wav.txt"]
    labels = [line.split("\t")[2] for line in Path("out/in/a.wav.txt").read_text().splitlines()]
    assert "yes" in labels
    assert classify("in", *WINDOWS, "-o", "out", "--resume")[0] == 2  # the bad one is tried again
    assert Path("out/in/a.wav.csv").exists()


@pytest.mark.parametrize(
    ("ending", "kept", "failed"),
    [("flac", 0.4, True), ("flac", 0.8, False), ("ogg", 0.6, False), ("aiff", 0.6, False), ("wav", 0.6, False)],
)
def test_what_was_heard_before_a_file_breaks_off_stands(
    ending: str,
    kept: float,
    failed: bool,
    classify: Classify,
    recording: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cut = tmp_path / f"cut.{ending}"
    soundfile.write(cut, *soundfile.read(recording))
    cut.write_bytes(cut.read_bytes()[: int(kept * cut.stat().st_size)])
    code, printed, errors = classify(cut, *WINDOWS)
    lines = [*errors.splitlines(), *caplog.messages]  # logged warnings go to stderr, too
    assert "_silence_" in printed and len(lines) == 1 and "cut off or damaged" in lines[0]
    assert (code, "1 failed" in printed, "; its events until 0:00:0" in errors) == (2 * failed, failed, failed)


@pytest.mark.parametrize("name", ["a.vtt", "a.txt", "a.selections.txt", "a.rttm", "a.parquet", "a.jsonl"])
def test_an_ending_says_the_format(name: str, classify: Classify, tmp_path: Path) -> None:
    code, printed, errors = classify(
        SPEECH / "yes_slt.wav", "--window", 1, "-o", tmp_path / name, "--threshold", "0.1"
    )
    assert (code, errors) == (0, "") and f"{name}: " in printed and ", 1 labelled" in printed and " event" in printed
    assert b"yes" in (tmp_path / name).read_bytes()


def test_what_cannot_be_done_is_one_line(classify: Classify, recording: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.csv").write_text("mine")
    cases = [
        ([SPEECH, "-o", "a.vtt"], "a.vtt holds the events of one recording, not of"),
        (["--events", "-o", "a.xls"], "a.xls: events are written as .csv, .jsonl"),
        (["--events", "-o", tmp_path / "kept.csv"], "kept.csv exists, and no kept.csv.jsonl to go on from"),
        (["--format", "rttm", "-o", tmp_path / "a.csv"], "--format is of the files in a folder"),
        (["--events", "--top-k", 2], "--pool and --all-scores are of labels"),
        (["--events", "--all-scores"], "--all-scores are of labels"),
        (["--window", 1, "--pool", "max"], "--pool and --all-scores are of labels"),
        (["--window", 1, "--hop", 2], "hop is 2 s: give more than 0 and at most the window's 1 s"),
        (["--window", 90], "window is 90 s: this model takes"),
        (["--events", "--off", 0.7], "off is 0.7, above the threshold"),
        (["--events", "--min-seconds", -1], "--min-seconds is -1.0"),
    ]
    for options, said in cases:
        code, printed, errors = classify(recording, *options)
        assert (code, printed) == (2, "")
        assert errors.count("\n") == 1 and said in errors
    assert (tmp_path / "kept.csv").read_text() == "mine"


def test_scores_of_a_long_recording_are_pooled_as_asked_for(classify: Classify, recording: Path) -> None:
    def best(*options: object) -> dict[str, float]:
        labels = json.loads(classify(recording, *options, "--json", "--top-k", 12)[1])["labels"]
        return {label["label"]: label["score"] for label in labels}

    whole = Tagger(device="cpu").timeline(recording)
    for how in ("mean", "max", "top3"):
        assert best("--pool", how) == pytest.approx(
            dict(zip(whole.labels, whole.pool(how).tolist(), strict=True)), abs=1e-5
        )
    assert best() == best("--pool", "mean")
    assert best("--pool", "max")["yes"] > 2 * best()["yes"]


def test_a_picture_is_drawn_of_one_recording(classify: Classify, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    code, printed, errors = classify(recording, "--window", 1, "--plot", out)
    assert (code, errors) == (0, "") and "events, 1 labelled" in printed
    assert out.read_bytes().startswith(b"\x89PNG")
    for paths, name in (([recording, SPEECH], "b.png"), ([recording], "b.txt")):
        code, printed, errors = classify(*paths, "--plot", tmp_path / name)
        assert (code, printed) == (2, "") and "give one recording, and a name that ends in .png, .svg, .pdf" in errors
