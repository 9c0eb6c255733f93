"""The scripts of `examples/`, run with a tiny model in place of their own."""

from __future__ import annotations

import csv
import runpy
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from running_scripts import ROOT
from transformers import ASTFeatureExtractor

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SPEECH = sorted((ROOT / "tests" / "data" / "speech").glob("*.wav"))


def run(name: str, *arguments: object, code: int = 0) -> None:
    main: Callable[[Sequence[str]], int] = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"]
    assert main([str(argument) for argument in arguments]) == code


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Four clips each of a dog and of rain, as far as their names go, in folders and in a table."""
    folder = tmp_path / "sounds"
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "split"])
        for place, clip in enumerate(SPEECH[:8]):
            label = ("dog", "rain")[place % 2]
            (folder / label).mkdir(parents=True, exist_ok=True)
            copy = shutil.copy(clip, folder / label)
            table.writerow([copy, label, "train" if place < 6 else "test"])
    return folder


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_tested_and_on_the_page(example: Path) -> None:
    text = example.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert f'run("{example.stem}"' in Path(__file__).read_text(encoding="utf-8")
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    assert f"<!-- examples/{example.name} -->" in page


def test_tag_folder(checkpoint: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sounds / "broken.wav").write_bytes(b"no sound")
    run("tag_folder", sounds, "--model", checkpoint, "--output", tmp_path / "new" / "out.csv")
    assert "8 recordings labelled, 1 failed" in capsys.readouterr().out
    assert len((tmp_path / "new" / "out.csv").read_text().splitlines()) == 1 + 8 * 2 + 1


def test_mistakes_are_told_in_a_line(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("empty", "one/dog", "one/rain", "bad"):
        (tmp_path / name).mkdir(parents=True)
    for name, clip in (("dog", SPEECH[0]), ("rain", SPEECH[1])):
        shutil.copy(clip, tmp_path / "one" / name)
    (tmp_path / "bad" / "a.wav").write_bytes(b"no sound")
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.chdir(tmp_path)
    for name, *arguments, said in (
        ("timeline_of_an_hour", "nope.wav", "nope.wav: no such file"),
        ("timeline_of_an_hour", SPEECH[0], "--hop", 2, "hop is 2 s: give more than 0 and at most"),
        ("live_meter", "sounddevice"),
        ("tag_folder", "empty", "empty: no recordings are there"),
        ("tag_folder", "gone", "gone: no recordings are there"),
        ("tag_folder", "bad", "no audio that can be decoded"),
        ("ten_clips_a_class", "gone", "gone: no clips: give a folder"),
        ("ten_clips_a_class", "empty", "empty: no clips: give a folder"),
        ("ten_clips_a_class", "one", "1 clip of dog, 1 clip of rain: give"),
    ):
        run(str(name), *arguments, "--model", checkpoint, code=2)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{name}.py: ") and str(said) in line


def test_timeline_of_an_hour(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "a.png"
    run("timeline_of_an_hour", SPEECH[0], "--model", checkpoint, "--threshold", "0.01", "--plot", picture)
    assert "with scores of 0.01 or more" in capsys.readouterr().out and picture.stat().st_size > 1000


def test_live_meter(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("live_meter", "--model", checkpoint, "--file", SPEECH[0], "--window", "0.5")
    printed = capsys.readouterr().out
    assert "dog" in printed or "rain" in printed
    assert "0 windows skipped" in printed


def test_ten_clips_a_class(checkpoint: Path, sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("ten_clips_a_class", sounds, SPEECH[9], "--model", checkpoint)
    printed = capsys.readouterr().out
    assert "8 clips of 2 classes" in printed and f"{SPEECH[9]}: " in printed


def test_fine_tune_on_csv(checkpoint: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, output = tmp_path / "labels.csv", tmp_path / "mine"
    run("fine_tune_on_csv", table, "--model", checkpoint, "--frames", 128, "--epochs", 1, "--r", 4, "--output", output)
    printed = capsys.readouterr().out
    assert "6 clips to train on, 2 to test on" in printed and "eval_accuracy" in printed
    assert "labels=2, r=4" in printed and (output / "model.safetensors").is_file()


def test_distil_from_the_hub(
    checkpoint: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--frames", 128, "--layers", 1, "--epochs", 1, "--output", tmp_path / "student"]
    run("distil_from_the_hub", "--data", tmp_path / "labels.csv", "--teacher", checkpoint, *small)
    assert "labels=2, r=8" in capsys.readouterr().out


def test_tune_and_export(
    checkpoint: Path,
    sounds: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("fastast_hf.tuning.runs.Run.speedups", lambda self, runs, rounds: [[1.5] * rounds] * len(runs))
    run("tune_and_export", sounds, "--model", checkpoint, "--speedup", 1, "--trials", 1, "--output", tmp_path / "out")
    printed = capsys.readouterr().out
    assert "Tuned(" in printed and "held_out.kl" in printed and "'label'" in printed
    assert (tmp_path / "out" / "model.onnx").is_file()


def test_merge_in_a_pipeline(make_ast: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_ast().save_pretrained(tmp_path / "ast")
    ASTFeatureExtractor(num_mel_bins=48, max_length=128).save_pretrained(tmp_path / "ast")
    run("merge_in_a_pipeline", SPEECH[0], "--model", tmp_path / "ast", "--r", 8)
    stock, merged, again = (line.split(" ms")[0].split()[-3:] for line in capsys.readouterr().out.splitlines()[-3:])
    assert stock[:2] == again[:2] and stock[1] != merged[1]
