"""`fastast tune` as a user runs it, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from small_corpora import write_tone
from sounds import tone

from fastast_hf import Tagger
from fastast_hf.cli.main import main
from fastast_hf.tuning import runs

QUICK = ["--dtype", "float32", "--trials", "3", "--rounds", "1", "--device", "cpu"]


@pytest.fixture(autouse=True)
def one_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUNGS", (1.3,))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Five each of two classes."""
    for number in range(5):
        for name, hertz in (("dog", 300), ("rain", 2000)):
            write_tone(tmp_path / "sounds" / name / f"{number}.wav", hertz + 40 * number, seconds=1.28)
    return tmp_path / "sounds"


def test_the_command_writes_a_checkpoint_and_says_how_to_use_it(
    recordings: Path,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "out"
    asked = ["tune", str(recordings), "--model", str(checkpoint), "--max-change", "90%", "-o", str(out)]
    assert main([*asked, *QUICK]) == 0
    told = capsys.readouterr().out
    for words in ("labels kept", "KL, nats", "moved most", "searched", "5 clips that no search has seen"):
        assert words in told
    assert f"fastast classify RECORDINGS --model {out} --dtype float32" in told
    assert {"config.json", "model.safetensors", "tuning.json", "tuning.png", "tuning-trials.jsonl"} <= {
        file.name for file in out.iterdir()
    }
    record = json.loads((out / "tuning.json").read_text())
    assert record["asked"]["max_change"] == 0.9 and record["model"] == checkpoint.name
    assert Tagger(out, device="cpu").model.config.tome_r == record["chosen"]["merges"]
    assert main([*asked, *QUICK]) == 0  # again, into the same folder
    assert "trials on these clips" in caplog.text


def test_a_corpus_tells_accuracy_as_well(
    recordings: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["tune", str(recordings), "--model", str(checkpoint), "--max-change", "0.9", "-o", str(tmp_path / "out")]
    assert main([*asked, *QUICK, "--corpus", "audiofolder", "--split", "train"]) == 0
    assert "accuracy" in capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that is said."""
    assert main(["tune", *map(str, arguments), *QUICK]) == 2
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if line]
    assert told.out == "" and lines and all(line.startswith("fastast tune: ") for line in lines)
    return lines[-1]


def test_bad_input_gets_a_line(
    recordings: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = ["--model", checkpoint, "--speedup", "2", "-o", tmp_path / "out"]
    (tmp_path / "empty").mkdir()
    assert "no audio" in refused(capsys, tmp_path / "empty", *wish)
    assert "2 clips" in refused(capsys, recordings / "dog" / "0.wav", recordings / "rain" / "0.wav", *wish)
    for number in range(8):
        (tmp_path / "same").mkdir(exist_ok=True)
        (tmp_path / "silent").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "same" / f"{number}.wav", tone(), 16000)
        soundfile.write(tmp_path / "silent" / f"{number}.wav", 0 * tone(), 16000)
    assert "silent" in refused(capsys, tmp_path / "silent", *wish)
    assert "1 of them different" in refused(capsys, tmp_path / "same", *wish)
    (recordings / "dog").rename(recordings / "cat")
    said = refused(capsys, recordings, *wish, "--corpus", "audiofolder", "--split", "train")
    assert "lacks 'cat'" in said
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    assert "holds something else" in refused(capsys, recordings, *wish[:-1], tmp_path / "full")


def test_a_speedup_out_of_reach_gets_a_line(
    recordings: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, recordings, "--model", checkpoint, "--speedup", "10000", "-o", tmp_path / "out")
    assert said.startswith("fastast tune: --speedup is 10000, and about ")
