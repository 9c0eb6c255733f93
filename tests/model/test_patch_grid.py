"""Positions for other lengths, cut or interpolated as AST does, and which tokens a frame mask leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fastast_hf.model.modeling_fastast import FastASTForAudioClassification
from fastast_hf.model.patch_grid import resize_position_embeddings, token_mask

CUTS = [
    # frames, columns cut out of the 12 x 101 grid of 1024 frames (AST's rule: from 50 - half to 50 - half + length)
    (512, slice(25, 75)),
    (128, slice(44, 56)),
    (1014, slice(0, 100)),
    (1004, slice(1, 100)),
    (16, slice(50, 51)),
]


def table(frequency: int = 12, time: int = 101, width: int = 6) -> Tensor:
    return torch.randn(1, 2 + frequency * time, width, generator=torch.Generator().manual_seed(0))


def plane(positions: Tensor, frequency: int) -> Tensor:
    """(1, 2 + frequency * time, C) to (frequency, time, C)."""
    return positions[0, 2:].reshape(frequency, -1, positions.shape[-1])


def interpolated(values: Tensor, length: int) -> Tensor:
    """Linear interpolation of (n, C) to (length, C), pixel centres aligned as in align_corners=False, by hand."""
    rows = []
    for i in range(length):
        at = min(max((i + 0.5) * len(values) / length - 0.5, 0), len(values) - 1)
        low = int(at)
        high = min(low + 1, len(values) - 1)
        rows.append(values[low] + (values[high] - values[low]) * (at - low))
    return torch.stack(rows)


@pytest.mark.parametrize(("frames", "columns"), CUTS)
def test_shorter_clips_get_the_middle_columns(frames: int, columns: slice) -> None:
    old, time = table(), (frames - 16) // 10 + 1
    new = resize_position_embeddings(old, (12, 101), (12, time))
    assert torch.equal(plane(new, 12), plane(old, 12)[:, columns])
    assert torch.equal(new[:, :2], old[:, :2])


@pytest.mark.parametrize(
    ("size", "new_size", "columns"), [(12, 5, slice(4, 9)), (24, 13, slice(6, 19)), (5, 4, slice(0, 4))]
)
def test_an_odd_cut_leans_to_the_left(size: int, new_size: int, columns: slice) -> None:
    old = table(frequency=3, time=size)
    assert torch.equal(plane(resize_position_embeddings(old, (3, size), (3, new_size)), 3), plane(old, 3)[:, columns])


def test_fewer_mel_bins_get_the_middle_rows() -> None:
    old = table(frequency=24, time=24)  # the grid of the image model that AST starts from
    new = resize_position_embeddings(old, (24, 24), (12, 12))
    assert torch.equal(plane(new, 12), plane(old, 24)[6:18, 6:18])


@pytest.mark.parametrize("time", [102, 150, 205])
def test_longer_clips_are_interpolated(time: int) -> None:
    old = table()
    new = resize_position_embeddings(old, (12, 101), (12, time))
    expected = torch.stack([interpolated(row, time) for row in plane(old, 12)])
    torch.testing.assert_close(plane(new, 12), expected, rtol=0, atol=1e-4)
    assert torch.equal(new[:, :2], old[:, :2])


def test_one_axis_may_grow_while_the_other_is_cut() -> None:
    old = table(frequency=24, time=24)
    new = resize_position_embeddings(old, (24, 24), (12, 101))
    longer = F.interpolate(plane(old, 24).permute(2, 0, 1)[None], (24, 101), mode="bilinear", align_corners=False)
    assert torch.equal(plane(new, 12), longer[0].permute(1, 2, 0)[6:18])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_same_grid_gives_the_same_table(dtype: torch.dtype) -> None:
    old = table().to(dtype)
    assert torch.equal(resize_position_embeddings(old, (12, 101), (12, 101)), old)
    assert resize_position_embeddings(old, (12, 101), (12, 130)).dtype == dtype


@pytest.mark.parametrize("frames", [16, 64, 118, 127, 200, 333])
def test_a_clip_of_another_length_equals_a_model_set_to_that_length(
    frames: int,
    make_fastast: Callable[..., FastASTForAudioClassification],
    spectrogram: Callable[..., Tensor],
) -> None:
    clip = spectrogram(frames=frames)
    with torch.no_grad():
        at_run_time = make_fastast(tome_r=3)(clip).logits
        other = make_fastast(tome_r=3)
        other.set_max_length(frames)
        assert torch.equal(other(clip).logits, at_run_time)
    assert other.config.max_length == frames
    positions = other.audio_spectrogram_transformer.embeddings.position_embeddings
    assert isinstance(positions, torch.nn.Parameter)
    assert positions.requires_grad


@pytest.mark.parametrize(("patch", "stride"), [(16, 10), (16, 16), (8, 5)])
@pytest.mark.parametrize("frames", [128, 133])
def test_a_token_is_padding_when_all_of_its_frames_are(patch: int, stride: int, frames: int) -> None:
    mask = torch.zeros(4, frames, dtype=torch.int64)
    mask[0], mask[1, :50], mask[2, 70:75] = 1, 1, 1
    time = (frames - patch) // stride + 1
    columns = [[bool(row[t * stride : t * stride + patch].any()) for t in range(time)] for row in mask]
    expected = [[True, True, *(3 * row)] for row in columns]
    assert token_mask(mask, (3, time), patch, stride).bool().tolist() == expected
    assert torch.equal(token_mask(mask.bool(), (3, time), patch, stride), token_mask(mask, (3, time), patch, stride))
