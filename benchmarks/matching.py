"""Which tokens to merge: ToMe's matching beside others of its literature, at the same number of tokens in each layer.

    python benchmarks/matching.py RECORDINGS

Each way of matching takes the place of the package's own in a real model that was not trained for it. Compared are the
first labels kept and the KL divergence of scores from those of the unmerged model, and the time of a pass beside that
of ToMe's own matching, taken in turns. Every way merges the same r tokens in each layer, so that the rest of a pass
costs the same. Written from the papers' maths; of these, the package has ToMe's and hidden states.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm
from writing import write_rows

from fastast_hf.audio import find_audio
from fastast_hf.cli.tables import format_table
from fastast_hf.errors import what_to_do
from fastast_hf.loading.bundled import SPEECH_COMMANDS, bundled
from fastast_hf.merging.complexity import solve_tome_r
from fastast_hf.metrics.bootstrap import bootstrap_interval
from fastast_hf.model.layer_fastast import FastASTLayer
from fastast_hf.model.token_merging import MergePlan, capped_merges, match_tokens, merge_tokens
from fastast_hf.tagging.tagger import Tagger
from fastast_hf.tuning.clips import gathered
from fastast_hf.tuning.faithfulness import divergences, kept_and_kl
from fastast_hf.tuning.ways import Way

RESULTS = Path(__file__).parent / "results" / "matching"
FAR = -2.0  # below any cosine


@dataclass
class Seen:
    """What a layer knows when it has to choose.

    Attributes:
        layer: The layer.
        depth: Its index, of `layers`.
        before: Tokens (B, N, C) that enter it.
        hidden: The same after attention.
        keys: (B, heads, N, C / heads).
        size: (B, N) patches in each token.
        places: (B, N, 2) where its patches lie on average: frequency and time, in patches.
        r: Tokens to merge.
    """

    layer: Any
    depth: float
    before: Tensor
    hidden: Tensor
    keys: Tensor
    size: Tensor
    places: Tensor
    r: int


def matched(scores: Tensor, sources: Tensor, targets: Tensor, r: int, rank: Tensor | None = None) -> MergePlan:
    """The r sources of the highest rank, or best score, go to their best targets.

    Args:
        scores: (B, sources, targets).
        sources: (B, sources) their indices among the N tokens.
        targets: (B, targets) the same.
        r: How many.
        rank: (B, sources) what they are chosen by; None for their best scores.
    """
    best, where = scores.max(dim=-1)
    ranking = (best if rank is None else rank).argsort(dim=-1, descending=True, stable=True)
    kept = sources.gather(1, ranking[:, r:]).sort(dim=-1).values
    prefix = torch.arange(2, device=scores.device).expand(len(scores), -1)
    order = torch.cat([prefix, kept, targets], dim=1)
    chosen = where.gather(1, ranking[:, :r])
    return MergePlan(order, sources.gather(1, ranking[:, :r]), chosen + 2 + kept.shape[1])


def cosines(metric: Tensor) -> Tensor:
    """(B, N, N) of (B, N, D)."""
    unit = F.normalize(metric, dim=-1)
    return unit @ unit.transpose(1, 2)


def odd_and_even(seen: Seen) -> tuple[Tensor, Tensor]:
    """ToMe's two sets, of the patch tokens (B, …)."""
    index = torch.arange(seen.hidden.shape[1], device=seen.hidden.device).expand(len(seen.hidden), -1)
    return index[:, 2::2], index[:, 3::2]


def near(seen: Seen, frequency: float, span: float) -> MergePlan:
    """ToMe's matching among tokens at most so many patches from each other."""
    sources, targets = odd_and_even(seen)
    apart = (seen.places[:, 2::2, None] - seen.places[:, None, 3::2]).abs()
    far = (apart[..., 0] > frequency) | (apart[..., 1] > span)
    scores = cosines(seen.keys.sum(dim=1))[:, 2::2, 3::2].masked_fill(far, FAR)
    return matched(scores, sources, targets, seen.r)


def energy(seen: Seen) -> MergePlan:
    """PiToMe (Tran et al. 2024, §3.2): the tokens with the most like them are merged, the others are protected."""
    similar = cosines(seen.keys.sum(dim=1))[:, 2:, 2:]
    margin = 0.9 - 0.9 * seen.depth
    loud = torch.where(similar >= margin, similar, torch.exp(similar - margin) - 1).mean(dim=-1)
    ranking = loud.argsort(dim=-1, descending=True, stable=True)
    first, rest = ranking[:, : 2 * seen.r], ranking[:, 2 * seen.r :].sort(dim=-1).values
    sources, mates = first[:, ::2], first[:, 1::2]
    rows = torch.arange(len(similar), device=similar.device)[:, None, None]
    scores = similar[rows, sources[:, :, None], mates[:, None]]
    where = scores.argmax(dim=-1)
    prefix = torch.arange(2, device=similar.device).expand(len(similar), -1)
    order = torch.cat([prefix, rest + 2, mates + 2], dim=1)
    return MergePlan(order, sources + 2, where + 2 + rest.shape[1])


