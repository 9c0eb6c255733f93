"""Windows and macOS, faked on the system at hand: their paths, and what their Python lacks.

Nothing else is claimed of them: no test has run there.
"""

from __future__ import annotations

import ast
import ntpath
import os
import signal
import sys
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from filelock import FileLock
from running_scripts import ROOT

from fastast_hf.audio import decoding, folders, load_audio, quiet, reading
from fastast_hf.corpora.own import files
from fastast_hf.corpora.own.entries import Entry
from fastast_hf.corpora.own.table import _split_by_folder
from fastast_hf.loading import places
from fastast_hf.serving import running
from fastast_hf.tagging.results_file import Output
from fastast_hf.tagging.timelines.files import format_of

# What Python's `signal` has on Windows.
WINDOWS_SIGNALS = {"SIGABRT", "SIGBREAK", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
POSIX_ALONE = {"fcntl", "grp", "pwd", "pty", "resource", "syslog", "termios", "tty"}
MODULES = [*(ROOT / "fastast_hf").rglob("*.py"), *(ROOT / "training").glob("*.py")]


def entry(file: str) -> Entry:
    return Entry("C:\\sounds\\table.csv, line 2", file, ["dog"], None, None, None, None, None)


def test_no_module_names_what_windows_lacks() -> None:
    for module in MODULES:
        tree = ast.parse(module.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "signal":
                assert node.attr in WINDOWS_SIGNALS or not node.attr.startswith("SIG"), (module, node.attr)
        for statement in tree.body:  # what runs when it is imported
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                names = {alias.name for alias in statement.names} | {getattr(statement, "module", None) or ""}
                assert not names & POSIX_ALONE, module


def test_audio_is_known_by_its_ending_in_windows_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "os", SimpleNamespace(path=ntpath))
    assert folders.is_audio("C:\\clips.d\\dog.WAV") and folders.is_audio("\\\\server\\share\\a.flac")
    assert not folders.is_audio("C:\\clips.wav\\notes") and not folders.is_audio("C:\\clips\\.wav\\x.txt")


def test_a_folder_is_named_by_its_last_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "Path", PureWindowsPath)
    assert places.short_name("C:\\Users\\me\\ESC-50") == "ESC-50"
    assert places.short_name("runs\\r{r}\\best") == "r{r}/best"
    assert format_of(PureWindowsPath("C:\\out\\day.selections.txt")) == "raven"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("dog.wav", "C:\\sounds\\dog.wav"),
        ("deep/dog.wav", "C:\\sounds\\deep\\dog.wav"),
        ("deep\\dog.wav", "C:\\sounds\\deep\\dog.wav"),
        ("D:\\more\\rain.wav", "D:\\more\\rain.wav"),
        ("D:/more/rain.wav", "D:\\more\\rain.wav"),
    ],
)
def test_a_table_on_windows_finds_its_files(listed: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Windows(PureWindowsPath):
        def is_dir(self) -> bool:
            return True

    there = {"C:\\sounds\\dog.wav", "C:\\sounds\\deep\\dog.wav", "D:\\more\\rain.wav"}
    path = SimpleNamespace(**{**vars(ntpath), "isfile": lambda place: str(place) in there})
    monkeypatch.setattr(files, "os", SimpleNamespace(sep="\\", pardir="..", path=path))
    monkeypatch.setattr(files, "Path", Windows)
    folder: Any = Windows("C:\\sounds")
    tables: list[Any] = [folder / "table.csv"]
    assert list(map(str, files.find_files("table", [entry(listed)], tables, folder, False))) == [found]


def test_folders_of_a_table_from_windows_are_its_splits() -> None:
    told = _split_by_folder("table", [entry("train\\dog.wav"), entry("test\\dog.wav")])
    assert [one.split for one in told] == ["train", "test"]


def test_a_file_is_decoded_by_its_name_where_names_are_no_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "été.wav", np.full(800, 0.25), 16000)
    monkeypatch.setattr(decoding, "os", SimpleNamespace(**{**vars(os), "name": "nt"}))
    assert len(load_audio(tmp_path / "été.wav")) == 800


@pytest.mark.parametrize("system", ["win32", "linux"])
def test_where_c_has_no_streams_to_set_nothing_is_dropped(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "sys", SimpleNamespace(platform=system))
    monkeypatch.setattr(quiet, "platform", SimpleNamespace(libc_ver=lambda: ("", "")))
    streams = quiet._CStreams()
    streams.drop()
    streams.restore()
    assert streams.variables == [] and streams.users == 0


def test_cores_are_counted_where_nobody_says_which_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "os", SimpleNamespace(cpu_count=lambda: 3, environ={}))
    assert reading.usable_workers() == 3


@pytest.mark.parametrize("error", [ValueError("current limit exceeds maximum limit"), OSError(22, "Invalid argument")])
def test_the_server_starts_where_the_bound_on_files_cannot_be_raised(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    macos = SimpleNamespace(RLIMIT_NOFILE=8, getrlimit=lambda _: (256, 2**63 - 1), setrlimit=refuse)
    for module in (macos, None):  # Windows has none
        monkeypatch.setitem(sys.modules, "resource", module)
        running.allow_many_connections()


def test_results_are_closed_where_an_open_file_cannot_be_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "used by another process", str(path))

    with Output(tmp_path / "out.csv") as output:
        output.begin({}, resume=False)
        monkeypatch.setattr(Path, "unlink", refuse)
    monkeypatch.undo()
    with FileLock(tmp_path / "out.csv.lock", timeout=0) as lock:
        assert lock.is_locked


def test_windows_signals_are_real() -> None:
    assert {name for name in WINDOWS_SIGNALS - {"SIGBREAK"} if not hasattr(signal, name)} == set()
