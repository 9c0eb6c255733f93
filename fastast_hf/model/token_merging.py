"""Token Merging for AST as pure functions on tensors: which tokens to merge, merging them, and where they went.

Written from the maths of *Token Merging: Your ViT But Faster* (ToMe, Bolya et al., ICLR 2023, §3) as *FastAST*
(Behera et al., Interspeech 2024, §2) applies it. AST has two prefix tokens, CLS at 0 and distillation at 1, which
are never merged and never move.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

NUM_PREFIX_TOKENS = 2
SCHEDULES = ("constant", "decreasing", "increasing")


class MergePlan(NamedTuple):
    """Who is merged into whom, for a batch of B clips whose N tokens become N - r.

    Attributes:
        order: (B, N - r) for each token that stays, its index among the N, in the order of the output.
        merged: (B, r) the index among the N of each token that is merged away.
        target: (B, r) the output index of the token that takes it in.
    """

    order: Tensor
    merged: Tensor
    target: Tensor


def merges_per_layer(tome_r: int | Sequence[int], num_layers: int, schedule: str = "constant") -> list[int]:
    """Merges asked of each layer, before the 50 % cap.

    `decreasing` goes linearly from 2 r in the first layer to 0 in the last and `increasing` the other way (ToMe §3),
    rounded to the nearest, so that as many tokens are merged in all as by `constant`, or a few more (at most one for
    two layers); a list is taken as it stands.

    Raises:
        ValueError: negative r, a list of another length than the layers, or an unknown schedule.

    Example:
        >>> merges_per_layer(8, 4), merges_per_layer(8, 4, "decreasing")
        ([8, 8, 8, 8], [16, 11, 5, 0])
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"tome_schedule is {schedule!r}: choose one of {', '.join(SCHEDULES)}")
    if isinstance(tome_r, Sequence) and not isinstance(tome_r, str):
        if len(tome_r) != num_layers:
            raise ValueError(
                f"tome_r lists {len(tome_r)} numbers for {num_layers} layers: give one per layer, or one int"
            )
        merges = list(tome_r)
    elif isinstance(tome_r, Integral) and not isinstance(tome_r, bool):
        merges = [tome_r] * num_layers
    else:
        raise ValueError(f"tome_r is {tome_r!r}: give an int, or a list of one int per layer")
    if any(not isinstance(r, Integral) or isinstance(r, bool) or r < 0 for r in merges):
        raise ValueError(f"tome_r is {tome_r!r}: the tokens to merge in a layer are a whole number, 0 or more")
    merges = [int(r) for r in merges]
    if isinstance(tome_r, Integral) and schedule != "constant" and num_layers > 1:
        last = num_layers - 1
        merges = [(4 * merges[0] * (last - layer) + last) // (2 * last) for layer in range(num_layers)]
        if schedule == "increasing":
            merges.reverse()
    return merges


def capped_merges(num_tokens: int, r: int) -> int:
    """Merges that a layer of `num_tokens` tokens really makes: at most half of its patch tokens."""
    return max(0, min(r, (num_tokens - NUM_PREFIX_TOKENS) // 2))


def tokens_per_layer(num_tokens: int, merges: Sequence[int]) -> list[int]:
    """Tokens entering each layer and, last, tokens left at the end: one more number than layers.

    Example:
        >>> tokens_per_layer(146, [40] * 4)
        [146, 106, 66, 34, 18]
    """
    tokens = [num_tokens]
    for r in merges:
        tokens.append(tokens[-1] - capped_merges(tokens[-1], r))
    return tokens


def match_tokens(metric: Tensor, r: int, token_size: Tensor | None = None) -> MergePlan:
    """Choose the r pairs of most similar tokens (bipartite soft matching, ToMe §3).

    Even tokens each propose their most similar odd token by cosine; the r best proposals are accepted. The output
    order is ToMe's: CLS, distillation, the even tokens that stay, in order, then the odd ones, in order. It decides
    who meets whom in the next layer. Ties go to the lowest index.

    Args:
        metric: (B, N, D) what similarity is measured on: the keys' mean over the heads, or, the same to a cosine,
            their sum; or the tokens themselves.
        r: How many tokens to merge away: at least 1, at most `capped_merges(N, r)`.
        token_size: (B, N) patches in each token. A token of size 0 is padding: it is merged away first, and real
            tokens turn to it only when nothing else is left.

    Example:
        >>> match_tokens(torch.eye(6).roll(1, 0)[None], r=2).order
        tensor([[0, 1, 3, 5]])
    """
    # The choice carries no gradient; the merged values do.
    metric = F.normalize(metric.detach(), dim=-1, eps=torch.finfo(metric.dtype).tiny)  # the default is 0 in fp16
    # CLS (0) and distillation (1) stay out of it: the one proposes to nobody, the other is nobody's choice.
    if token_size is None:
        scores = metric[:, 2::2] @ metric[:, 3::2].transpose(1, 2)
        best_score = scores.amax(dim=-1)
    else:
        # Cosines lie in [-1, 1]: a target at -2 is worse than any real one, and a source at 2 better. The -2 is added
        # within the product, because torch 2.11's inductor finds wrong maxima on CPU where it fuses a mask with max.
        padding = token_size == 0
        metric = metric.masked_fill(padding.unsqueeze(-1), 0)
        offset = -2 * padding[:, None, 3::2].to(metric.dtype)
        scores = torch.baddbmm(offset, metric[:, 2::2], metric[:, 3::2].transpose(1, 2))
        best_score = scores.amax(dim=-1).masked_fill(padding[:, 2::2], 2)
    ranking = best_score.argsort(dim=-1, descending=True, stable=True)

    batch, num_tokens, _ = metric.shape
    index = torch.arange(num_tokens, device=metric.device).expand(batch, -1)
    ranked = index[:, 2::2].gather(1, ranking)
    merged, kept = ranked[:, :r], ranked[:, r:].sort(dim=-1).values
    # A maximum that tells where it is takes four times as long, so that it is asked of the accepted proposals alone.
    accepted = scores.flatten(0, 1).index_select(0, _flat(ranking[:, :r], scores.shape[1]))
    best_odd = accepted.argmax(dim=-1).view(batch, r)
    order = torch.cat([index[:, :2], kept, index[:, 3::2]], dim=1)
    return MergePlan(order=order, merged=merged, target=best_odd + (2 + kept.shape[1]))


def merge_tokens(hidden_states: Tensor, token_size: Tensor, plan: MergePlan) -> tuple[Tensor, Tensor]:
    """Replace each group of merged tokens by its mean, weighted by size (ToMe §3, "tracking token size").

    Args:
        hidden_states: (B, N, C).
        token_size: (B, N) float32, patches in each token; 0 for padding, which has no weight.
        plan: From [`match_tokens`].

    Returns:
        (B, N - r, C) and (B, N - r).
    """
    source_size = token_size.gather(1, plan.merged)
    new_size = token_size.gather(1, plan.order).scatter_add_(1, plan.target, source_size)
    # Sizes are whole numbers, so the clamp acts only where padding meets padding, and there keeps 0 / 0 away.
    weight = source_size / new_size.gather(1, plan.target).clamp(min=1)

    # A group's mean is its target plus the sum of weight * (source - target): only the rows that take part are
    # touched again, and equal tokens stay exactly equal.
    batch, num_tokens, channels = hidden_states.shape
    rows = hidden_states.reshape(batch * num_tokens, channels)
    kept = rows.index_select(0, _flat(plan.order, num_tokens))
    source = rows.index_select(0, _flat(plan.merged, num_tokens))
    target = _flat(plan.target, num_tokens - plan.merged.shape[1])
    shift = (source - kept.index_select(0, target)).mul_(weight.to(hidden_states.dtype).view(-1, 1))
    return kept.index_add_(0, target, shift).view(batch, -1, channels), new_size


def merge_assignment(plan: MergePlan) -> Tensor:
    """For each of the N tokens before a merge, its index (B, N) among the N - r after it."""
    batch, num_after = plan.order.shape
    assignment = plan.order.new_empty(batch, num_after + plan.merged.shape[1])
    assignment.scatter_(1, plan.order, torch.arange(num_after, device=plan.order.device).expand(batch, -1))
    return assignment.scatter_(1, plan.merged, plan.target)


def attention_bias(token_size: Tensor, proportional: bool = True) -> Tensor:
    """What to add to the scores of each key: log(size), which is -inf for padding (ToMe eq. 1).

    Args:
        token_size: (B, N).
        proportional: False leaves real tokens alone and only takes padding out.

    Returns:
        (B, N), in float32.
    """
    return (token_size if proportional else token_size.clamp(max=1)).log()


def fold_bias_into_heads(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Carry a per-key bias in extra head dimensions, for attention kernels that take no bias.

    The query gets a constant and the key the bias, so that their product is the bias; the value gets zeros, to be cut
    off again. In half precision the bias goes in as a rounded part and its remainder, which keeps it exact to twice
    the digits. Eight dimensions are added, because flash kernels want a multiple of eight.

    Args:
        query: (B, H, N, D), like key and value.
        key: (B, H, N, D).
        value: (B, H, N, D).
        bias: (B, N) float32; -inf takes a key out.
        scaling: What the kernel multiplies scores with.

    Returns:
        The three of (B, H, N, D + 8).
    """
    # A finite stand-in for -inf, safe in fp16 and in a backward pass: exp(-1e4) is 0 all the same.
    bias = bias.clamp(min=-1e4)
    rounded = bias.to(key.dtype)
    remainder = (bias - rounded.float()).to(key.dtype)
    folded = torch.stack([rounded, remainder], dim=-1)[:, None].expand(*key.shape[:-1], 2)
    constant = torch.full_like(folded, 1 / scaling)
    query = F.pad(torch.cat([query, constant], dim=-1), (0, 6))
    key = F.pad(torch.cat([key, folded], dim=-1), (0, 6))
    return query, key, F.pad(value, (0, 8))


def _flat(index: Tensor, num_tokens: int) -> Tensor:
    """Indices (B, M) into each clip's tokens as (B * M,) into all clips' rows.

    Copying whole rows by one index each is ten times as fast on a CPU as a gather by an expanded index.
    """
    if index.shape[0] == 1:  # two operators less, which is what counts for a single clip
        return index.view(-1)
    offset = torch.arange(0, index.shape[0] * num_tokens, num_tokens, device=index.device)
    return (index + offset.unsqueeze(1)).view(-1)
