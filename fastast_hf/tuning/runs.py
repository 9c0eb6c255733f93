"""What is tried out: a model in all ways with the clips, timed and scored."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import monotonic
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from ..benchmarking.rounds import interleaved_rounds, timed
from ..model.modeling_fastast import FastASTForAudioClassification
from ..tagging.tagger import Tagger
from .clips import Clips
from .faithfulness import Faithfulness, faithfulness, kept_and_kl
from .records import Plan, Record
from .search import OutOfTrials, Trials, hill_climbing
from .ways import Prepared, Way, taggers

logger = logging.getLogger(__name__)

EXACT = "float32"
RUNGS = (1.5, 2.0, 3.0, 4.0, 6.0)  # MAC ratios searched where no speed-up is asked for
MARGIN = 1.05  # what a list is to reach above the speed-up asked for, for clocks are not that sure
TIMED_CLIPS = 4
BATCH_SIZES = (1, 4, 8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way to run the model, with what it gains and what it costs.

    Attributes:
        merges: Of each layer.
        found_by: `"unmerged"`, `"constant"` or `"search"`.
        dtype: By its name.
        native_length: Whether clips keep their own length.
        mac_ratio: MACs without merging at this length over those with it.
        speedup: The unmerged model's time, in float32 and padded, over this one's: the median over rounds.
        speedup_range: The lowest and highest of the rounds.
        searched_kept: Share of first labels kept on the clips that were searched on.
        searched_kl: KL divergence on them.
        held_out: Of the other half of the clips.
    """

    merges: list[int]
    found_by: str
    dtype: str
    native_length: bool
    mac_ratio: float
    speedup: float
    speedup_range: tuple[float, float]
    searched_kept: float
    searched_kl: float
    held_out: Faithfulness


