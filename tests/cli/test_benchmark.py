"""`fastast benchmark`: what it prints and writes, and how it refuses and stops."""

from __future__ import annotations

import csv
import json
import re
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from fastast_hf import FastASTConfig, FastASTForAudioClassification
from fastast_hf.benchmarking import distillation
from fastast_hf.benchmarking import inference as benchmarking
from fastast_hf.benchmarking import training as training_benchmark
from fastast_hf.benchmarking.candidates import Candidate
from fastast_hf.benchmarking.rounds import WARM_UP_ROUNDS
from fastast_hf.benchmarking.rows import BenchmarkRow, DistillationRow, TrainingRow
from fastast_hf.cli.main import main
from fastast_hf.distillation.teachers.cnn import CNNConfig

SETTINGS = ["--frames", "64", "--rounds", "2", "--batch-size", "2", "--r", "0", "8", "--device", "cpu"]
CANDIDATES = 4  # stock AST eager and sdpa, FastAST at two r

BAD_ARGUMENTS = [
    (["--rounds", "0"], "--rounds is 0: give 1 or more"),
    (["--rounds", "many"], "invalid int value: 'many'"),
    (["--batch-size", "0"], "--batch-size is 0: give 1 or more"),
    (["--threads", "0"], "--threads is 0: give 1 or more"),
    (["--r", "8", "-1"], "--r is -1: give 0 or more"),
    (["--frames", "64", "8"], "--frames is 8: give 16 or more"),
    (["--schedule", "steep"], "invalid choice: 'steep'"),
    (["--dtype", "int8"], "invalid choice: 'int8'"),
    (["--attn", "keen"], "invalid choice: 'keen'"),
    (["--device", "toaster"], "device toaster can't be used here"),
    (["--device", "meta"], "device meta can't be used here"),
    (["--model", "/no/such/checkpoint"], "/no/such/checkpoint"),
    (["--training", "--rounds", "0"], "--rounds is 0: give 1 or more"),
    (["--teacher", "cnn"], "a teacher is given for inference: add --training, or leave out --teacher"),
    (["--training", "--teacher", "/no/such/teacher"], "invalid choice: '/no/such/teacher'"),
]

TRAINING_COLUMNS = ["model", "r", "MAC ratio", "step ms", "speed-up", "peak MB", "step MB"]
DISTILLATION_COLUMNS = [*TRAINING_COLUMNS[:-2], "with teacher ms", "kept", "kept by MACs"]

TRAINED = [["AST sdpa", "-"], ["FastAST sdpa", "0"], ["FastAST sdpa", "8"]]

