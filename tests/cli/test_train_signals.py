"""`fastast train` hands signals to the process that trains."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
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

def stop(number, frame):
    time.sleep(0.5)  # to save
    sys.exit(143)

signal.signal(signal.SIGTERM, stop)
Path(sys.argv[0]).with_name("begun").write_text(str(os.getpid()))
time.sleep(60)
"""


@pytest.mark.slow
def test_a_signal_to_fastast_train_ends_the_training_first(tmp_path: Path) -> None:
    (tmp_path / "trains.py").write_text(TRAINS)
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment())
    deadline = time.monotonic() + 300
    while not (tmp_path / "begun").is_file() or not (tmp_path / "begun").read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert not psutil.pid_exists(int((tmp_path / "begun").read_text()))
