"""`fastast serve`: what it refuses before anything listens; tests/serving has what it answers."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from running_scripts import environment

from fastast_hf.cli.main import main

REFUSED = [
    (["--workers", "0"], "--workers is 0: give 1 or more"),
    (["--queue", "0"], "--queue is 0: give 1 or more"),
    (["--max-bytes", "0"], "--max-bytes is 0: give 1 or more"),
    (["--timeout", "nan"], "--timeout is nan: give 1 or more"),
    (["--port", "65536"], "--port is 65536: give one from 0 to 65535"),
    (["--model", "nowhere"], "nowhere"),
    (["--api-key-file", "gone"], "gone"),
    (["--api-key-file", "empty"], "empty holds no key: give a file with one on a line"),
    (["--batch-size", "0"], "--batch-size is 0"),
    (["--host", "no.such.host.invalid", "--port", "0"], "cannot listen at no.such.host.invalid, port 0"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_misuse_is_one_line_and_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("\n")
    assert main(["serve", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("fastast serve: ") and said in err


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    assert f"cannot listen at 127.0.0.1, port {port} (Address already in use" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("fastast_hf.serving.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve"]) == 2
    assert (
        capsys.readouterr().err
        == "fastast serve: this needs uvicorn: in a clone of fastast_hf, pip install '.[serve]'\n"
    )


def test_nothing_of_the_server_is_imported_by_anything_else() -> None:
    code = (
        "import sys, fastast_hf, fastast_hf.cli.main, fastast_hf.serving.handler; fastast_hf.Tagger; "
        "assert not {'fastapi', 'uvicorn', 'starlette', 'prometheus_client'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0
