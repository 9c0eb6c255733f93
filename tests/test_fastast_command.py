"""The program `fastast`: help at once, and otherwise the package's commands."""

from __future__ import annotations

import os
import subprocess
import sys
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import fastast_command
from fastast_hf.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
NAMES = [command.__name__.split(".")[-1] for command in COMMANDS]
LAUNCHING = ("train", "distill")  # whose help is their scripts'
CODE = """
import io, sys
from contextlib import redirect_stdout
from fastast_command import main
for argv in {asked}:
    try:
        with redirect_stdout(io.StringIO()) as printed:
            main(argv)
    except SystemExit as stop:
        assert stop.code == 0, argv
    print(printed.getvalue().split(" [")[0])
    assert not {{"torch", "transformers"}} & set(sys.modules), argv
"""


def test_help_is_printed_without_importing_torch_or_transformers() -> None:
    named = [name for name in NAMES if name not in LAUNCHING]
    asked = [["--help"], ["-h"], [], *([name, "--help"] for name in named)]
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(asked=asked)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["usage: fastast"] * 3 + [f"usage: fastast {name}" for name in named]


def test_it_is_what_is_installed_and_runs_commands(capsys: pytest.CaptureFixture[str]) -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    name, _, place = setup["options.entry_points"]["console_scripts"].strip().partition(" = ")
    module, _, function = place.partition(":")
    assert name == "fastast" and module in setup["options"]["py_modules"].split()
    assert getattr(import_module(module), function) is fastast_command.main
    assert fastast_command.main(["schedule", "--r", "20"]) == 0
    assert "r = 20 (constant schedule)" in capsys.readouterr().out


def test_ctrl_c_while_the_package_is_imported_is_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, "fastast_hf.cli.main", Interrupted("fastast_hf.cli.main"))
        assert fastast_command.main(["schedule"]) == 130
    assert capsys.readouterr() == ("", "fastast: stopped\n")


def test_a_package_that_does_not_load_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text("raise OSError('torchaudio.so: undefined symbol')")
    done = subprocess.run(
        [sys.executable, "fastast_command.py", "schedule"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "torchaudio.so" in done.stderr


@pytest.mark.parametrize(("line", "said"), [("fastast cl", "classify "), ("fastast classify --ba", "--batch-size ")])
def test_a_shell_completes_commands_and_options(line: str, said: str, tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    asked |= {"_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "completions")}
    subprocess.run([sys.executable, "fastast_command.py"], cwd=ROOT, env=os.environ | asked, check=True)
    assert (tmp_path / "completions").read_text() == said


def test_a_command_runs_in_a_process_with_the_whole_package() -> None:
    code = (
        "from fastast_command import main; main(['schedule']); import fastast_hf, sys; fastast_hf.FastASTModel; "
        "assert 'torch' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "AST-base" in done.stdout
