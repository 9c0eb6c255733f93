"""Find the fastest way to run a model on the sound at hand: merges for each layer, dtype, length and batch size."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..benchmarking.circumstances import checkpoint_name, processor_name
from ..errors import counted
from ..loading.bundled import DEFAULT, bundled
from ..loading.checkpoint import load_classifier
from ..loading.devices import half_precision, usable_device
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from ..model.modeling_fastast import FastASTForAudioClassification
from ..showing import html_table
from ..tagging.presets import INT8, has_int8
from ..tagging.tagger import Tagger
from .clips import gathered
from .records import Record
from .runs import EXACT, Candidate, Run


@dataclass(frozen=True, repr=False)
class Tuned:
    """What [`tune`] found.

    Attributes:
        model: With the chosen merges, in the dtype that it was loaded in.
        feature_extractor: Its front end.
        candidates: All that were measured, the slowest first.
        chosen: The choice among them.
        batch_size: The fastest on this machine.
        facts: On what it was found.
        interrupted: Whether Ctrl-C ended the search.
    """

    model: FastASTForAudioClassification
    feature_extractor: FastASTFeatureExtractor
    candidates: list[Candidate]
    chosen: Candidate
    batch_size: int
    facts: dict[str, Any]
    interrupted: bool

    def __repr__(self) -> str:
        best = self.chosen
        length = "native length" if best.native_length else "padded"
        return (
            f"Tuned({best.speedup:.2f} times as fast, {100 * best.held_out.kept:.0f} % of first labels kept on "
            f"{counted(best.held_out.clips, 'clip')}; merges={best.merges}, {best.dtype}, {length}, "
            f"batch_size={self.batch_size})"
        )

    def _repr_html_(self) -> str:
        rows = [
            [
                each.found_by,
                each.dtype,
                "native" if each.native_length else "padded",
                f"{each.mac_ratio:.2f}",
                f"{each.speedup:.2f}",
                f"{100 * each.held_out.kept:.0f} %",
                f"{each.held_out.kl:.2g}",
                "chosen" if each == self.chosen else "",
            ]
            for each in self.candidates
        ]
        columns = ["merges", "dtype", "length", "MAC ratio", "speed-up", "labels kept", "KL", ""]
        return html_table(repr(self), rows, columns)

    def to_pandas(self) -> Any:
        """A DataFrame with a row for each candidate; columns of what was held out begin with `held_out.`.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        table = pd.json_normalize([asdict(each) for each in self.candidates])
        return table.assign(chosen=[each == self.chosen for each in self.candidates])

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a checkpoint that merges as was found, and `tuning.json`."""
        self.model.save_pretrained(folder)
        self.feature_extractor.save_pretrained(folder)
        choice = {**asdict(self.chosen), "batch_size": self.batch_size}
        record = {**self.facts, "chosen": choice, "candidates": [asdict(each) for each in self.candidates]}
        Path(folder, "tuning.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def tune(
    model: str | os.PathLike[str] | FastASTForAudioClassification | None,
    clips: Sequence[Any],
    *,
    speedup: float | None = None,
    max_change: float | None = None,
    targets: np.ndarray | None = None,
    device: str | None = None,
    dtypes: Sequence[str] | None = None,
    most_clips: int = 128,
    trials: int = 60,
    minutes: float = 6,
    rounds: int = 3,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Tuned:
    """Find how to run a model faster on sound like `clips`, while its scores stay close to what they are unmerged.

    The search is on one half of the clips, and what is told of the candidates is measured on the other. Ctrl-C ends
    the search, and what was found so far is measured and returned. A second one ends everything.

    Args:
        model: A checkpoint, or None for the bundled one; or a model in memory, which stays as it is.
        clips: What `load_audio` takes, without labels; long recordings are cut into windows.
        speedup: Wanted over the unmerged model in float32 with padded clips, measured here. The candidate of the
            lowest KL divergence that reaches it is chosen.
        max_change: Instead: the share of clips whose first label may change. The fastest candidate within is chosen.
        targets: (clips, labels) of 0 and 1, where labels are known; they are reported, and not searched by.
        device: None for a GPU where there is one.
        dtypes: To try; None for all that the device is fast in.
        most_clips: Windows to tune on, both halves together.
        trials: Lists of merges that are tried, all in all.
        minutes: After which no more are tried; each MAC ratio that is searched at has its share of them.
        rounds: Of timing.
        seed: Of the draw of clips, and of the search.
        folder: Keeps each trial in a file, and takes those that are there already.
        progress: Whether to show progress bars; None shows them on a terminal.

    Raises:
        ValueError: Clips that tell nothing, a speed-up out of reach, or a wrong setting.

    Example:
        >>> noise = np.random.default_rng(0).normal(scale=0.1, size=(8, 16000)).astype(np.float32)
        >>> found = tune(None, [(clip, 16000) for clip in noise], speedup=1, trials=1, rounds=1, dtypes=["float32"])
        >>> len(found.chosen.merges)
        12
    """
    check_wishes(speedup, max_change, trials, rounds)
    if isinstance(model, FastASTForAudioClassification):
        loaded, name = model, model.config.name_or_path or "in memory"
    else:
        checkpoint = str(bundled(DEFAULT if model is None else os.fspath(model)))
        loaded, name = load_classifier(checkpoint), checkpoint_name(checkpoint)
    place = usable_device("cpu" if device is None and not torch.cuda.is_available() else device)
    exact = Tagger(loaded, dtype=EXACT, device=place)
    if exact.activation == "none":
        raise ValueError(f"{name} is trained for regression: give a classifier, whose first labels can be kept")
    found = gathered(exact, clips, targets, most_clips, seed, progress)
    run = Run(exact, loaded, found, dtypes or fast_dtypes(place), rounds, progress)
    record = Record(folder, f"{name} {seed}", found.windows)
    plan = record.plan_for([speedup, place.type, [way.name for way in run.ways]], lambda: run.planned(speedup))
    lists, interrupted = run.searched(plan, record, trials, minutes, seed)
    candidates = run.measured(lists)
    chosen = choice(candidates, speedup, max_change)
    batch_size = run.fastest_batch(chosen)
    tuned = FastASTForAudioClassification.from_ast(loaded)
    tuned.set_tome_r(chosen.merges)
    facts = {
        "model": name,
        "asked": {"speedup": speedup, "max_change": max_change},
        "activation": exact.activation,
        "clips": len(found.windows),
        "searched_on": found.split,
        "recordings": found.recordings,
        "unreadable": found.unreadable,
        "seconds": sum(map(len, found.windows)) / exact.feature_extractor.sampling_rate,
        "seed": seed,
        "trials": len(record.known),
        "stopped": interrupted,
        "device": place.type,
        "processor": processor_name(place),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    return Tuned(tuned, exact.feature_extractor, candidates, chosen, batch_size, facts, interrupted)


def check_wishes(speedup: float | None, max_change: float | None, trials: int, rounds: int) -> None:
    """Raise a ValueError for what can't be asked for."""
    if (speedup is None) == (max_change is None):
        raise ValueError("give either a speed-up (--speedup 2) or what may change (--max-change 1%)")
    if speedup is not None and not speedup >= 1:
        raise ValueError(f"speedup is {speedup:g}: give 1 or more, which is how many times as fast")
    if max_change is not None and not 0 <= max_change < 1:
        raise ValueError(f"max_change is {max_change:g}: give a share of the first labels, 0 to 1, such as 0.01")
    for setting, number in (("trials", trials), ("rounds", rounds)):
        if number < 1:
            raise ValueError(f"{setting} is {number}: give 1 or more")


def fast_dtypes(device: torch.device) -> list[str]:
    """The dtypes that a device is fast in, float32 first."""
    half = str(half_precision(device)).removeprefix("torch.")
    return list(dict.fromkeys([EXACT, half])) + [INT8] * has_int8(device)


def choice(candidates: Sequence[Candidate], speedup: float | None, max_change: float | None) -> Candidate:
    """By the half that was searched on: the most faithful that is fast enough, or the fastest that is faithful enough.

    Where noise of the clock leaves all of them just below the speed-up, the fastest is taken.
    """
    if speedup is not None:
        enough = [each for each in candidates if each.speedup >= speedup]
        return min(enough, key=lambda each: each.searched_kl) if enough else candidates[-1]
    assert max_change is not None
    enough = [each for each in candidates if 1 - each.searched_kept <= max_change]
    # The unmerged model in float32 changes nothing.
    return max(enough, key=lambda each: each.speedup) if enough else candidates[0]
