"""The training scripts as a user runs them: in a process of their own, or their `main` here."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
TIMEOUT = 400  # seconds, for a machine that does something else as well
CPU = ["--use_cpu", "--report_to", "none", "--disable_tqdm", "true"]
STATISTICS = ["--mean", "-5", "--std", "4"]
# A student of two layers on clips of 0.64 s: 32 patches and two prefix tokens.
SMALL_MODEL = ["--hidden_size", "24", "--layers", "2", "--stride", "16", "--frames", "64"]
SMALL = [*SMALL_MODEL, *STATISTICS, *CPU, "--per_device_train_batch_size", "4", "--learning_rate", "1e-3"]


def command(script: str, *arguments: object) -> list[str]:
    """Of a script in `training`."""
    return [sys.executable, str(ROOT / "training" / script), *map(str, arguments)]


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return in_new_process(command(script, *arguments))


def run_in_two(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`fastast NAME …` in two processes that gloo connects."""
    launch = ["--num_processes", "2", "--main_process_port", str(free_port())]
    return in_new_process([sys.executable, "-m", "fastast_hf.cli.main", name, *launch, *map(str, arguments)])


def run_until(file: Path, script: str, *arguments: object) -> None:
    """Kill the script as soon as it has written a file."""
    process = subprocess.Popen(
        command(script, *arguments), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + TIMEOUT
    while not file.is_file():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def check_killed_equals_whole(
    script: str, settings: Sequence[object], killed_at: int, folder: Path
) -> tuple[Path, Path]:
    """Train without a stop, and killed at a checkpoint and resumed: check that both end with the same weights.

    Args:
        script: Of training.
        settings: All but the output folder.
        killed_at: Step of the checkpoint.
        folder: For both runs.

    Returns:
        The output folders of the run without a stop and of the other.
    """
    whole, killed = folder / "whole", folder / "killed"
    done = run(script, *settings, "--output_dir", whole)
    assert done.returncode == 0, done.stderr
    # Of all that is in a checkpoint it is written last.
    run_until(killed / f"checkpoint-{killed_at}" / "complete.json", script, *settings, "--output_dir", killed)
    assert not (killed / "results.json").is_file()
    resumed = run(script, *settings, "--output_dir", killed, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    expected, made = (load_file(out / "model.safetensors") for out in (whole, killed))
    assert expected.keys() == made.keys()
    for name, weight in expected.items():
        assert torch.equal(weight, made[name]), name
    return whole, killed


def in_new_process(command: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command, with `variables` in its environment."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=environment() | variables,
        timeout=TIMEOUT,
        stdin=subprocess.DEVNULL,
    )


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def load_script(name: str) -> ModuleType:
    """A script in `training` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "training" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
