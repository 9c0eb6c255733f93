"""`fastast classify -o`: results as they come, a killed run that goes on, and several processes with one file."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from full_disk import room_for
from running_scripts import TIMEOUT, environment, free_port

from fastast_hf import FastASTForAudioClassification, Tagger
from fastast_hf.audio import read_audio
from fastast_hf.cli.main import main
from fastast_hf.loading.bundled import SPEECH_COMMANDS
from fastast_hf.onnx.export import export_onnx
from fastast_hf.tagging import scoring
from fastast_hf.tagging import tagger as tagging
from fastast_hf.tagging.int8 import int8_works
from fastast_hf.tagging.processes import Processes
from fastast_hf.tagging.results_file import Output, read_file

SPEECH = Path(__file__).parents[1] / "data" / "speech"
Classify = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve clips."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for index in range(12):
        name = ("yes_rms.wav", "down_rms.wav", "down_en-us.wav")[index % 3]
        (folder / f"clip{index}.wav").write_bytes((SPEECH / name).read_bytes())
    return folder


@pytest.fixture
def classify(capsys: pytest.CaptureFixture[str]) -> Classify:
    """Runs the command with the bundled checkpoint: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main(["classify", "--device", "cpu", "--batch-size", "1", *map(str, arguments)])
        except SystemExit as exit:  # the parser's
            code = int(exit.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read from here on."""
    names: list[str] = []
    monkeypatch.setattr(tagging, "read_audio", lambda file, rate: names.append(file.name) or read_audio(file, rate))
    return names


def read(path: Path) -> dict[str, Any]:
    """Labels with their scores, or the error, by the names of the files, which are there once each."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            _, *rows = csv.reader(file)
        pairs = [
            (name, error or list(zip(cells[::2], map(float, cells[1::2]), strict=True)))
            for name, *cells, error in rows
        ]
    else:
        objects = [json.loads(line) for line in path.read_text().splitlines()]
        pairs = [
            (row["file"], row.get("error") or [(label["label"], label["score"]) for label in row["labels"]])
            for row in objects
        ]
    assert len(dict(pairs)) == len(pairs)
    return {Path(name).name: labels for name, labels in pairs}


def assert_same(got: Path, expected: Path) -> None:
    """The same files in the same order, with the same labels, to rounding: they were in other batches."""
    ours, theirs = read(got), read(expected)
    assert list(ours) == list(theirs)
    for name, labels in ours.items():
        if isinstance(labels, str):
            assert labels == theirs[name]
            continue
        assert [label for label, _ in labels] == [label for label, _ in theirs[name]]
        assert [score for _, score in labels] == pytest.approx([score for _, score in theirs[name]], abs=2e-6)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_file_has_the_taggers_labels_in_the_folders_order(
    kind: str, classify: Classify, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / f"out.{kind}"
    code, printed, errors = classify(folder, "-o", out, "--top-k", 2, "--r", 4)
    assert (code, errors) == (0, "")
    assert printed.startswith(f"{out}: 12 labelled; tome_r=4: 146 tokens enter the first layer, 102 the last; ")
    files = [folder / f"clip{index}.wav" for index in range(12)]
    expected = Tagger(tome_r=4, top_k=2, device="cpu", batch_size=1)(files)
    got = read(out)
    assert list(got) == [file.name for file in files]
    for labels, of_tagger in zip(got.values(), expected, strict=True):
        assert [label for label, _ in labels] == [label["label"] for label in of_tagger]
        assert [score for _, score in labels] == pytest.approx([label["score"] for label in of_tagger], abs=1e-6)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_stopped_run_goes_on_and_does_no_file_twice(
    kind: str,
    classify: Classify,
    folder: Path,
    tmp_path: Path,
    decoded: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, out = tmp_path / f"whole.{kind}", tmp_path / f"out.{kind}"
    assert classify(folder, "-o", whole)[0] == 0
    labels = Tagger.labels
    answered = []

    def stop_at_six(self: Tagger, *arguments: Any) -> Any:
        answered.append(1)
        if len(answered) == 6:
            raise KeyboardInterrupt
        return labels(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Tagger, "labels", stop_at_six)
        code, _, errors = classify(folder, "-o", out)
    assert code == 130 and errors == "fastast classify: stopped\n"
    assert len(read(out)) == 5
    out.write_bytes(out.read_bytes()[:-3])  # as if it had been killed within a line
    decoded.clear()
    code, printed, errors = classify(folder, "-o", out, "--resume")
    assert (code, errors) == (0, "")
    assert printed.startswith(f"{out}: 12 labelled, 4 of them before; tome_r=")
    assert sorted(decoded) == sorted(f"clip{index}.wav" for index in range(4, 12))
    assert out.read_bytes() == whole.read_bytes()
    decoded.clear()
    code, printed, _ = classify(folder, "-o", out, "--resume")
    assert (code, decoded) == (0, []) and printed.startswith(f"{out}: 12 labelled, 12 of them before; tome_r=")


def test_no_process_ends_before_the_file_is_whole(
    classify: Classify, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    gather, merge = Processes.gather, Output.merge
    monkeypatch.setattr(Processes, "gather", lambda self, own: steps.append("gather") or gather(self, own))
    monkeypatch.setattr(Output, "merge", lambda self, order: steps.append("merge") or merge(self, order))
    assert classify(folder, "-o", tmp_path / "out.csv")[0] == 0
    assert steps[-2:] == ["merge", "gather"]


def test_results_of_files_that_are_gone_count_as_before(classify: Classify, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert classify(folder, "-o", out)[0] == 0
    (folder / "clip3.wav").unlink()
    (folder / "new.wav").write_bytes((SPEECH / "yes_rms.wav").read_bytes())
    assert classify(folder, "-o", out, "--resume")[1].startswith(f"{out}: 13 labelled, 12 of them before; tome_r=")


def test_what_several_processes_had_done_is_kept_by_one(
    classify: Classify, folder: Path, tmp_path: Path, decoded: list[str]
) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    assert classify(folder, "-o", whole)[0] == 0
    header, *rows = whole.read_bytes().splitlines(keepends=True)
    (tmp_path / "out.csv.part0").write_bytes(b"".join([header, *rows[0:6:3]]))
    (tmp_path / "out.csv.part2").write_bytes(b"".join([header, *rows[2:9:3], rows[11][:20]]))
    shutil.copy(tmp_path / "whole.csv.settings.json", tmp_path / "out.csv.settings.json")
    decoded.clear()
    assert classify(folder, "-o", out, "--resume")[0] == 0
    assert len(decoded) == 12 - 2 - 3
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.csv", "out.csv.settings.json"]


def test_a_bad_file_has_a_line_on_stderr_and_is_tried_again(
    classify: Classify, folder: Path, tmp_path: Path, decoded: list[str]
) -> None:
    out, bad = tmp_path / "out.csv", folder / "clip3.wav"
    good = bad.read_bytes()
    bad.write_bytes(b"")
    code, printed, errors = classify(folder, "-o", out)
    assert code == 2 and printed.startswith(f"{out}: 11 labelled, 1 failed; ")
    assert errors == f"fastast classify: {bad}: empty file (0 bytes); fetch or export it again\n"
    bad.write_bytes(good)
    decoded.clear()
    assert classify(folder, "-o", out, "--resume")[0] == 0
    assert decoded == ["clip3.wav"]
    assert list(read(out)) == [f"clip{index}.wav" for index in range(12)]


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    classify: Classify, folder: Path, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    assert classify(folder, "-o", whole)[0] == 0
    with room_for(whole.stat().st_size - 10):
        code, printed, errors = classify(folder, "-o", out)
    assert (code, printed) == (2, "") and errors.count("\n") == 1 and str(out) in errors
    assert classify(folder, "-o", out, "--resume")[0] == 0
    assert out.read_bytes() == whole.read_bytes()


def test_without_a_stdout_the_file_is_written(
    classify: Classify, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert classify(folder, "-o", tmp_path / "out.csv")[0] == 0
    assert len(read(tmp_path / "out.csv")) == 12


def test_a_file_that_is_given_twice_is_done_once(classify: Classify, folder: Path, tmp_path: Path) -> None:
    assert classify(folder, folder / "clip3.wav", folder, "-o", tmp_path / "out.csv")[0] == 0
    assert len(read(tmp_path / "out.csv")) == 12


def test_what_cannot_be_done_is_one_line(
    classify: Classify, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    assert classify(folder, "-o", out)[0] == 0
    cases = [
        (["-o", out], "out.csv exists: add --resume to go on with it, or give another file"),
        (["-o", out, "--resume", "--r", 8], "was begun with r 12 and not 8: go on with the same settings"),
        (["-o", out, "--resume", "--dtype", "bfloat16"], "was begun with dtype float32 and not bfloat16"),
        (["-o", tmp_path / "out.tsv"], "results are written as .csv, .jsonl or .parquet"),
        (["-o", out, "--json"], "not allowed with"),
        (["--resume"], "--resume goes on with a file of results: give it with -o"),
        (["--workers", -1], "workers is -1"),
    ]
    before = out.read_bytes()
    for options, said in cases:
        code, printed, errors = classify(folder, *options)
        assert (code, printed) == (2, "")
        assert errors.count("\n") == 1 and said in errors
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, printed, errors = classify(folder)
    assert (code, printed) == (2, "") and "several processes write their results to a file: give one with -o" in errors
    assert out.read_bytes() == before


def with_field(name: str, field: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        fields = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**fields, field: value}))

    return change


def test_what_a_preset_merges_is_remembered_as_it_is_spread(classify: Classify, tmp_path: Path) -> None:
    checkpoint, out = tmp_path / "plain", tmp_path / "out.csv"
    shutil.copytree(SPEECH_COMMANDS, checkpoint)
    with_field("config.json", "tome_r", 0)(checkpoint)
    arguments = (SPEECH / "yes_rms.wav", "--model", checkpoint, "--preset", "fast", "-o", out)
    assert classify(*arguments)[0] == 0
    code, _, errors = classify(*arguments, "--schedule", "constant", "--resume")
    assert code == 2 and "begun with schedule decreasing and not constant:" in errors


def train_further(folder: Path) -> None:
    model = FastASTForAudioClassification.from_pretrained(folder)
    model.classifier.dense.bias.data[3] += 1e-3
    model.save_pretrained(folder)


def forget(*names: str) -> Callable[[Path], None]:
    """A sidecar of an older version."""

    def change(folder: Path) -> None:
        sidecar = folder.with_name("out.csv.settings.json")
        kept = {name: value for name, value in json.loads(sidecar.read_text()).items() if name not in names}
        sidecar.write_text(json.dumps(kept))

    return change


OTHERS: list[tuple[Callable[[Path], None], str]] = [
    # what is done to the checkpoint between two runs, what is said
    (with_field("config.json", "tome_r", 20), r"begun with r 12 and not 20:"),
    (with_field("config.json", "tome_schedule", "decreasing"), r"begun with schedule constant and not decreasing:"),
    (
        with_field("config.json", "id2label", {i: f"sound {i}" for i in range(12)}),
        "begun with another config:",
    ),
    (with_field("config.json", "problem_type", "multi_label_classification"), "not sigmoid, another config:"),
    (with_field("preprocessor_config.json", "mean", -7.0), "begun with another front end:"),
    (train_further, "begun with other weights:"),
    (forget("weights"), "begun with other weights:"),
    (forget("config", "front_end"), "begun with another config, another front end:"),
]


@pytest.mark.parametrize(("change", "said"), OTHERS)
def test_a_checkpoint_that_is_another_one_now_is_refused(
    change: Callable[[Path], None], said: str, classify: Classify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "mine", tmp_path / "out.csv"
    shutil.copytree(SPEECH_COMMANDS, folder)
    monkeypatch.chdir(tmp_path)
    clips = [SPEECH / "yes_rms.wav", SPEECH / "down_rms.wav"]
    assert classify(clips[0], "-o", out, "--model", "mine")[0] == 0
    assert classify(clips[0], "-o", out, "--model", folder, "--resume")[0] == 0
    change(folder)
    before = out.read_bytes()
    code, printed, errors = classify(*clips, "-o", out, "--model", folder, "--resume")
    assert (code, printed, errors.count("\n")) == (2, "", 1) and re.search(said, errors)
    assert out.read_bytes() == before


def test_a_file_that_was_exported_again_is_refused(
    classify: Classify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = tmp_path / "m.onnx", tmp_path / "out.csv"
    monkeypatch.chdir(tmp_path)
    export_onnx(SPEECH_COMMANDS, model, tome_r=8)
    assert classify(SPEECH / "yes_rms.wav", "-o", out, "--model", "m.onnx")[0] == 0
    assert classify(SPEECH / "down_rms.wav", "-o", out, "--model", model, "--resume")[0] == 0
    export_onnx(SPEECH_COMMANDS, model, tome_r=30)
    code, _, errors = classify(SPEECH, "-o", out, "--model", model, "--resume")
    assert code == 2 and "begun with other weights, r 8 and not 30:" in errors
    assert len(read(out)) == 2


def test_what_a_preset_computes_in_on_this_machine_is_remembered(
    classify: Classify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [SPEECH / "yes_rms.wav", "-o", tmp_path / "out.csv", "--preset", "fast"]
    for dtype in ("bfloat16", "float32"):
        monkeypatch.setattr(scoring, "fast_dtype", lambda *_, dtype=dtype: getattr(torch, dtype))
        code, _, errors = classify(*command, *(["--resume"] if dtype == "float32" else []))
    assert code == 2 and "begun with dtype bfloat16 and not float32:" in errors


def test_processes_that_would_compute_otherwise_are_refused(
    classify: Classify, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_another(self: Processes, value: Any) -> list[Any]:
        return [value, {**value, "dtype": "int8"}] if isinstance(value, dict) else [value]

    monkeypatch.setattr(Processes, "gather", with_another)
    code, printed, errors = classify(folder, "-o", tmp_path / "out.csv")
    assert (code, printed, errors.count("\n")) == (2, "", 1)
    assert "the processes have dtype float32 and int8: give them the same files, and a --dtype" in errors
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("what", ["onnx", "int8"])
def test_a_process_with_a_gpu_of_its_own_leaves_it_where_the_cpu_alone_will_do(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "int8" and not int8_works():
        pytest.skip("no 8-bit instructions here")
    monkeypatch.setattr(Processes, "device", lambda self: "cuda:0")
    options = ["--dtype", "int8"]
    if what == "onnx":
        export_onnx(SPEECH_COMMANDS, tmp_path / "model.onnx")
        options = ["--model", str(tmp_path / "model.onnx")]
    code = main(["classify", str(SPEECH / "yes_rms.wav"), "-o", str(tmp_path / "out.csv"), *options])
    assert (code, capsys.readouterr().err) == (0, "")
    assert len(read(tmp_path / "out.csv")) == 1


def start_two(*arguments: object) -> list[subprocess.Popen[str]]:
    """`fastast classify …` in two processes, with the variables that a launcher sets."""
    launched = environment() | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, "-m", "fastast_hf", "classify", "--device", "cpu", *map(str, arguments)]
    return [
        subprocess.Popen(
            command,
            env=launched | {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def finish(processes: list[subprocess.Popen[str]]) -> Iterator[tuple[int, str, str]]:
    for process in processes:
        printed, errors = process.communicate(timeout=TIMEOUT)
        yield process.returncode, printed, errors


def test_two_processes_make_the_file_that_one_makes(classify: Classify, folder: Path, tmp_path: Path) -> None:
    bad = folder / "clip4.wav"  # of the first process; both exit with 2
    bad.write_bytes(b"")
    assert classify(folder, "-o", tmp_path / "one.csv")[0] == 2
    first, second = finish(start_two(folder, "-o", tmp_path / "two.csv"))
    assert first[0] == second[0] == 2
    assert first[1].startswith(f"{tmp_path / 'two.csv'}: 11 labelled, 1 failed; ") and second[1] == ""
    assert first[2].count("\n") == 1 and "empty file" in first[2] and second[2] == ""
    assert_same(tmp_path / "two.csv", tmp_path / "one.csv")
    assert sorted(path.name for path in tmp_path.glob("two*")) == ["two.csv", "two.csv.settings.json"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_two_processes_killed_half_way_go_on(classify: Classify, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for index in range(240):
        os.link(SPEECH / "yes_rms.wav", many / f"clip{index}.wav") if index else shutil.copy(
            SPEECH / "down_rms.wav", many / "clip0.wav"
        )
    assert classify(many, "-o", tmp_path / "whole.jsonl")[0] == 0
    out = tmp_path / "out.jsonl"
    parts = [tmp_path / f"out.jsonl.part{rank}" for rank in range(2)]
    both = start_two(many, "-o", out, "--batch-size", 1)
    deadline = time.monotonic() + TIMEOUT
    while not any(part.is_file() and part.stat().st_size for part in parts):
        assert time.monotonic() < deadline and all(process.poll() is None for process in both)
        time.sleep(0.002)
    for process in both:
        process.send_signal(signal.SIGKILL)
    assert [code for code, _, _ in finish(both)] == [-signal.SIGKILL] * 2
    done = {record.name for part in parts for record in read_file(part)[1]}
    assert 0 < len(done) < 240 and not out.exists()
    (code, printed, errors), (other, _, _) = finish(start_two(many, "-o", out, "--batch-size", 1, "--resume"))
    assert (code, other, errors) == (0, 0, "")
    assert f"240 labelled, {len(done)} of them before" in printed
    assert_same(out, tmp_path / "whole.jsonl")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_files_whose_labels_are_all_below_the_threshold_are_done(
    kind: str, classify: Classify, folder: Path, tmp_path: Path, decoded: list[str]
) -> None:
    command = (folder, "-o", tmp_path / f"out.{kind}", "--threshold", "1")
    assert classify(*command)[1].startswith(f"{tmp_path / f'out.{kind}'}: 12 labelled; ")
    decoded.clear()
    code, printed, _ = classify(*command, "--resume")
    assert (code, decoded) == (0, []) and "12 labelled, 12 of them before" in printed
    code, _, errors = classify(*command[:-1], "0.5", "--resume")
    assert code == 2 and "begun with threshold 1.0 and not " in errors
