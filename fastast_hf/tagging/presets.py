"""Three ways to trade exactness for speed: `exact`, `balanced` and `fast`."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..loading.devices import DTYPES, half_precision
from ..model.configuration_fastast import FastASTConfig
from ..model.token_merging import merges_per_layer
from .int8 import int8_works

INT8 = "int8"
PRESET_SCHEDULE = "decreasing"  # which saves most


@dataclass(frozen=True)
class Preset:
    """What a preset stands for; each part can still be set by itself.

    Attributes:
        dtypes: The first of these that the device is fast in.
        native_length: Whether recordings shorter than the model's input stay so.
        merged: The share of a clip's patches that checkpoints which merge nothing by themselves merge away, most of
            them in the first layers; checkpoints with a `tome_r` keep to it.
    """

    dtypes: tuple[str, ...]
    native_length: bool
    merged: float


PRESETS = {
    "exact": Preset(("float32",), native_length=False, merged=0.0),
    "balanced": Preset(("half",), native_length=False, merged=0.5),
    # r = 40 for a clip of 5 s through AST-base: the most that the paper merges.
    "fast": Preset((INT8, "half"), native_length=True, merged=0.8),
}


def preset_named(name: str) -> Preset:
    """The preset of a name.

    Raises:
        ValueError: There is none.

    Example:
        >>> preset_named("fast").merged
        0.8
    """
    if name not in PRESETS:
        raise ValueError(f"preset is {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def resolved_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """A dtype by its name, `torch.int8` for linear layers in 8 bits.

    Raises:
        ValueError: An unknown dtype, or int8 is asked for where it can't run.

    Example:
        >>> resolved_dtype("float16", torch.device("cpu"))
        torch.float16
    """
    names = (*DTYPES, INT8)
    if not isinstance(dtype, torch.dtype):
        if dtype not in names:
            raise ValueError(f"dtype is {dtype!r}: choose one of {', '.join(names)}")
        dtype = torch.int8 if dtype == INT8 else DTYPES[dtype]
    if dtype is torch.int8 and device.type != "cpu":
        raise ValueError(f"int8 is not available on {device}: give the device cpu (--device cpu), or another dtype")
    if dtype is torch.int8 and not has_int8(device):
        raise ValueError(f"int8 is not available on {device} here; it needs an x86 processor with VNNI: try bfloat16")
    return dtype


def fast_dtype(preset: Preset, device: torch.device) -> torch.dtype:
    """What a preset computes in on a device.

    Example:
        >>> fast_dtype(PRESETS["exact"], torch.device("cpu"))
        torch.float32
    """
    if INT8 in preset.dtypes and has_int8(device):
        return torch.int8
    return half_precision(device) if "half" in preset.dtypes else torch.float32


def has_int8(device: torch.device) -> bool:
    """Whether a device can run linear layers in 8 bits."""
    return device.type == "cpu" and int8_works()


def merges_of_share(
    config: FastASTConfig, share: float, num_frames: int, schedule: str = PRESET_SCHEDULE
) -> list[int]:
    """Merges for each layer that take away a share of a clip's patches (ToMe §3).

    Args:
        config: Of the model.
        share: Of the patches, 0 to 1. The 50 % cap may leave more.
        num_frames: The clip's length.
        schedule: How they are spread over the layers.

    Example:
        >>> merges_of_share(FastASTConfig(), 0.8, 512)[:3]
        [80, 73, 65]
    """
    frequency, time = config.patch_grid_of(num_frames)
    layers = config.num_hidden_layers
    return merges_per_layer(round(share * frequency * time / layers), layers, schedule)