class Run:
    """A model in all ways that are tried, with the clips, and the unmerged scores."""

    def __init__(
        self,
        exact: Tagger,
        model: FastASTForAudioClassification,
        clips: Clips,
        dtypes: Sequence[str],
        rounds: int,
        progress: bool | None,
    ) -> None:
        self.layers = model.config.num_hidden_layers
        self.activation, self.device = exact.activation, exact.device
        self.clips, self.rounds, self.hidden = clips, rounds, None if progress is None else not progress
        settings: dict[str, Any] = {"feature_extractor": exact.feature_extractor, "device": exact.device}
        settings["activation"] = self.activation
        self.reference_way = Way(EXACT, False, exact)
        native = Way(EXACT, True, Tagger(exact.model, native_length=True, **settings))
        # The inputs are the same in every dtype.
        halves = clips.windows[: clips.split], clips.windows[clips.split :]
        parts = (*halves, halves[1][:TIMED_CLIPS])
        inputs = {way.native: [way.prepared(part) for part in parts] for way in (self.reference_way, native)}
        if inputs[True][0].lengths == inputs[False][0].lengths and inputs[True][1].lengths == inputs[False][1].lengths:
            del inputs[True]
        self.ways = [
            Way(dtype, length, tagger)
            for dtype in dtypes
            for length, tagger in taggers(model, dtype, inputs, settings)
        ]
        self.prepared = [[part.run_by(way) for part in inputs[way.native]] for way in self.ways]
        self.reference_inputs = inputs[False]
        none = [0] * self.layers
        self.references = [
            half.logits(none)
            for half in tqdm(inputs[False][:2], desc="unmerged scores", leave=False, disable=self.hidden)
        ]

    def speedups(self, runs: Sequence[tuple[int, Sequence[int]]], rounds: int) -> list[list[float]]:
        """Of ways (by their places) with merges, in each round: the reference's time over theirs."""
        none = [0] * self.layers
        timed_runs = [(self.reference_inputs[2], none), *((self.prepared[way][2], merges) for way, merges in runs)]

        def seconds(prepared: Prepared, merges: Sequence[int]) -> Callable[[], float]:
            return lambda: timed(lambda: prepared.logits(merges), self.device)[0]

        clocked = [seconds(*each) for each in timed_runs]
        bar = tqdm(
            interleaved_rounds(clocked, rounds, 1), total=rounds, desc="timing", leave=False, disable=self.hidden
        )
        return list(map(list, zip(*[[first / other for other in others] for first, *others in bar], strict=True)))

    def planned(self, speedup: float | None) -> Plan:
        """The MAC ratios to search at, each in the fastest dtype of its length.

        For a speed-up they are what each dtype needs to reach it by the clock; none if it does so unmerged.
        """
        none = [0] * self.layers
        plain = [median(each) for each in self.speedups([(way, none) for way in range(len(self.ways))], 2)]
        fastest = {self.ways[way].native: way for way in sorted(range(len(plain)), key=plain.__getitem__)}
        highest = {native: self.prepared[way][0].arithmetic.highest() for native, way in fastest.items()}
        if speedup is None:
            return [(way, rung) for native, way in fastest.items() for rung in RUNGS if rung < highest[native]]
        runs, ratios = [], []
        for way in (way for way, reached in enumerate(plain) if reached < speedup):
            ratio = min(max(1.05, speedup / plain[way]), highest[self.ways[way].native])
            merges = self.prepared[way][0].arithmetic.merges([1.0] * self.layers, ratio)
            assert merges is not None
            runs.append((way, merges))
            ratios.append(ratio)
        plan: Plan = []
        within_reach = max(plain)
        for (way, _), ratio, reached in zip(runs, ratios, map(median, self.speedups(runs, 2)), strict=True):
            native = self.ways[way].native
            within_reach = max(within_reach, reached)
            wanted = ratio * max(1.0, MARGIN * speedup / reached)  # time does not fall as arithmetic does
            if wanted <= highest[native]:
                plan.append((fastest[native], wanted))
        if not plan and within_reach < speedup:
            raise ValueError(
                f"speedup is {speedup:g}, and about {within_reach:.1f} is within reach here, for a layer merges at "
                "most half of its patches: give less, or a smaller model"
            )
        return plan

    def searched(
        self, plan: Plan, record: Record, trials: int, minutes: float, seed: int
    ) -> tuple[list[tuple[int, list[int]]], bool]:
        """The best list for each ratio of the plan, with its way's place; and whether Ctrl-C came."""
        end = monotonic() + 60 * minutes
        lists = []
        share = max(1, trials // max(len(plan), 1))
        try:
            with tqdm(total=share * len(plan), unit="trial", desc="searching", disable=self.hidden) as bar:
                for place, (way, ratio) in enumerate(plan):
                    deadline = monotonic() + (end - monotonic()) / (len(plan) - place)
                    search = Trials(
                        self._loss(way, record, bar), self.prepared[way][0].arithmetic, ratio, share, deadline
                    )
                    try:
                        hill_climbing(search, self.layers, random.Random(seed))
                    except OutOfTrials:
                        pass
                    finally:
                        if search.best is not None:
                            lists.append((way, search.best[2]))
        except KeyboardInterrupt:
            logger.warning("stopped: what was found so far is measured now; press Ctrl-C again to leave it")
            return lists, True
        return lists, False

    def _loss(self, way: int, record: Record, bar: tqdm[Any]) -> Callable[[list[int]], float]:
        """What merging costs beside the same dtype and length unmerged, whose own noise the search can't mend."""
        prepared, name = self.prepared[way][0], self.ways[way].name
        reference = prepared.logits([0] * self.layers)

        def loss(merges: list[int]) -> float:
            known = record.known.get((name, tuple(merges)))
            if known is None:
                known = kept_and_kl(reference, prepared.logits(merges), self.activation)[1]
                record.keep(name, merges, known)
            bar.update()
            bar.set_postfix(kl=f"{known:.2g}")
            return known

        return loss

    def measured(self, lists: Sequence[tuple[int, list[int]]]) -> list[Candidate]:
        """Every way unmerged, and the lists in all dtypes, beside constant merges at the same arithmetic."""
        runs: list[tuple[int, list[int], str]] = [
            (way, [0] * self.layers, "unmerged") for way in range(len(self.ways))
        ]
        for way, merges in lists:
            native = self.ways[way].native
            runs += [(w, merges, "search") for w, own in enumerate(self.ways) if own.native == native]
            arithmetic = self.prepared[way][0].arithmetic
            constant = arithmetic.merges([1.0] * self.layers, arithmetic.ratio(merges))
            if constant is not None and constant != merges:
                runs.append((way, constant, "constant"))
        speedups = self.speedups([(way, merges) for way, merges, _ in runs], self.rounds)
        targets = None if self.clips.targets is None else self.clips.targets[self.clips.split :]
        candidates = []
        for (way, merges, found_by), ratios in zip(
            tqdm(runs, desc="scoring", leave=False, disable=self.hidden), speedups, strict=True
        ):
            searched, held_out, _ = self.prepared[way]
            kept, kl = kept_and_kl(self.references[0], self._logits(searched, 0, merges), self.activation)
            candidates.append(
                Candidate(
                    merges=merges,
                    found_by=found_by,
                    dtype=self.ways[way].dtype,
                    native_length=self.ways[way].native,
                    mac_ratio=held_out.arithmetic.ratio(merges),
                    speedup=median(ratios),
                    speedup_range=(min(ratios), max(ratios)),
                    searched_kept=kept,
                    searched_kl=kl,
                    held_out=faithfulness(
                        self.references[1], self._logits(held_out, 1, merges), self.activation, targets
                    ),
                )
            )
        return sorted(candidates, key=lambda each: each.speedup)

    def _logits(self, prepared: Prepared, half: int, merges: Sequence[int]) -> Tensor:
        """Of a half; the reference's are there already."""
        is_reference = (prepared.way.dtype, prepared.way.native, any(merges)) == (EXACT, False, False)
        return self.references[half] if is_reference else prepared.logits(merges)

    def fastest_batch(self, chosen: Candidate) -> int:
        """The batch size with most clips a second, of those that the held-out clips fill."""
        way = next(w for w in self.ways if (w.dtype, w.native) == (chosen.dtype, chosen.native_length))
        windows = self.clips.windows[self.clips.split :]
        sizes = [size for size in BATCH_SIZES if size <= len(windows)]
        runs = []
        for size in sizes:
            way.tagger.batch_size = size
            batch = way.prepared(windows[: max(sizes)])

            def seconds(batch: Prepared = batch) -> float:
                return timed(lambda: batch.logits(chosen.merges), self.device)[0]

            runs.append(seconds)
        rounds = zip(*interleaved_rounds(runs, min(self.rounds, 3), 1), strict=True)
        return min(zip(map(median, rounds), sizes, strict=True))[1]
