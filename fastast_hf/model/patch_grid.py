"""AST's grid of patches: position embeddings for another length, and which patches are padding."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .token_merging import NUM_PREFIX_TOKENS


def resize_position_embeddings(table: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Cut the middle out of a position table, or interpolate it, as AST does (Gong et al. 2021, §2.2).

    An axis that gets shorter is cut around its centre; one that gets longer is interpolated bilinearly, time first.
    The prefix tokens keep their positions.

    Args:
        table: (1, 2 + frequency * time, C), frequency-major.
        grid: Patches along (frequency, time) that the table was made for.
        new_grid: Patches along (frequency, time) wanted.

    Returns:
        (1, 2 + new frequency * new time, C).

    Example:
        >>> resize_position_embeddings(torch.zeros(1, 2 + 12 * 101, 8), (12, 101), (12, 50)).shape
        torch.Size([1, 602, 8])
    """
    prefix, patches = table[:, :NUM_PREFIX_TOKENS], table[:, NUM_PREFIX_TOKENS:]
    plane = patches.transpose(1, 2).unflatten(2, grid)  # (1, C, frequency, time)
    for axis in (3, 2):
        size, new_size = plane.shape[axis], new_grid[axis - 2]
        if new_size < size:
            plane = plane.narrow(axis, size // 2 - new_size // 2, new_size)
        elif new_size > size:
            shape = [plane.shape[2], plane.shape[3]]
            shape[axis - 2] = new_size
            plane = F.interpolate(plane.float(), shape, mode="bilinear", align_corners=False).to(table.dtype)
    return torch.cat([prefix, plane.flatten(2).transpose(1, 2)], dim=1)


def token_mask(frame_mask: Tensor, grid: tuple[int, int], patch_size: int, time_stride: int) -> Tensor:
    """Which tokens are real, given which frames are: a patch is padding when all of its frames are.

    Args:
        frame_mask: (B, T), not 0 where the frame is of the clip.
        grid: Patches along (frequency, time).
        patch_size: Frames that a patch covers.
        time_stride: Frames from one patch to the next.

    Returns:
        (B, 2 + frequency * time) float32, 1 for real tokens (the prefix always is) and 0 for padding.
    """
    columns = F.max_pool1d((frame_mask != 0).float().unsqueeze(1), patch_size, time_stride)  # (B, 1, time)
    patches = columns.expand(-1, grid[0], -1).flatten(1)
    return F.pad(patches, (NUM_PREFIX_TOKENS, 0), value=1.0)
