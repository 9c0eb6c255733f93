"""Processes that a launcher started: what one computes all get, and none waits for one that is gone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from running_scripts import ROOT, environment, free_port

from fastast_hf.tagging.processes import Processes

# Without the models, which take long to import.
START = """
import os, sys, types

package = sys.modules["fastast_hf"] = types.ModuleType("fastast_hf")
package.__path__ = ["fastast_hf"]
from fastast_hf.tagging.processes import Processes

try:
    with Processes() as processes:
        {body}
except OSError as error:
    print(error)
    sys.exit(2)
except ValueError as error:
    print("own:", error)
    sys.exit(3)
"""
GATHER = "print(processes.of_first(lambda: processes.rank + 7), processes.gather(processes.rank))"
GONE = "os._exit(9) if processes.rank == {gone} else processes.gather(1)"
FIRST_FAILS = "processes.of_first(lambda: int('x'))"
STOPPED = "another process has stopped: see its line, then go on with --resume"
CASES = [  # what both run, exit codes, what each prints
    (GATHER, [0, 0], ["7 [0, 1]", "7 [0, 1]"]),
    (GONE.format(gone=1), [2, 9], [STOPPED, ""]),
    (GONE.format(gone=0), [9, 2], ["", STOPPED]),
    (FIRST_FAILS, [3, 2], ["own: invalid literal", "the first process has stopped: see its line"]),
]


@pytest.mark.parametrize(("body", "codes", "said"), CASES)
def test_two_processes(body: str, codes: list[int], said: list[str]) -> None:
    launched = environment() | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", START.format(body=body)],
            env=launched | {"RANK": str(rank)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == codes
    for line, expected in zip(printed, said, strict=True):
        assert line.startswith(expected) and line.count("\n") == bool(expected)


def test_alone_there_is_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with Processes() as processes:
        assert (processes.rank, processes.count) == (0, 1)
        assert processes.gather("x") == ["x"]
        assert processes.of_first(lambda: 5) == 5
        with pytest.raises(ValueError, match="invalid literal"):
            processes.of_first(lambda: int("x"))
        assert processes.device() is None


@pytest.mark.parametrize(("gpus", "local_rank", "device"), [(4, "3", "cuda:3"), (2, "3", "cuda:1"), (0, "1", None)])
def test_each_process_has_a_gpu_of_its_own(
    gpus: int, local_rank: str, device: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", "7"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", local_rank)):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert Processes().device() == device
