"""The sound that a model is tuned on: windows of recordings, one half to search on and the other to report on."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..audio import AudioError, read_audio, windows
from ..errors import counted
from ..tagging.tagger import Tagger

logger = logging.getLogger(__name__)

FEWEST = 8  # windows that differ: four to search on, four to report on


@dataclass(frozen=True)
class Clips:
    """Windows of at most the model's input length, in two halves.

    Attributes:
        windows: Samples (n,) of each; those of the half to search on come first.
        split: How many are in that half.
        targets: (N, labels) of 0 and 1, or None where no labels are known.
        recordings: How many recordings they are from.
        unreadable: How many recordings could not be read.
    """

    windows: list[np.ndarray]
    split: int
    targets: np.ndarray | None
    recordings: int
    unreadable: int


def gathered(
    tagger: Tagger,
    sources: Sequence[Any],
    targets: np.ndarray | None = None,
    most: int = 128,
    seed: int = 0,
    progress: bool | None = None,
) -> Clips:
    """Draw windows of recordings, equally many of each recording while they last.

    Recordings are shuffled, and the windows of one stay in order. So the halves share no recording, but for one that
    is cut in two, the first part of it to search on.

    Args:
        tagger: Says how long a window is.
        sources: What `load_audio` takes.
        targets: (recordings, labels) of 0 and 1.
        most: Windows.
        seed: Of the draw.
        progress: Whether to show a progress bar; None shows it on a terminal.

    Raises:
        ValueError: No recording can be read, there are too few windows, or they are silent or all alike.
    """
    if most < FEWEST:
        raise ValueError(f"clips is {most}: give {FEWEST} or more")
    rate = tagger.feature_extractor.sampling_rate
    length = tagger.feature_extractor.samples_of(tagger.feature_extractor.max_length)
    drawn = random.Random(seed)
    order = drawn.sample(range(len(sources)), min(len(sources), most))
    each = -(-most // max(len(order), 1))
    found: list[np.ndarray] = []
    owners: list[int] = []
    unreadable = 0
    for place in tqdm(
        order, unit="file", desc="reading", leave=False, disable=None if progress is None else not progress
    ):
        try:
            own = reservoir((w for _, w in windows(read_audio(sources[place], rate), length)), each, drawn)
        except AudioError as error:
            logger.warning("left out: %s", error)
            unreadable += 1
            continue
        found += own
        owners += [place] * len(own)
    found, owners = found[:most], owners[:most]
    if not found:
        raise ValueError("there is no audio that can be read: give recordings, or a folder of them")
    if all(window.min() == window.max() for window in found):
        raise ValueError(f"all {len(found)} clips are silent: give recordings with the sound that the model will hear")
    different = len({window.tobytes() for window in found})
    if different < FEWEST:
        alike = f", {different} of them different" if different < len(found) else ""
        there = f"there {'is' if len(found) == 1 else 'are'} {counted(len(found), 'clip')}"
        raise ValueError(f"{there}{alike}: tuning needs {FEWEST} different ones or more")
    own_targets = None if targets is None else np.asarray(targets)[owners]
    return Clips(found, len(found) // 2, own_targets, len(set(owners)), unreadable)


def reservoir(items: Iterable[np.ndarray], most: int, drawn: random.Random) -> list[np.ndarray]:
    """`most` items of any number, each as likely as the others, in their order (Vitter 1985, algorithm R).

    Example:
        >>> reservoir(iter("abc"), 5, random.Random(0))
        ['a', 'b', 'c']
    """
    kept: list[tuple[int, np.ndarray]] = []
    for index, item in enumerate(items):
        if index < most:
            kept.append((index, item))
        elif (place := drawn.randrange(index + 1)) < most:
            kept[place] = (index, item)
    return [item for _, item in sorted(kept, key=lambda pair: pair[0])]
