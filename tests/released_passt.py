"""Small PaSSTs with random weights, in the layout of its released checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WIDTH, LABELS = 128, 5  # two heads of 64


def random_weight(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if len(shape) == 1 and name.endswith("weight"):  # of a layer norm
        return 1 + 0.2 * noise
    return 1.5 * noise / noise[0].numel() ** 0.5 if name.endswith("weight") else 0.5 * noise


def official_weights(stride: int = 10, frames: int = 998, depth: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under the names and shapes of a released checkpoint."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDTH),
        "dist_token": (1, 1, WIDTH),
        "new_pos_embed": (1, 2, WIDTH),
        "freq_new_pos_embed": (1, WIDTH, 128 // stride, 1),
        "time_new_pos_embed": (1, WIDTH, 1, frames // stride),
        "patch_embed.proj.weight": (WIDTH, 1, 16, 16),
        "patch_embed.proj.bias": (WIDTH,),
    }
    modules: dict[str, tuple[int, ...]] = {
        "norm": (WIDTH,),
        "head.0": (WIDTH,),
        "head.1": (LABELS, WIDTH),
        "head_dist": (LABELS, WIDTH),
    }
    for index in range(depth):
        block = f"blocks.{index}"
        modules |= {
            f"{block}.norm1": (WIDTH,),
            f"{block}.attn.qkv": (3 * WIDTH, WIDTH),
            f"{block}.attn.proj": (WIDTH, WIDTH),
            f"{block}.norm2": (WIDTH,),
            f"{block}.mlp.fc1": (4 * WIDTH, WIDTH),
            f"{block}.mlp.fc2": (WIDTH, 4 * WIDTH),
        }
    for module, shape in modules.items():
        shapes |= {f"{module}.weight": shape, f"{module}.bias": shape[:1]}
    generator = torch.Generator().manual_seed(seed)
    return {name: random_weight(name, shape, generator) for name, shape in shapes.items()}


def written(folder: Path, weights: Any) -> Path:
    torch.save(weights, folder / "passt.pt")
    return folder / "passt.pt"
