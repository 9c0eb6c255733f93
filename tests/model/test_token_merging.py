"""Matching and merging against the loop-written reference, and what every merge must leave alone."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from torch import Tensor

from fastast_hf.model.token_merging import (
    MergePlan,
    attention_bias,
    capped_merges,
    fold_bias_into_heads,
    match_tokens,
    merge_assignment,
    merge_tokens,
    merges_per_layer,
    tokens_per_layer,
)

SCHEDULES = [
    # r, layers, schedule, merges in each layer ; the schedules merge as many in all
    (8, 12, "constant", [8] * 12),
    (8, 12, "decreasing", [16, 15, 13, 12, 10, 9, 7, 6, 4, 3, 1, 0]),
    (8, 12, "increasing", [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16]),
    (5, 1, "decreasing", [5]),
    (0, 4, "increasing", [0, 0, 0, 0]),
    ([3, 0, 7], 3, "constant", [3, 0, 7]),
    ([3, 0, 7], 3, "decreasing", [3, 0, 7]),
]
TOKENS_AFTER = [
    # tokens of 10, 5 and 1 s at AST's strides; r; tokens after the merge of each of 12 layers
    (1214, 20, [1214 - 20 * n for n in range(1, 13)]),
    (1214, 40, [1214 - 40 * n for n in range(1, 13)]),
    (602, 40, [602 - 40 * n for n in range(1, 13)]),
    (146, 5, [146 - 5 * n for n in range(1, 13)]),
    (146, 10, [146 - 10 * n for n in range(1, 13)]),
    (146, 15, [131, 116, 101, 86, 71, 56, 41, 26, 14, 8, 5, 4]),
    (146, 20, [126, 106, 86, 66, 46, 26, 14, 8, 5, 4, 3, 3]),
    (146, 25, [121, 96, 71, 46, 24, 13, 8, 5, 4, 3, 3, 3]),
    (146, 30, [116, 86, 56, 29, 16, 9, 6, 4, 3, 3, 3, 3]),
    (146, 35, [111, 76, 41, 22, 12, 7, 5, 4, 3, 3, 3, 3]),
    (146, 40, [106, 66, 34, 18, 10, 6, 4, 3, 3, 3, 3, 3]),
]
COUNTS = range(3, 41)


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_sizes(batch: int, num_tokens: int, seed: int = 0) -> Tensor:
    sizes = torch.randint(1, 6, (batch, num_tokens), generator=torch.Generator().manual_seed(seed)).float()
    sizes[:, :2] = 1
    return sizes


def tied_keys(num_tokens: int, kinds: int) -> Tensor:
    """Keys of few kinds, each many times. Entries of ±1 in 16 dimensions: their cosines have no rounding error."""
    generator = torch.Generator().manual_seed(kinds)
    patterns = torch.randint(0, 2, (kinds, 16), generator=generator) * 2.0 - 1
    return patterns[torch.randint(0, kinds, (num_tokens,), generator=generator)][None]


def groups(plan: MergePlan, clip: int = 0) -> list[frozenset[int]]:
    """For each token after a merge, the tokens before it that are in it."""
    assignment = merge_assignment(plan)[clip].tolist()
    return [frozenset(i for i, to in enumerate(assignment) if to == after) for after in range(plan.order.shape[1])]


def reference_merge(keys: Tensor, values: Tensor, sizes: Tensor, r: int) -> list[reference.Token]:
    tokens = reference.new_tokens(values.numpy(), sizes.tolist())
    return reference.merge(
        tokens, reference.choose_pairs(keys.numpy(), tokens, reference.allowed_merges(len(keys), r))
    )


@pytest.mark.parametrize(("r", "layers", "schedule", "expected"), SCHEDULES)
def test_schedule_spreads_r_over_the_layers(
    r: int | list[int], layers: int, schedule: str, expected: list[int]
) -> None:
    assert merges_per_layer(r, layers, schedule) == expected


@pytest.mark.parametrize(("num_tokens", "r", "expected"), TOKENS_AFTER)
def test_tokens_per_layer_follow_r_and_the_cap(num_tokens: int, r: int, expected: list[int]) -> None:
    assert tokens_per_layer(num_tokens, [r] * 12) == [num_tokens, *expected]


@pytest.mark.parametrize("num_tokens", COUNTS)
def test_merging_equals_the_reference(num_tokens: int) -> None:
    keys, values = random_tensor(2, num_tokens, 8), random_tensor(2, num_tokens, 5, seed=1)
    sizes = random_sizes(2, num_tokens)
    cap = capped_merges(num_tokens, num_tokens)
    assert cap == reference.allowed_merges(num_tokens, num_tokens)
    for r in sorted({1, 2, cap // 2, cap - 1, cap, cap + 1, 3 * num_tokens}):
        if capped_merges(num_tokens, r) < 1:
            continue
        plan = match_tokens(keys.float(), capped_merges(num_tokens, r), sizes)
        merged, new_sizes = merge_tokens(values.float(), sizes, plan)
        for clip in range(2):
            expected = reference_merge(keys[clip], values[clip], sizes[clip], r)
            assert set(groups(plan, clip)) == {token.members for token in expected}
            assert groups(plan, clip) == [token.members for token in expected]  # in the same order
            assert new_sizes[clip].tolist() == [token.size for token in expected]
            np.testing.assert_allclose(merged[clip], [token.value for token in expected], rtol=0, atol=1e-5)
        assert torch.equal(new_sizes.sum(1), sizes.sum(1))


@pytest.mark.parametrize("num_tokens", COUNTS)
@pytest.mark.parametrize("kinds", [1, 2, 4])
def test_ties_go_to_the_lowest_index(num_tokens: int, kinds: int) -> None:
    keys, sizes = tied_keys(num_tokens, kinds), torch.ones(1, num_tokens)
    for r in range(1, capped_merges(num_tokens, num_tokens) + 1):
        plan = match_tokens(keys, r)
        assert groups(plan) == [token.members for token in reference_merge(keys[0], keys[0], sizes[0], r)]


@pytest.mark.parametrize("num_tokens", [21, 40, 50])
@pytest.mark.parametrize("merges", [[4, 4, 4, 4], [40, 40, 40, 40, 40, 40], [2, 9, 1, 30]])
def test_several_merges_in_a_row_equal_the_reference(num_tokens: int, merges: list[int]) -> None:
    values, sizes = random_tensor(1, num_tokens, 6), torch.ones(1, num_tokens)
    tokens, where = reference.new_tokens(values[0].numpy()), torch.arange(num_tokens)[None]
    for r in merges:
        r = capped_merges(values.shape[1], r)
        if r == 0:
            continue
        plan = match_tokens(values, r, sizes)
        where = merge_assignment(plan).gather(1, where)
        values, sizes = merge_tokens(values, sizes, plan)
        keys = np.stack([token.value for token in tokens])
        tokens = reference.merge(tokens, reference.choose_pairs(keys, tokens, reference.allowed_merges(len(keys), r)))
        members = [frozenset((where[0] == i).nonzero().flatten().tolist()) for i in range(values.shape[1])]
        assert members == [token.members for token in tokens]
        assert sizes[0].tolist() == [token.size for token in tokens]
        np.testing.assert_allclose(values[0], [token.value for token in tokens], rtol=0, atol=1e-6)
    assert sizes.sum() == num_tokens


def test_prefix_tokens_stay_untouched_at_0_and_1() -> None:
    keys, values, sizes = torch.ones(1, 30, 4), random_tensor(1, 30, 3).float(), torch.ones(1, 30)
    keys[0, 2:] *= torch.linspace(1, 2, 28)[:, None]  # all cosines are 1: CLS and distillation are as similar as any
    for r in range(15):
        merged, new_sizes = merge_tokens(values, sizes, match_tokens(keys, r))
        assert torch.equal(merged[:, :2], values[:, :2])
        assert new_sizes[0, :2].tolist() == [1, 1]


def test_output_order_is_prefix_then_even_then_odd_tokens() -> None:
    keys = torch.eye(16)[None, :11].clone()
    keys[0, 4], keys[0, 8] = keys[0, 5], keys[0, 3]  # 4 joins 5, 8 joins 3
    plan = match_tokens(keys, 2)
    assert plan.order.tolist() == [[0, 1, 2, 6, 10, 3, 5, 7, 9]]
    assert sorted(zip(plan.merged[0].tolist(), plan.target[0].tolist(), strict=True)) == [(4, 6), (8, 5)]


@pytest.mark.parametrize("num_tokens", [3, 4, 5, 10, 11])
def test_cap_is_half_of_the_patch_tokens(num_tokens: int) -> None:
    assert capped_merges(num_tokens, 100) == (num_tokens - 2) // 2
    assert capped_merges(num_tokens, 0) == 0
    assert [capped_merges(n, 5) for n in (0, 1, 2)] == [0, 0, 0]


@pytest.mark.parametrize(
    "padded", [[4, 5, 6], [2, 8, 9, 10], list(range(12, 24)), list(range(4, 24)), list(range(2, 24))]
)
@pytest.mark.parametrize("num_tokens", [24, 25])
def test_padding_is_merged_away_first_and_weighs_nothing(padded: list[int], num_tokens: int) -> None:
    keys, values = random_tensor(1, num_tokens, 8), random_tensor(1, num_tokens, 3, seed=1)
    sizes = random_sizes(1, num_tokens)
    sizes[0, padded] = 0
    values[0, padded] = 1e6
    for r in range(1, capped_merges(num_tokens, num_tokens) + 1):
        plan = match_tokens(keys, r, sizes)
        merged, new_sizes = merge_tokens(values, sizes, plan)
        gone = plan.merged[0].tolist()
        assert 0 not in gone
        even_padding = [i for i in padded if i % 2 == 0]
        assert gone[: len(even_padding)] == even_padding[:r]  # padding first, the lowest index first
        assert torch.isfinite(merged).all()
        expected = reference_merge(keys[0], values[0], sizes[0], r)
        for token, group, value in zip(expected, groups(plan), merged[0], strict=True):
            assert token.members - set(padded) == group - set(padded)
            if token.size > 0:
                np.testing.assert_allclose(value, token.value, rtol=0, atol=1e-6)
        # All real tokens weigh together what they did before.
        before = (values * sizes[..., None]).sum(1)
        torch.testing.assert_close((merged * new_sizes[..., None]).sum(1), before, rtol=0, atol=1e-5)


def test_real_tokens_turn_to_padding_only_when_nothing_else_is_left() -> None:
    keys, sizes = random_tensor(1, 12, 4), torch.ones(1, 12)
    keys[0, 2::2], keys[0, 5::2] = keys[0, 3], -keys[0, 3]
    sizes[0, 3] = 0  # the perfect match of every even token is padding, and all else is its opposite
    assert all(len(group) == 1 for group in groups(match_tokens(keys, 5, sizes)) if 3 in group)
    sizes[0, 3::2] = 0
    merged, new_sizes = merge_tokens(keys, sizes, match_tokens(keys, 5, sizes))
    assert torch.isfinite(merged).all()
    assert new_sizes.sum() == sizes.sum()


@pytest.mark.parametrize("padded", [[4, 5, 6], [3, 5, 7, 9, 11], list(range(3, 12))])
def test_keys_of_padding_do_not_matter(padded: list[int]) -> None:
    sizes = torch.ones(1, 12)
    sizes[0, padded] = 0
    keys = random_tensor(1, 12, 4)
    expected = match_tokens(keys, 5, sizes)
    keys[0, padded] = random_tensor(len(padded), 4, seed=1)
    assert all(torch.equal(one, other) for one, other in zip(match_tokens(keys, 5, sizes), expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_zero_keys_are_as_similar_as_orthogonal_ones(dtype: torch.dtype) -> None:
    keys = torch.eye(8).repeat_interleave(2, dim=0)[None].to(dtype)  # 2 and 3 are alike, 4 and 5, and so on
    keys[0, 6] = 0
    plan = match_tokens(keys, 7)
    assert plan.merged[0].tolist()[-1] == 6  # every other even token has its like; only 6 has none
    merged, _ = merge_tokens(keys, torch.ones(1, 16), match_tokens(torch.zeros_like(keys), 7))
    assert torch.isfinite(merged).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_equal_tokens_stay_exactly_equal(dtype: torch.dtype) -> None:
    values = random_tensor(1, 1, 6).to(dtype).expand(1, 33, 6)
    merged, _ = merge_tokens(values, random_sizes(1, 33), match_tokens(random_tensor(1, 33, 4), 15))
    assert torch.equal(merged, values[:, :18])
    assert merged.dtype == dtype


def test_sizes_stay_exact_in_half_precision() -> None:
    values, sizes = random_tensor(1, 40, 4).bfloat16(), torch.full((1, 40), 301.0)
    _, new_sizes = merge_tokens(values, sizes, match_tokens(values, 19))
    assert new_sizes.dtype == torch.float32
    assert new_sizes.sum() == 40 * 301


def test_gradients_flow_through_merged_values_and_not_through_the_choice() -> None:
    keys = random_tensor(2, 11, 4).requires_grad_()
    values, sizes = random_tensor(2, 11, 3, seed=1).requires_grad_(), random_sizes(2, 11)
    plan = match_tokens(keys, 4, sizes)
    assert torch.autograd.gradcheck(lambda x: merge_tokens(x, sizes, plan)[0], values)
    merge_tokens(values, sizes, plan)[0].sum().backward()
    assert keys.grad is None
    assert (values.grad > 0).all()


def test_attention_bias_is_log_size_and_takes_padding_out() -> None:
    sizes = torch.tensor([[1.0, 3.0, 0.0]])
    torch.testing.assert_close(attention_bias(sizes).exp(), sizes)
    assert attention_bias(sizes, proportional=False).tolist() == [[0, 0, -torch.inf]]


@pytest.mark.parametrize("head_dim", [16, 24, 64])
def test_folded_bias_is_an_additive_mask(head_dim: int) -> None:
    query, key, value = random_tensor(3, 2, 4, 20, head_dim)
    bias = attention_bias(torch.arange(40).reshape(2, 20) % 7)  # some are padding
    scaling = head_dim**-0.5
    expected = (query @ key.mT * scaling + bias[:, None, None]).softmax(-1) @ value
    for dtype, additive_too in ((torch.float64, 1e-6), (torch.bfloat16, None), (torch.float16, None)):
        q, k, v = query.to(dtype), key.to(dtype), value.to(dtype)
        folded = fold_bias_into_heads(q, k, v, bias, scaling)
        assert [x.shape[-1] for x in folded] == [head_dim + 8] * 3
        out = torch.nn.functional.scaled_dot_product_attention(*folded, scale=scaling)
        assert not out[..., head_dim:].any()
        carried = (folded[0][..., head_dim:].double() @ folded[1][..., head_dim:].double().mT) * scaling
        if head_dim != 24:  # whose square root the halves round
            expected_bias = bias.clamp(min=-1e4)[:, None, None].expand_as(carried).double()
            torch.testing.assert_close(carried, expected_bias, rtol=2e-5, atol=1e-7)
        error = (out[..., :head_dim].double() - expected).abs().max()
        mask = bias[:, None, None].to(dtype)
        masked = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
        assert error <= (additive_too or 1.25 * (masked.double() - expected).abs().max())
