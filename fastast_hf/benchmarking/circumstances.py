"""The columns that all rows of one clip length share: the machine, the versions and the settings."""

from __future__ import annotations

import platform
import re
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers

from ..merging.complexity import complexity
from ..model.modeling_fastast import FastASTForAudioClassification
from .candidates import for_length


def shared_columns(
    model: FastASTForAudioClassification, model_name: str | None, num_frames: int, batch_size: int
) -> dict[str, Any]:
    """The columns that all rows of one clip length share."""
    num_parameters = sum(parameter.numel() for parameter in for_length(model, num_frames).parameters())
    return {
        "model": model_name or model.config.name_or_path or "in memory",
        "params_m": num_parameters / 1e6,
        "frames": num_frames,
        "batch_size": batch_size,
        "device": model.device.type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "tokens_in": complexity(model.config, 0, num_frames=num_frames).tokens_out,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "processor": processor_name(model.device),
        "date": date.today().isoformat(),
    }


def checkpoint_name(checkpoint: str) -> str:
    """A Hub id as it is, a local checkpoint by its folder's name alone.

    Example:
        >>> checkpoint_name("MIT/ast-finetuned-audioset-10-10-0.4593")
        'MIT/ast-finetuned-audioset-10-10-0.4593'
    """
    return Path(checkpoint).resolve().name if Path(checkpoint).is_dir() else checkpoint


def processor_name(device: torch.device) -> str:
    """What a CPU or GPU calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu_info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.+)", cpu_info.read_text()) if cpu_info.is_file() else None
    return named.group(1).strip() if named else platform.processor() or platform.machine()
