"""`fastast listen`: what is printed, written and run while sound comes in, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from running_scripts import TIMEOUT, environment

from fastast_hf import AudioError, Tagger
from fastast_hf.audio import read_audio
from fastast_hf.cli import listen
from fastast_hf.cli.main import main

SPEECH = Path(__file__).parents[1] / "data" / "speech"
SETTINGS = ("--device", "cpu", "--window", "1", "--hop", "0.5", "--threshold", "0.6", "--off", "0.5")
Listen = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of faint noise, with the word yes from 2 to 3 s."""
    path = tmp_path_factory.mktemp("sound") / "sound.wav"
    samples = np.random.default_rng(0).normal(size=64_000) * 0.003
    word, _ = soundfile.read(SPEECH / "yes_slt.wav")
    samples[32_000 : 32_000 + len(word)] += word
    soundfile.write(path, samples, 16000)
    return path


@pytest.fixture(scope="module")
def offline(recording: Path) -> Any:
    return Tagger(device="cpu").timeline(recording, 1, 0.5)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Listen:
    """Runs the command with the bundled checkpoint: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main(["listen", *SETTINGS, *map(str, arguments)])
        except SystemExit as exit:
            code = int(exit.code or 0)
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return run


def events_of(offline: Any) -> list[Any]:
    return sorted(offline.events(0.6, 0.5), key=lambda event: event.end)


def test_a_file_at_full_speed_has_the_scores_and_events_of_its_timeline(
    run: Listen, recording: Path, offline: Any
) -> None:
    code, printed, said = run(recording, "--full-speed", "--jsonl", "--top-k", 12)
    rows = [json.loads(line) for line in printed.splitlines()]
    assert code == 0 and [row["time"] for row in rows] == offline.times.tolist()
    index = {label: number for number, label in enumerate(offline.labels)}
    for row, scores in zip(rows, offline.scores, strict=True):
        assert all(label["score"] == pytest.approx(scores[index[label["label"]]], abs=1e-5) for label in row["labels"])
        assert row["latency"] > 0
    counts = f"7 windows, 0 skipped, {len(events_of(offline))} events"
    assert said == f"fastast listen: {recording} ended; heard 0:00:04.0: {counts}\n"
    code, printed, _ = run(recording, "--full-speed", "--events")
    found = [json.loads(line) for line in printed.splitlines()]
    assert code == 0 and [list(row.values())[:3] for row in found] == [list(event[:3]) for event in events_of(offline)]
    assert any(row["label"] == "yes" for row in found)


def test_what_can_not_be_heard_is_told_without_counts(run: Listen, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    for name, said in (
        ("gone.wav", "no such file"),
        ("", "is a folder; give an audio file"),
        ("empty.wav", "0 bytes"),
    ):
        code, printed, line = run(tmp_path / name)
        assert code == 2 and not printed and said in line and "; heard" not in line and "find_audio" not in line


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".txt", ".rttm", ".vtt", ".selections.txt"])
def test_events_are_written_as_they_come(
    ending: str, run: Listen, recording: Path, offline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sizes = tmp_path / f"events{ending}", []

    def watched() -> Iterator[np.ndarray]:
        for block in read_audio(recording):
            sizes.append(len(file.read_text().splitlines()))
            yield block

    monkeypatch.setattr(listen, "source_of", lambda *_: listen.Source("mic", 16000, watched(), False))
    assert run("-o", file)[0] == 0
    text = file.read_text()
    assert sizes[0] <= 2 and sizes[-1] > sizes[0]  # before the end
    assert "yes" in text
    if ending == ".csv":
        table = pd.read_csv(file)
        assert table[["start", "end", "label"]].values.tolist() == [list(event[:3]) for event in events_of(offline)]
    code, _, said = run("-o", file)
    assert code == 2 and "exists: give the name of a new file" in said and file.read_text() == text


def test_a_command_is_run_for_each_event_and_a_label_can_not_become_part_of_it(
    run: Listen, recording: Path, tmp_path: Path, checkpoint: Path, offline: Any
) -> None:
    program = tmp_path / "on event"
    program.write_text(
        f'#!/bin/sh\necho "$1|$FASTAST_LABEL|$FASTAST_START|$FASTAST_END" >> "{tmp_path}/log"\nexit 3\n'
    )
    program.chmod(0o755)
    code, _, said = run(recording, "--full-speed", "--exec", f"'{program}' 'a b $(touch {tmp_path}/evil)'")
    lines = (tmp_path / "log").read_text().splitlines()
    expected = [f"{event.label}|{event.start}|{event.end}" for event in events_of(offline)]
    assert code == 0 and sorted(line.split("|", 1)[1] for line in lines) == sorted(expected)
    assert lines[0].startswith("a b $(touch ") and f"{len(expected)} commands failed" in said
    config = json.loads((checkpoint / "config.json").read_text())
    label = f"$(touch {tmp_path}/evil); `touch {tmp_path}/evil`"
    config["id2label"]["0"] = config["id2label"]["1"] = label
    (checkpoint / "config.json").write_text(json.dumps(config))
    (tmp_path / "log").unlink()
    run(recording, "--full-speed", "--model", checkpoint, "--threshold", 0, "--off", 0, "--exec", f"'{program}'")
    assert f"|{label}|0.0|4.0" in (tmp_path / "log").read_text() and not (tmp_path / "evil").exists()
    code, _, said = run(recording, "--exec", "no-such-program x")
    assert code == 2 and "give a program that can be run" in said


UNPLUGGED = "USB: no sound comes any more; plug the microphone in again"


@pytest.mark.parametrize(
    ("error", "said", "code"), [(AudioError(UNPLUGGED), UNPLUGGED, 2), (KeyboardInterrupt(), "stopped", 130)]
)
def test_what_was_found_stands_when_the_microphone_is_unplugged_or_ctrl_c_comes(
    error: BaseException,
    said: str,
    code: int,
    run: Listen,
    recording: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken_off() -> Iterator[np.ndarray]:
        yield np.concatenate(list(read_audio(recording)))[:50_000]
        raise error

    monkeypatch.setattr(listen, "source_of", lambda *_: listen.Source("USB", 16000, broken_off(), True))
    ended, printed, last = run("--events", "-o", tmp_path / "found.csv")
    assert ended == code and '"label": "yes"' in printed and "yes" in (tmp_path / "found.csv").read_text()
    assert last.startswith(f"fastast listen: {said}; heard 0:00:03.1:") and len(last.splitlines()) == 1


def test_a_file_that_is_followed_ends_when_it_is_removed(
    run: Listen, recording: Path, offline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grows = tmp_path / "grows.wav"
    grows.write_bytes(recording.read_bytes())
    source_of = listen.source_of

    def opened(*arguments: Any) -> listen.Source:
        source = source_of(*arguments)
        grows.unlink()
        return source

    monkeypatch.setattr(listen, "source_of", opened)
    code, printed, said = run(grows, "--follow", "--events")
    assert code == 0 and len(printed.splitlines()) == len(events_of(offline))
    assert said.splitlines()[-1].startswith(f"fastast listen: {grows} ended; heard 0:00:04.0: 7 windows")


def test_what_was_found_stands_when_nobody_reads_the_output_any_more(
    run: Listen, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with monkeypatch.context() as patch, os.fdopen(writing, "w") as stdout:
        patch.setattr(sys, "stdout", stdout)
        code, _, said = run(recording, "--full-speed", "--events", "-o", tmp_path / "found.csv")
    assert code == 0 and len((tmp_path / "found.csv").read_text().splitlines()) >= 2
    (line,) = said.splitlines()
    assert line.startswith("fastast listen: nobody reads the output any more; heard 0:00:0")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pcm", "s16le"), "--pcm and --rate go together"),
        (("--full-speed",), "are not of a microphone"),
        (("x.wav", "--microphone", "1"), "leave one out"),
        (("-", "--follow"), "are of a file"),
        (("-", "--full-speed"), "stdin skips nothing anyway"),
        (("x.wav", "-o", "x.parquet"), "events are written as .csv"),
        (("x.wav", "--top-k", "0"), "--top-k is 0"),
        (("gone.wav",), "gone.wav: no such file"),
        (("gone.wav", "--hop", "3"), "hop is 3 s"),
    ],
)
def test_misuse_is_a_line(arguments: tuple[str, ...], said: str, run: Listen) -> None:
    code, _, error = run(*arguments)
    assert code == 2 and said in error and len(error.splitlines()) == 1


def started(*arguments: object, **streams: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fastast_hf.cli.main", "listen", *SETTINGS, *map(str, arguments)]
    return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True, **streams)


@pytest.mark.slow
def test_a_reader_that_has_gone_ends_it_with_a_line(recording: Path, tmp_path: Path) -> None:
    process = started(recording, "--jsonl", "-o", tmp_path / "events.csv", stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert "labels" in process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(TIMEOUT) == 0
    assert said.startswith("fastast listen: nobody reads the output any more; heard ") and len(said.splitlines()) == 1
    assert (tmp_path / "events.csv").read_text().startswith("file,start")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_file_that_grows_is_followed_until_ctrl_c(number: int, recording: Path, tmp_path: Path) -> None:
    content, grows = recording.read_bytes(), tmp_path / "grows.wav"
    grows.write_bytes(content[:40_044])
    process = started(grows, "--follow", "--jsonl", "-o", tmp_path / "events.csv", stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert json.loads(process.stdout.readline())["time"] == 0.5
    with grows.open("ab") as file:
        file.write(content[40_044:])
    while json.loads(process.stdout.readline())["time"] < 3.5:
        pass
    process.send_signal(number)
    said = process.stderr.read()
    assert process.wait(TIMEOUT) == 130
    assert said.startswith("fastast listen: stopped; heard 0:00:04.0: 7 windows")
    assert "yes" in (tmp_path / "events.csv").read_text()


@pytest.mark.slow
def test_a_stored_stream_in_a_pipe_loses_no_window(recording: Path) -> None:
    process = started("-", "--jsonl", stdin=recording.open("rb"), stdout=subprocess.PIPE)
    printed, said = process.communicate(timeout=TIMEOUT)
    assert len(printed.splitlines()) == 7 and "heard 0:00:04.0: 7 windows, 0 skipped" in said


@pytest.mark.slow
def test_a_pipe_that_breaks_off_is_heard_as_it_comes(recording: Path) -> None:
    reading, writing = os.pipe()
    process = started("-", "--jsonl", stdin=reading, stdout=subprocess.PIPE)
    os.close(reading)
    assert process.stdout is not None and process.stderr is not None
    os.write(writing, recording.read_bytes()[: 44 + 32_000])  # a second
    assert json.loads(process.stdout.readline())["end"] == 0.75  # while the pipe is open
    os.write(writing, recording.read_bytes()[44 + 32_000 : 44 + 48_000])
    time.sleep(0.1)
    os.close(writing)
    printed, said = process.communicate(timeout=TIMEOUT)
    assert [json.loads(line)["time"] for line in printed.splitlines()] == [1.0] and process.returncode == 0
    cut_off, ended = said.splitlines()
    assert "cut off, after 1.50 s of the 4.00 s" in cut_off and "stdin ended; heard 0:00:01.5" in ended
