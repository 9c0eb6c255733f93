"""`fastast train`: launches training/run_finetune.py through accelerate."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from ..errors import PROGRAM, OneLineParser, heard_signals, with_hyphens

# Accelerate's options that are told from the script's own by their names; its config file takes all of them.
LAUNCH_OPTIONS = (
    "--config-file",
    "--num-processes",
    "--num-machines",
    "--machine-rank",
    "--main-process-ip",
    "--main-process-port",
    "--gpu-ids",
)
_TORCHS = {  # torch's launcher's own names of them
    "--num-machines": "--nnodes",
    "--machine-rank": "--node-rank",
    "--main-process-ip": "--master-addr",
    "--main-process-port": "--master-port",
}


def add_parser(commands: Any) -> None:
    """Add `train` to the commands."""
    add_launcher(commands, "train", "run_finetune.py", "train a model on labelled sound, on one device or many")


def add_launcher(commands: Any, name: str, script: str, what: str) -> None:
    """Add a command that launches a script, to which all its arguments go; `what` is its help."""
    parser = commands.add_parser(name, add_help=False, help=what)

    def run(args: argparse.Namespace) -> int:
        os.environ[PROGRAM] = f"fastast {name}"
        return launch(script, args.rest)

    parser.set_defaults(run=run, takes_the_rest=True)


def launch(script: str, arguments: list[str]) -> int:
    """Run a training script under accelerate.

    Args:
        script: In the folder of training scripts.
        arguments: The script's, and among them those of accelerate that are in `LAUNCH_OPTIONS`.

    Returns:
        The script's exit code.
    """
    from ..training.recipes import HELP, scripts_folder

    path = str(scripts_folder() / script)
    if asked := [argument for argument in arguments if argument in HELP]:
        code = subprocess.run([sys.executable, path, asked[0]], check=False).returncode
        print(f"\nSeveral processes or machines (accelerate launch has more):\n  {' '.join(LAUNCH_OPTIONS)}")
        return code
    from accelerate.commands.config.config_args import default_config_file
    from accelerate.commands.launch import launch_command, launch_command_parser

    shared, own = split_arguments(arguments)
    given = dict(zip(shared[::2], shared[1::2], strict=True))
    processes = given.get("--num-processes", "1")
    if processes != "1" and ("--use-cpu" in own or not _devices(0)):
        # Accelerate's launcher would start one, without a word.
        here = int(processes) // int(given.get("--num-machines", 1))
        options = [part for name, its in _TORCHS.items() if name in given for part in (its, given[name])]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(here), *options]
        with _signals_passed_on():
            return _exit_code(subprocess.run([*launcher, path, *own], check=False).returncode)
    if "--config-file" not in shared and not Path(default_config_file).is_file():
        # What accelerate would choose, and then warn of having chosen.
        for option, value in (("--num-processes", _devices()), ("--num-machines", 1)):
            shared += [] if option in shared else [option, str(value)]
        shared += ["--mixed-precision", "no", "--dynamo-backend", "no"]  # the script's --bf16 and --torch-compile
    try:
        with _signals_passed_on():
            launch_command(launch_command_parser().parse_args([*shared, path, *own]))
    except subprocess.CalledProcessError as error:
        return _exit_code(error.returncode)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@contextlib.contextmanager
def _signals_passed_on() -> Iterator[None]:
    """Pass the signals that end this process on to those started within, and wait for them to end.

    They have a session of their own, so that a terminal's Ctrl-C reaches them once. Signals that are ignored, as by
    nohup, stay ignored.
    """
    import psutil

    def pass_on(number: int, frame: Any) -> None:
        children = psutil.Process().children()
        if not children:
            raise SystemExit(128 + number)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)

    heard = heard_signals("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
    before = {number: signal.signal(number, pass_on) for number in heard}
    in_own_session = functools.partial(subprocess.Popen, start_new_session=True)
    try:
        with mock.patch.object(subprocess, "Popen", in_own_session):  # which accelerate has no option for
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_code(returned: int) -> int:
    """As a shell has it: 128 and the signal that ended a process."""
    return returned if returned >= 0 else 128 - returned


def split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Accelerate's arguments and the script's.

    Example:
        >>> split_arguments(["--fold", "1", "--num-processes", "2"])
        (['--num-processes', '2'], ['--fold', '1'])
    """
    parser = OneLineParser(add_help=False, allow_abbrev=False)
    for option in LAUNCH_OPTIONS:
        parser.add_argument(option)
    known, own = parser.parse_known_args(arguments)
    given = [(f"--{name}", value) for name, value in vars(known).items() if value is not None]
    return with_hyphens([part for option in given for part in option]), own


def _devices(least: int = 1) -> int:
    import torch

    return max(least, torch.cuda.device_count())
