"""Which search finds the best merges for each layer in a given number of trials, at equal arithmetic.

    python benchmarks/tuning_search.py RECORDINGS

Three searches share starts, clips and the number of lists that they may try: greedy layer by layer on a sensitivity
profile, hill climbing and a small evolutionary search. What is compared is the KL divergence of scores from those of
the unmerged model, on clips that no search has seen, beside the three fixed schedules. Every list takes the same MACs.
No time is measured, so that it does not matter what else the machine does.
"""

from __future__ import annotations

import argparse
import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm
from writing import write_rows

from fastast_hf.audio import find_audio
from fastast_hf.cli.tables import format_table
from fastast_hf.errors import what_to_do
from fastast_hf.loading.bundled import DEFAULT, bundled
from fastast_hf.loading.checkpoint import load_classifier
from fastast_hf.merging.complexity import solve_tome_r
from fastast_hf.metrics.bootstrap import bootstrap_interval
from fastast_hf.model.token_merging import merges_per_layer
from fastast_hf.tagging.tagger import Tagger
from fastast_hf.tuning.clips import gathered
from fastast_hf.tuning.faithfulness import divergences, kept_and_kl
from fastast_hf.tuning.search import OutOfTrials, Trials, hill_climbing, starts
from fastast_hf.tuning.ways import Prepared, Way

RESULTS = Path(__file__).parent / "results" / "tuning-search"
SCHEDULES = ("constant", "decreasing", "increasing")
PARENTS = 4


@dataclass(frozen=True, kw_only=True)
class Row:
    """A search, or a schedule, at a MAC ratio. KL in nats; of searches of the seed that is given.

    Attributes:
        way: The search or schedule.
        ratio: Of stock AST's MACs to these, wanted.
        reached: The same of the list that was found.
        seed: Of clips and search.
        trials: Lists tried.
        merges: The best of them.
        kl_searched: On the clips searched on.
        kl: On the held-out clips.
        kl_low: Of its 95 % interval over clips.
        kl_high: The same.
        kept: Share of first labels kept, on the held-out clips.
    """

    way: str
    ratio: float
    reached: float
    seed: int
    trials: int
    merges: list[int]
    kl_searched: float
    kl: float
    kl_low: float
    kl_high: float
    kept: float


def greedy(trials: Trials, layers: int, drawn: random.Random) -> None:
    """Layer by layer: start from a sensitivity profile, then raise or lower one layer after the other.

    The profile merges more in one layer alone, at the same MACs: where that costs much, the layer gets less.
    """
    constant = [1.0] * layers
    reference = trials(constant)
    profile = []
    for layer in range(layers):
        raised = [*constant]
        raised[layer] *= 2
        profile.append(trials(raised) / max(reference, 1e-12))
    trials([1 / max(cost, 0.1) for cost in profile])
    for start in starts(layers):
        trials(start)
    step = 2.0
    while trials.best is not None:
        before = trials.best[0]
        for layer in sorted(range(layers), key=lambda layer: profile[layer]):
            for factor in (step, 1 / step):
                weights = [*trials.best[1]]
                weights[layer] *= factor
                trials(weights)
        if trials.best[0] == before:
            step = step**0.5


def evolutionary(trials: Trials, layers: int, drawn: random.Random) -> None:
    """The best four of all have children: a layer's weight is from either parent, times a lognormal factor."""
    scored = [(trials(start), start) for start in starts(layers)]
    while True:
        scored = sorted(scored, key=lambda pair: pair[0])[:PARENTS]
        one, other = (drawn.choice(scored)[1] for _ in range(2))
        child = [drawn.choice(pair) * drawn.lognormvariate(0, 0.4) for pair in zip(one, other, strict=True)]
        scored.append((trials(child), child))


SEARCHES: dict[str, Callable[[Trials, int, random.Random], None]] = {
    "greedy": greedy,
    "hill climbing": hill_climbing,
    "evolutionary": evolutionary,
}


