"""Where a model computes, and in which numbers."""

from __future__ import annotations

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def usable_device(device: str | torch.device | None = None) -> torch.device:
    """The device that is named, or by default a GPU where there is one.

    Raises:
        ValueError: An unknown name, no such GPU, or torch built without any.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        probe = torch.zeros(1, device=device)
        probe.item()  # which `meta` cannot
        return probe.device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        if reason.startswith("Expected one of"):  # and then come all that torch has ever heard of
            reason = "there is none of that name"
        names = "cpu or cuda" if torch.cuda.is_available() else "cpu"
        raise ValueError(f"device {device!s} can't be used here ({reason}): give {names}") from error


def half_precision(device: torch.device) -> torch.dtype:
    """The dtype of two bytes that a device computes fast in; float32 where there is none.

    Example:
        >>> half_precision(torch.device("cpu")) in (torch.bfloat16, torch.float32)
        True
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        # Without instructions of its own, half precision on a CPU is slower than float32.
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.float32