def heard_by_prefix(seen: Seen) -> Tensor:
    """(B, N − 2) attention of CLS and distillation token to each patch token, the mean over heads."""
    attention = seen.layer.attention
    normal = seen.layer.layernorm_before(seen.before[:, :2])
    heads = seen.keys.shape[1]
    query = attention.q_proj(normal).unflatten(-1, (heads, -1)).transpose(1, 2)
    weights = (query @ seen.keys.transpose(2, 3) / query.shape[-1] ** 0.5 + seen.size.log()[:, None, None]).softmax(-1)
    return weights.mean(dim=(1, 2))[:, 2:]


def least_heard(seen: Seen) -> MergePlan:
    """Of ToMe's even tokens those to which the prefix tokens attend least, each to the odd one most like it."""
    sources, targets = odd_and_even(seen)
    scores = cosines(seen.keys.sum(dim=1))[:, 2::2, 3::2]
    return matched(scores, sources, targets, seen.r, rank=-heard_by_prefix(seen)[:, ::2])


def each_head(seen: Seen) -> Tensor:
    """(B, N, C) whose cosine is the mean of the heads' cosines."""
    return F.normalize(seen.keys, dim=-1).transpose(1, 2).flatten(2)


def shuffled(seen: Seen, metric: Callable[[Seen], Tensor]) -> MergePlan:
    """ToMe's matching between two sets that are drawn anew in each layer."""
    patches = seen.hidden.shape[1] - 2
    drawn = torch.randperm(patches, generator=torch.Generator().manual_seed(patches)) + 2
    halves = [part.sort().values.expand(len(seen.hidden), -1) for part in drawn.tensor_split([(patches + 1) // 2])]
    similar = cosines(metric(seen))
    return matched(similar[:, halves[0][0]][:, :, halves[1][0]], *halves, seen.r)


def by(metric: Callable[[Seen], Tensor]) -> Callable[[Seen], MergePlan]:
    """ToMe's matching on another metric (B, N, D)."""
    return lambda seen: match_tokens(metric(seen), seen.r, seen.size)


def values(seen: Seen) -> Tensor:
    """(B, N, C) what attention takes from each token."""
    own: Tensor = seen.layer.attention.v_proj(seen.layer.layernorm_before(seen.before))
    return own


TOME = "keys (ToMe)"
WAYS: dict[str, Callable[[Seen], MergePlan]] = {
    TOME: by(lambda seen: seen.keys.sum(dim=1)),
    "keys of each head": by(each_head),
    "values": by(values),
    "hidden states": by(lambda seen: seen.hidden),
    "hidden states, normalised": by(lambda seen: seen.layer.layernorm_after(seen.hidden)),
    "keys, 1 patch in time (A-ToMe)": lambda seen: near(seen, torch.inf, 1.5),
    "keys, 2 patches in time and frequency": lambda seen: near(seen, 2.5, 2.5),
    "keys, sets drawn at random": lambda seen: shuffled(seen, lambda seen: seen.keys.sum(dim=1)),
    "keys of each head, sets drawn at random": lambda seen: shuffled(seen, each_head),
    "keys, energy protects (PiToMe)": energy,
    "keys, least attended first": least_heard,
    "least attended dropped": least_heard,
}
DROPPED = "least attended dropped"  # Lee & Lee 2025, and EViT: their values are lost


@contextlib.contextmanager
def matching(name: str, grid: tuple[int, int], layers: int) -> Iterator[None]:
    """All FastAST layers match by `WAYS[name]` inside."""
    state: dict[str, Any] = {}
    own = WAYS[name]

    def forward(
        self: Any,
        hidden_states: Tensor,
        token_size: Tensor | None = None,
        key_bias: Tensor | None = None,
        r: int = 0,
        return_assignment: bool = False,
        padded: bool = True,
        metric: str = "keys",
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, None]:
        if "places" not in state or hidden_states.shape[1] == grid[0] * grid[1] + 2:  # a new pass
            rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in grid), indexing="ij")
            patches = torch.stack([rows, columns], dim=-1).flatten(0, 1)
            state["places"] = F.pad(patches, (0, 0, 2, 0)).expand(len(hidden_states), -1, -1)
            state["depth"] = 0
        r = capped_merges(hidden_states.shape[1], r)
        merging = r > 0 or token_size is not None
        before = hidden_states
        hidden_states, keys = self.attend(hidden_states, key_bias, merging, **kwargs)
        if r > 0:
            if token_size is None:
                token_size = torch.ones(hidden_states.shape[:2])
            plan = own(
                Seen(self, state["depth"] / layers, before, hidden_states, keys, token_size, state["places"], r)
            )
            state["places"], _ = merge_tokens(state["places"], token_size, plan)
            if name == DROPPED:
                hidden_states = hidden_states.gather(1, plan.order[..., None].expand(-1, -1, hidden_states.shape[2]))
                token_size = token_size.gather(1, plan.order)
            else:
                hidden_states, token_size = merge_tokens(hidden_states, token_size, plan)
        state["depth"] += 1
        return self.feed_forward(hidden_states, merging), token_size, None

    with mock.patch.object(FastASTLayer, "forward", forward):
        yield


@dataclass(frozen=True, kw_only=True)
class Row:
    """A way of matching at a MAC ratio.

    Attributes:
        way: Its name.
        ratio: Of stock AST's MACs to these, without those of matching.
        r: Merged in each layer.
        kl: Mean divergence from the unmerged model's scores, in nats, with its 95 % interval over clips.
        beyond: Of the same clips, this divergence less ToMe's, with its interval: below 0 it is better.
        kept: Share of first labels kept.
        time: Of a pass, beside ToMe's in turns; None where it was not taken.
    """

    way: str
    ratio: float
    r: int
    kl: float
    kl_interval: tuple[float, float]
    beyond: float
    beyond_interval: tuple[float, float]
    kept: float
    time: float | None


def mean_with_interval(values: Any) -> tuple[float, tuple[float, float]]:
    """Of one number a clip."""
    low, high = bootstrap_interval(lambda counts: counts @ values / len(values), len(values))
    return float(values.mean()), (low, high)


def measured(model: str, recordings: Sequence[Path], ratios: Sequence[float], clips: int, turns: int) -> list[Row]:
    """Every way at each ratio."""
    tagger = Tagger(model, batch_size=16, device="cpu")
    config = tagger.model.config
    prepared = Way("float32", False, tagger).prepared(
        gathered(tagger, recordings, most=clips, seed=0, progress=False).windows
    )
    layers = config.num_hidden_layers
    unmerged = prepared.logits([0] * layers)
    rows: list[Row] = []
    with tqdm(total=len(ratios) * len(WAYS), unit="way") as bar:
        for ratio in ratios:
            r = solve_tome_r(config, ratio, "constant")
            merges = [r] * layers
            tome: Any = None
            for name in WAYS:
                with matching(name, config.patch_grid, layers):
                    logits = prepared.logits(merges)
                if name == TOME:  # the package's own, or all of this is for nothing
                    torch.testing.assert_close(logits, prepared.logits(merges), atol=1e-4, rtol=1e-4)
                kl = divergences(unmerged, logits, tagger.activation).numpy()
                tome = kl if name == TOME else tome
                mean, interval = mean_with_interval(kl)
                beyond, beyond_interval = mean_with_interval(kl - tome)
                kept = kept_and_kl(unmerged, logits, tagger.activation)[0]
                took = beside_tome(name, prepared, merges, turns) if turns else None
                rows.append(
                    Row(
                        way=name,
                        ratio=ratio,
                        r=r,
                        kl=mean,
                        kl_interval=interval,
                        beyond=beyond,
                        beyond_interval=beyond_interval,
                        kept=kept,
                        time=took,
                    )
                )
                bar.update()
    return rows


def beside_tome(name: str, prepared: Any, merges: list[int], turns: int) -> float:
    """The median of a pass' time over that of ToMe's just before."""
    config = prepared.way.tagger.model.config
    ratios = []
    for _ in range(turns):
        took = []
        for way in (TOME, name):
            with matching(way, config.patch_grid, len(merges)):
                start = time.perf_counter()
                prepared.logits(merges)
                took.append(time.perf_counter() - start)
        ratios.append(took[1] / took[0])
    return statistics.median(ratios)


def table(rows: Sequence[Row]) -> str:
    """KL in thousandths of a nat with what it is beyond ToMe's, first labels kept, and time beside ToMe's."""
    ratios = list(dict.fromkeys(row.ratio for row in rows))
    lines = []
    for way in dict.fromkeys(row.way for row in rows):
        cells = [way]
        for row in (row for row in rows if row.way == way):
            low, high = (1000 * bound for bound in row.beyond_interval)
            cells.append(f"{1000 * row.kl:.2f} ({low:+.2f} to {high:+.2f}), {row.kept:.1%}")
        times = [row.time for row in rows if row.way == way and row.time is not None]
        cells.append(f"{statistics.mean(times):.2f}" if times else "")
        lines.append(cells)
    headings = ["matching", *(f"MAC ratio {ratio:g}" for ratio in ratios), "time"]
    return format_table(headings, lines, align="l" + "r" * (len(ratios) + 1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", help="files and folders")
    parser.add_argument("--model", default=str(SPEECH_COMMANDS), metavar="ID", help="(default: speech-commands)")
    parser.add_argument("--ratios", type=float, nargs="+", default=[1.5, 2.0, 3.0, 4.0], metavar="X")
    parser.add_argument("--clips", type=int, default=400, help="(default: 400)")
    parser.add_argument("--turns", type=int, default=5, help="passes to time, 0 for none (default: 5)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args(arguments)
    file = args.output / f"{Path(args.model).name}.json"
    try:
        files = find_audio(args.recordings).files
        rows = measured(bundled(args.model), files, args.ratios, args.clips, args.turns)
    except (ValueError, OSError) as error:
        parser.error(what_to_do(error))
    write_rows(file, rows, model=Path(args.model).name, clips=args.clips)
    print(table(rows))
    print(file)


if __name__ == "__main__":
    main()
