"""Schedules, plans, merge maps and position tables: what holds for any numbers."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from properties_settings import PROPERTY
from torch import Tensor

from fastast_hf.model.patch_grid import resize_position_embeddings, token_mask
from fastast_hf.model.token_merging import (
    SCHEDULES,
    capped_merges,
    match_tokens,
    merge_assignment,
    merge_tokens,
    merges_per_layer,
    tokens_per_layer,
)

seeds = st.integers(0, 2**32 - 1)


@st.composite
def clips(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, int]:
    """Keys, some of them equal or zero; hidden states; sizes, 0 for padding where there is any; and an r."""
    generator = torch.Generator().manual_seed(draw(seeds))
    batch, tokens = draw(st.integers(1, 3)), draw(st.integers(4, 40))
    keys = torch.randn(batch, tokens, 8, generator=generator)
    kinds = draw(st.integers(1, tokens))
    if draw(st.booleans()):
        keys = keys[:, torch.randint(kinds, (tokens,), generator=generator)]
    keys[:, torch.rand(tokens, generator=generator) < draw(st.sampled_from([0.0, 0.2]))] = 0
    sizes = torch.randint(draw(st.integers(0, 1)), 5, (batch, tokens), generator=generator).float()
    sizes[:, :2] = 1
    hidden = torch.randn(batch, tokens, 3, generator=generator, dtype=torch.float64)
    return keys, hidden, sizes, draw(st.integers(1, capped_merges(tokens, tokens)))


@PROPERTY
@given(st.integers(0, 2000), st.integers(1, 48), st.sampled_from(SCHEDULES))
def test_a_schedule_merges_as_much_in_all_as_the_constant_one(r: int, layers: int, schedule: str) -> None:
    merges = merges_per_layer(r, layers, schedule)
    assert len(merges) == layers
    # Rounding gives two layers that mirror each other one token more at most.
    assert r * layers <= sum(merges) <= r * layers + layers // 2
    assert merges == {"constant": merges, "decreasing": sorted(merges)[::-1], "increasing": sorted(merges)}[schedule]
    assert merges_per_layer(merges, layers, schedule) == merges


@PROPERTY
@given(st.integers(3, 3000), st.lists(st.integers(0, 500), min_size=1, max_size=24))
def test_layers_lose_what_they_merge_and_never_more_than_half(tokens: int, merges: list[int]) -> None:
    entering = tokens_per_layer(tokens, merges)
    for before, after, asked in zip(entering, entering[1:], merges, strict=False):
        assert before - after == min(asked, (before - 2) // 2)
        assert after >= 3


@PROPERTY
@given(clips(), st.booleans())
def test_a_plan_keeps_the_prefix_and_the_order_and_loses_no_token(
    clip: tuple[Tensor, Tensor, Tensor, int], with_sizes: bool
) -> None:
    keys, _, sizes, r = clip
    batch, tokens, _ = keys.shape
    plan = match_tokens(keys, r, sizes if with_sizes else None)
    for order, merged, target in zip(*(own.tolist() for own in plan), strict=True):
        assert sorted(order + merged) == list(range(tokens)) and len(merged) == r
        assert order[:2] == [0, 1]
        even, odd = [t for t in order[2:] if t % 2 == 0], [t for t in order[2:] if t % 2]
        assert order[2:] == sorted(even) + sorted(odd)
        assert odd == list(range(3, tokens, 2))  # only even tokens are merged away, and into odd ones
        assert all(order[place] % 2 and order[place] > 1 for place in target)
    alone = [match_tokens(keys[k : k + 1], r, sizes[k : k + 1] if with_sizes else None) for k in range(batch)]
    for together, apart in zip(plan, map(torch.cat, zip(*alone, strict=True)), strict=True):
        assert torch.equal(together, apart)


@PROPERTY
@given(clips())
def test_a_merge_keeps_sizes_sums_and_the_prefix(clip: tuple[Tensor, Tensor, Tensor, int]) -> None:
    keys, hidden, sizes, r = clip
    plan = match_tokens(keys, r, sizes)
    merged, merged_sizes = merge_tokens(hidden, sizes, plan)
    assert torch.equal(merged_sizes.sum(dim=1), sizes.sum(dim=1))
    assert torch.equal(merged[:, :2], hidden[:, :2]) and torch.equal(merged_sizes[:, :2], sizes[:, :2])
    weighted = [(own * size.unsqueeze(-1)).sum(dim=1) for own, size in ((hidden, sizes), (merged, merged_sizes))]
    torch.testing.assert_close(*weighted, atol=1e-4, rtol=1e-6)
    real = sizes > 0
    low, high = (hidden.masked_fill(~real.unsqueeze(-1), fill) for fill in (torch.inf, -torch.inf))
    kept = merged[merged_sizes > 0]
    assert (kept >= low.amin(dim=(0, 1)) - 1e-6).all() and (kept <= high.amax(dim=(0, 1)) + 1e-6).all()


@PROPERTY
@given(seeds, st.integers(4, 60), st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_merge_maps_of_layers_lead_every_patch_to_one_token_of_its_size(
    seed: int, tokens: int, merges: list[int]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden, sizes = torch.randn(2, tokens, 4, generator=generator), torch.ones(2, tokens)
    where = torch.arange(tokens).repeat(2, 1)
    for r in merges:
        if capped := capped_merges(hidden.shape[1], r):
            plan = match_tokens(hidden, capped, sizes)
            hidden, sizes = merge_tokens(hidden, sizes, plan)
            where = merge_assignment(plan).gather(1, where)
    assert (where[:, :2] == torch.arange(2)).all()
    counts = torch.zeros_like(sizes).scatter_add_(1, where, torch.ones(2, tokens))
    assert torch.equal(counts, sizes)


@PROPERTY
@given(*[st.integers(1, 14)] * 4, seeds)
def test_a_position_table_keeps_its_prefix_its_range_and_its_middle(
    frequency: int, time: int, new_frequency: int, new_time: int, seed: int
) -> None:
    table = torch.randn(1, 2 + frequency * time, 3, generator=torch.Generator().manual_seed(seed))
    resized = resize_position_embeddings(table, (frequency, time), (new_frequency, new_time))
    assert resized.shape == (1, 2 + new_frequency * new_time, 3)
    assert torch.equal(resized[:, :2], table[:, :2])
    assert table[:, 2:].amin() - 1e-5 <= resized[:, 2:].amin() <= resized[:, 2:].amax() <= table[:, 2:].amax() + 1e-5
    if new_frequency <= frequency and new_time <= time:
        rows, columns = frequency // 2 - new_frequency // 2, time // 2 - new_time // 2
        grid = table[:, 2:].reshape(1, frequency, time, 3)
        middle = grid[:, rows : rows + new_frequency, columns : columns + new_time]
        assert torch.equal(resized[:, 2:], middle.flatten(1, 2))


@PROPERTY
@given(st.integers(1, 6), st.integers(1, 16), st.integers(1, 16), st.integers(0, 60), seeds)
def test_a_token_is_real_where_one_of_its_frames_is(rows: int, patch: int, stride: int, more: int, seed: int) -> None:
    frames = patch + more
    columns = (frames - patch) // stride + 1
    mask = torch.randint(2, (2, frames), generator=torch.Generator().manual_seed(seed))
    tokens = token_mask(mask, (rows, columns), patch, stride)
    by_hand = [[float(clip[c * stride : c * stride + patch].any()) for c in range(columns)] for clip in mask]
    assert tokens[:, :2].eq(1).all()
    assert tokens[:, 2:].reshape(2, rows, columns).tolist() == [[clip] * rows for clip in by_hand]
