"""How much memory a training step takes beyond the weights and the optimizer's state.

On a GPU torch counts it. On a CPU a fresh process of its own makes one step, and what is read is the most memory that
it ever held (`VmHWM`, Linux) less what it held before that step. The process is new because what an earlier step left
behind would be used again and not be seen; `ru_maxrss` will not do, because a child starts with its parent's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from ..model.configuration_fastast import FastASTConfig
from ..model.modeling_fastast import FastASTForAudioClassification
from .training_step import TrainingStep

_STATUS = Path("/proc/self/status")
_CHILD = "import sys, fastast_hf.benchmarking.memory as m; m.measure_here(sys.argv[1])"


def step_bytes(step: TrainingStep, tome_r: int | None, schedule: str = "constant") -> int | None:
    """Bytes that one training step takes at its peak, on top of weights and moments: activations and gradients.

    Args:
        step: As it would be run. On a GPU it is; on a CPU its like is, on random weights in a process of its own.
        tome_r: Tokens merged in every layer; None for stock AST.
        schedule: How they are spread over the layers.

    Returns:
        None on a device, or a system, that does not count it.

    Raises:
        RuntimeError: The process failed; for want of memory, as a rule.
    """
    device = step.model.device
    if device.type == "cuda":
        forward = step.forward_pass(tome_r, schedule)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step(forward)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu" or _held("VmHWM") is None:
        return None
    return _in_new_process(
        {
            "config": step.model.config.to_dict(),
            "num_frames": step.input_values.shape[1],
            "batch_size": step.input_values.shape[0],
            "attn": step.model.config._attn_implementation,
            "dtype": str(step.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "tome_r": tome_r,
            "schedule": schedule,
        }
    )


def measure_here(settings_json: str) -> None:
    """Print the bytes of one step, of the settings that [`step_bytes`] hands over; for a process that does no more."""
    settings: dict[str, Any] = json.loads(settings_json)
    torch.set_num_threads(settings["threads"])
    # A step of a tiny model first, so that libraries' code and threads are there before anything is counted.
    tiny = FastASTConfig(num_hidden_layers=1, hidden_size=48, num_attention_heads=1, intermediate_size=48)
    _make_step({**settings, "config": tiny.to_dict(), "num_frames": 64, "batch_size": 1})
    print(_make_step(settings))


def _make_step(settings: dict[str, Any]) -> int:
    """Bytes by which this process' peak is above what it held before a step.

    It is the step's own peak, because building held less: the weights, moments and gradients that the step's update
    needs all at once as well.
    """
    model = FastASTForAudioClassification(FastASTConfig.from_dict(settings["config"]))
    dtype = getattr(torch, settings["dtype"])
    step = TrainingStep(model, settings["num_frames"], settings["batch_size"], settings["attn"], dtype)
    forward = step.forward_pass(settings["tome_r"], settings["schedule"])
    before = _held("VmRSS") or 0
    step(forward)
    return (_held("VmHWM") or 0) - before


def _in_new_process(settings: dict[str, Any]) -> int:
    package_parent = str(Path(__file__).resolve().parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")])),
        # Has glibc give every tensor's memory back when it is freed: what is held is then what is in use.
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }
    command = [sys.executable, "-c", _CHILD, json.dumps(settings)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise RuntimeError(f"the process that measures a training step's memory failed: {reason[0]}")
    return int(done.stdout.split()[-1])


def _held(field: str) -> int | None:
    """Bytes of this process' memory: `VmRSS`, held now, or `VmHWM`, the most that it has held; None where unknown."""
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text()) if _STATUS.is_file() else None
    return 1024 * int(found.group(1)) if found else None