def rows_of(
    model: str, recordings: Sequence[Path], ratios: Sequence[float], seeds: int, trials: int, clips: int
) -> Iterator[list[Row]]:
    """All rows so far, after each ratio of each seed: every search and schedule, with other clips for each seed."""
    loaded = load_classifier(model)
    tagger = Tagger(loaded, batch_size=16, device="cpu")
    layers = loaded.config.num_hidden_layers
    rows: list[Row] = []
    way = Way("float32", False, tagger)
    places = [(seed, ratio) for seed in range(seeds) for ratio in ratios]
    with tqdm(places, unit="ratio") as bar:
        for seed, ratio in bar:
            found = gathered(tagger, recordings, most=clips, seed=seed, progress=False)
            halves = [way.prepared(half) for half in (found.windows[: found.split], found.windows[found.split :])]
            references = [half.logits([0] * layers) for half in halves]

            def loss(merges: list[int], half: Prepared = halves[0], reference=references[0]) -> float:  # noqa: ANN001
                return kept_and_kl(reference, half.logits(merges), tagger.activation)[1]

            lists: dict[str, tuple[list[int], float, int]] = {}
            for schedule in SCHEDULES:
                r = solve_tome_r(loaded.config, ratio, schedule)
                merges = merges_per_layer(r, layers, schedule)
                lists[schedule] = (merges, loss(merges), 1)
            for name, search in SEARCHES.items():
                tried = Trials(loss, halves[0].arithmetic, ratio, trials)
                with contextlib.suppress(OutOfTrials):
                    search(tried, layers, random.Random(seed))
                if tried.best is None:
                    raise ValueError(f"the ratio {ratio:g} is out of reach: give less")
                lists[name] = (tried.best[2], tried.best[0], len(tried.done))
            for name, (merges, searched, count) in lists.items():
                logits = halves[1].logits(merges)
                kl = divergences(references[1], logits, tagger.activation).numpy()
                low, high = bootstrap_interval(lambda counts, kl=kl: counts @ kl / len(kl), len(kl))
                rows.append(
                    Row(
                        way=name,
                        ratio=ratio,
                        reached=halves[1].arithmetic.ratio(merges),
                        seed=seed,
                        trials=count,
                        merges=merges,
                        kl_searched=searched,
                        kl=float(kl.mean()),
                        kl_low=low,
                        kl_high=high,
                        kept=kept_and_kl(references[1], logits, tagger.activation)[0],
                    )
                )
            yield rows


def table(rows: Sequence[Row]) -> str:
    """Mean KL over seeds, held out, in thousandths of a nat, with the range over seeds."""
    ratios = list(dict.fromkeys(row.ratio for row in rows))
    lines = []
    for way in dict.fromkeys(row.way for row in rows):
        cells = []
        for ratio in ratios:
            own = [row for row in rows if (row.way, row.ratio) == (way, ratio)]
            values = [1000 * row.kl for row in own]
            kept = 100 * sum(row.kept for row in own) / len(own)
            mean = sum(values) / len(values)
            cells.append(f"{mean:.2f} ({min(values):.2f} to {max(values):.2f}), {kept:.1f} %")
        lines.append([way, *cells])
    return format_table(["way", *(f"MAC ratio {ratio:g}" for ratio in ratios)], lines, align="l" + "r" * len(ratios))


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, print, and write as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", help="files and folders")
    parser.add_argument("--model", default=DEFAULT, metavar="ID", help="(default: the bundled one)")
    parser.add_argument("--ratios", type=float, nargs="+", default=[2.0, 3.0, 4.0], metavar="X")
    parser.add_argument("--seeds", type=int, default=3, help="searches, each with other clips (default: 3)")
    parser.add_argument("--trials", type=int, default=60, help="lists that a search may try (default: 60)")
    parser.add_argument("--clips", type=int, default=128, help="half of them to search on (default: 128)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args(arguments)
    rows: list[Row] = []
    file = args.output / f"{Path(args.model).name}.json"
    try:
        files = find_audio(args.recordings).files
        for rows in rows_of(str(bundled(args.model)), files, args.ratios, args.seeds, args.trials, args.clips):
            write_rows(file, rows, model=Path(args.model).name, clips=args.clips)
    except (ValueError, OSError) as error:
        parser.error(what_to_do(error))
    print(table(rows))
    print(file)


if __name__ == "__main__":
    main()
