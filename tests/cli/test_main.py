"""`fastast` itself: help, mistakes, interruptions, and readers that go away."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import transformers

import fastast_hf
from fastast_hf.cli import schedule
from fastast_hf.cli.main import COMMANDS, main
from fastast_hf.errors import PROGRAM, one_line
from fastast_hf.training.arguments import ScheduleArguments
from fastast_hf.training.recipes import RecipeParser, parse_with_recipe

NAMES = [command.__name__.split(".")[-1] for command in COMMANDS]
LAUNCHING = {"train": "run_finetune.py", "distill": "run_kd.py"}
MISTAKES = [
    (["--colour"], "fastast: there is no option --colour (see fastast --help)"),
    (["sing"], "invalid choice: 'sing'"),
    (["clasify", "a.wav"], "invalid choice: 'clasify': did you mean classify? (see fastast --help)"),
    (["classify"], "FILE|FOLDER"),
    (["schedule", "20"], "schedule: unrecognized arguments: 20 (see fastast schedule --help)"),
    (["classify", "a.wav", "--topk", "3"], "classify: there is no option --topk: did you mean --top-k? (see fastast"),
]
ERRORS = [
    (ValueError("r is\n-1:\n  give 0 or more"), 2, "fastast schedule: --r is -1: give 0 or more\n"),
    (FileNotFoundError(2, "No such file", "a.wav"), 2, "fastast schedule: [Errno 2] No such file: 'a.wav'\n"),
    (ImportError("matplotlib is not installed"), 2, "fastast schedule: matplotlib is not installed\n"),
    (KeyboardInterrupt(), 130, "fastast schedule: stopped\n"),
]


def fail_with(error: BaseException) -> Any:
    def run(*args: Any) -> int:
        raise error

    return run


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["--help"])
    assert exit.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert {"classify", "schedule", "benchmark", "demo"} <= set(NAMES)
    lines = printed.out.splitlines()
    assert all(any(line.startswith("    ") and line.split()[0] == name for line in lines) for name in NAMES)


@pytest.mark.parametrize(("name", "script"), LAUNCHING.items())
def test_a_script_that_a_command_launches_has_its_help_and_its_name(
    name: str, script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def run(command: list[str], check: bool) -> Any:
        ran.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("fastast_hf.cli.train.subprocess.run", run)
    monkeypatch.setenv(PROGRAM, "")  # and take back what is set
    assert main([name, "--help"]) == 0
    assert [Path(part).name for part in ran[0][1:]] == [script, "--help"]
    assert os.environ[PROGRAM] == f"fastast {name}"
    parser = RecipeParser(ScheduleArguments)
    with pytest.raises(SystemExit):
        parse_with_recipe(parser, ["--dekay", "1"])
    assert capsys.readouterr().err == (
        f"fastast {name}: there is no option --dekay: did you mean --decay? (see fastast {name} --help)\n"
    )


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LAUNCHING])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main([name, "--help"])
    assert exit.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: fastast {name} ")


@pytest.mark.parametrize(("argv", "said"), MISTAKES)
def test_a_mistake_is_one_line(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(argv)
    assert exit.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and err.startswith("fastast") and said in err and "--help" in err


@pytest.mark.parametrize(("error", "code", "said"), ERRORS)
def test_an_error_is_one_line_and_a_code(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schedule, "run", fail_with(error))
    assert main(["schedule"]) == code
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("argv", [["--debug", "schedule"], ["schedule", "--debug"]])
def test_debug_raises_the_error(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "run", fail_with(ValueError("r is -1")))
    with pytest.raises(ValueError, match="r is -1"):
        main(argv)


def test_without_a_command_it_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: fastast [-h]")


def test_version_names_what_it_runs_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    versions = (fastast_hf.__version__, transformers.__version__, version("torch"))
    assert capsys.readouterr().out == "fastast {} (transformers {}, torch {})\n".format(*versions)


def test_a_fault_of_the_programs_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "run", fail_with(KeyError("layer")))
    with pytest.raises(KeyError):
        main(["schedule"])


def test_an_error_without_a_message_has_its_type() -> None:
    assert one_line(ValueError()) == "ValueError"
    assert one_line("two\n lines") == "two lines"


def test_letters_that_the_terminal_lacks_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    monkeypatch.setattr(schedule, "run", lambda args: print("twice as fast: 2×") or 0)
    assert main(["schedule"]) == 0
    assert printed.getvalue() == b"twice as fast: 2?\n"


def test_a_reader_that_has_gone_is_no_error() -> None:
    """`fastast schedule | true`: what is printed is still in the buffer when the command is done."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "fastast_hf.cli.main", "schedule", "--r", "20"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(os.name != "posix", reason="no sh here")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    command = [sys.executable, "-m", "fastast_hf.cli.main", "schedule", "--r", "20"]
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert bool(done.stdout) == closed.startswith("2")


def test_warnings_are_lines_that_begin_with_the_command(tmp_path: Path) -> None:
    silent = tmp_path / "two\nlines.wav"
    soundfile.write(silent, np.zeros(16000), 16000)
    command = [sys.executable, "-m", "fastast_hf.cli.main", "classify", str(silent), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"fastast classify: {tmp_path}/two lines.wav: the clip is silent")