FILE_NAMES = [
    ([], "benchmark-tiny-v1.5-cpu-float32-sdpa-b2"),
    (["--dtype", "bfloat16", "--attn", "eager"], "benchmark-tiny-v1.5-cpu-bfloat16-eager-b2"),
    (["--schedule", "constant", "decreasing"], "benchmark-tiny-v1.5-cpu-float32-sdpa-b2-constant-decreasing"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny-v1.5"
    config = FastASTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_length=64
    )
    FastASTForAudioClassification(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


@pytest.mark.parametrize(("arguments", "name"), FILE_NAMES)
def test_files_are_named_after_what_was_measured(
    checkpoint: str, tmp_path: Path, arguments: list[str], name: str
) -> None:
    pytest.importorskip("matplotlib")
    assert main(["benchmark", "--model", checkpoint, *SETTINGS, *arguments, "--output", str(tmp_path / "new")]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {f"{name}.{end}" for end in ("csv", "json", "png")}


@pytest.mark.usefixtures("no_matplotlib")
def test_without_matplotlib_one_line_says_what_is_left_out(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", "--model", checkpoint, *SETTINGS, "--output", str(tmp_path)]) == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".json"}
    lines = [line for line in capsys.readouterr().err.splitlines() if "matplotlib" in line]
    assert len(lines) == 1 and "pip install '.[plot]'" in lines[0]


@pytest.mark.usefixtures("no_matplotlib")
def test_each_clip_length_has_its_table(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["benchmark", "--model", checkpoint, *SETTINGS, "--frames", "64", "96", "64"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    tables = [block.splitlines() for block in capsys.readouterr().out.strip().split("\n\n")]
    assert [block[0].split(":")[0] for block in tables[::2]] == [
        "64 frames (62 tokens), batch 2",
        "96 frames (110 tokens), batch 2",
    ]
    for names, _, *lines in tables[1::2]:
        assert re.split(" {2,}", names)[:4] == ["model", "r", "MAC ratio", "model ms"]
        assert max(map(len, lines)) <= 100
        found = [re.split(" {2,}", line)[:2] for line in lines]
        assert found == [["AST eager", "-"], ["AST sdpa", "-"], ["FastAST sdpa", "0"], ["FastAST sdpa", "8"]]
    rows = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert [(row["model"], row["frames"]) for row in rows] == [("tiny-v1.5", f) for f in [64] * 4 + [96] * 4]


def test_json_is_all_that_json_prints(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--model", checkpoint, *SETTINGS, "--json"]) == 0
    rows = [BenchmarkRow(**item) for item in json.loads(capsys.readouterr().out)]
    assert [row.tome_r for row in rows] == [None, None, 0, 8]


def test_training_has_a_table_and_files_of_its_own(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(training_benchmark, "step_bytes", lambda step, r, schedule: 5_000_000)
    arguments = ["benchmark", "--training", "--model", checkpoint, *SETTINGS, "--dtype", "bfloat16"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    stem = "training-tiny-v1.5-cpu-bfloat16-sdpa-b2"
    assert {path.name for path in tmp_path.iterdir()} == {f"{stem}.{end}" for end in ("csv", "json", "png")}
    heading, _, names, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert heading.startswith("64 frames (62 tokens), batch 2") and heading.endswith(
        "ms per training step of the batch"
    )
    assert re.split(" {2,}", names.strip()) == TRAINING_COLUMNS
    assert [re.split(" {2,}", line)[:2] for line in lines] == TRAINED
    rows = [TrainingRow(**item) for item in json.loads((tmp_path / f"{stem}.json").read_text())]
    assert [(row.model, row.dtype, row.step_mem_mb) for row in rows] == [("tiny-v1.5", "bfloat16", 5.0)] * 3


def test_with_a_teacher_it_says_what_is_kept(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillation, "CNNConfig", partial(CNNConfig, backbone="mobilenetv3_small_050"))
    arguments = ["benchmark", "--training", "--teacher", "cnn", "--model", checkpoint, *SETTINGS]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    stem = "distillation-cnn-tiny-v1.5-cpu-float32-sdpa-b2"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{stem}.csv", f"{stem}.json"}
    _, about, _, names, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert re.fullmatch(
        r"teacher: efficientnet_b2-random, [\d.]+ GMACs, [\d.]+ ms, and its front end [\d.]+ ms", about
    )
    assert re.split(" {2,}", names.strip()) == DISTILLATION_COLUMNS
    assert [re.split(" {2,}", line)[:2] for line in lines] == TRAINED
    assert lines[0].split()[-3:] == ["-"] * 3
    rows = [DistillationRow(**item) for item in json.loads((tmp_path / "out" / f"{stem}.json").read_text())]
    assert [row.kept is None for row in rows] == [True, False, False]


@pytest.mark.usefixtures("no_matplotlib")
@pytest.mark.parametrize(("finished", "kept"), [(0, None), (1, "1")])
def test_stopping_keeps_what_was_finished(
    checkpoint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    finished: int,
    kept: str | None,
) -> None:
    """Ctrl-C in the second clip length: the first one's rounds are all there, and the second's finished ones."""
    real, calls = benchmarking._time_run, []
    rounds = (WARM_UP_ROUNDS + 2) + (WARM_UP_ROUNDS + finished)

    def time_run(*arguments: object) -> benchmarking.Timing:
        calls.append(arguments)
        if len(calls) > CANDIDATES * rounds + 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(benchmarking, "_time_run", time_run)
    arguments = ["benchmark", "--model", checkpoint, *SETTINGS, "--frames", "64", "96", "128"]
    assert main([*arguments, "--output", str(tmp_path)]) == 130
    assert f"stopped at 96 frames; {finished} of its rounds are kept" in capsys.readouterr().err
    with next(tmp_path.glob("*.csv")).open(newline="") as file:
        rounds_kept = {(row["frames"], row["rounds"]) for row in csv.DictReader(file)}
    assert rounds_kept == {("64", "2")} | ({("96", kept)} if kept else set())


def test_memory_is_shown_for_the_batch_and_for_a_clip_and_what_there_was_too_little_for_has_a_line(
    checkpoint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_run(candidate: Candidate, *_: object) -> benchmarking.Timing:
        if candidate.attn == "eager":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return benchmarking.Timing(1.0, 1.0, 3_000_000 if candidate.tome_r is None else None)

    monkeypatch.setattr(benchmarking, "_time_run", time_run)
    assert main(["benchmark", "--model", checkpoint, *SETTINGS]) == 0
    printed = capsys.readouterr()
    assert [line.split()[-2:] for line in printed.out.splitlines()[4:7]] == [["3", "1.5"], ["-", "-"], ["-", "-"]]
    assert printed.out.splitlines()[2].endswith("peak MB  MB per clip")
    assert "fastast benchmark: 64 frames: too little memory for AST eager: left out" in printed.err


def test_threads_are_set(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert main(["benchmark", "--model", checkpoint, *SETTINGS, "--threads", "3"]) == 0
    assert asked == [3]


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS)
def test_bad_arguments_get_one_line_and_exit_code_2(
    checkpoint: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    try:
        code = main(["benchmark", "--model", checkpoint, *SETTINGS, *arguments])
    except SystemExit as stop:  # argparse's own refusals
        code = stop.code
    assert code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fastast benchmark:")]
    assert len(lines) == 1 and message in lines[0]
