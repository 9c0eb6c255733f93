"""`fastast train` hands signals to the process that trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from running_scripts import environment

PROGRAM = """
import sys
from pathlib import Path
from fastast_hf.cli import train
from fastast_hf.training import recipes

recipes.scripts_folder = lambda: Path(sys.argv[1])
sys.exit(train.launch("trains.py", []))
"""
TRAINS = """
import os, signal, sys, time
from pathlib import Path

heard = []

def stop(number, frame):
    heard.append(number)
    time.sleep(0.5)  # to save
    sys.exit(128 + number if len(heard) == 1 else 99)

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, stop)
Path(sys.argv[0]).with_name("begun").write_text(str(os.getpid()))
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., tuple[subprocess.Popen, int]]:
    """Starts `fastast train`: its process, and the number of the one that trains."""

    def start(*before: str) -> tuple[subprocess.Popen, int]:
        (tmp_path / "trains.py").write_text(TRAINS)
        command = [*before, sys.executable, "-c", PROGRAM, str(tmp_path)]
        process = subprocess.Popen(command, env=environment(), start_new_session=True)
        deadline = time.monotonic() + 300
        while not (tmp_path / "begun").is_file() or not (tmp_path / "begun").read_text():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        return process, int((tmp_path / "begun").read_text())

    return start


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_a_signal_to_fastast_train_reaches_the_training_once_and_ends_it_first(
    send: Callable[[int, int], None], number: int, start: Callable[..., tuple[subprocess.Popen, int]]
) -> None:
    process, training = start()
    send(process.pid, number)
    assert process.wait(60) == 128 + number
    assert not psutil.pid_exists(training)


@pytest.mark.slow
def test_training_under_nohup_goes_on_when_the_terminal_is_closed(
    start: Callable[..., tuple[subprocess.Popen, int]],
) -> None:
    process, training = start("nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None and psutil.pid_exists(training)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
