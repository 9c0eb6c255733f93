"""Which clips are trained and which are tested on: as a table says, or drawn."""

from __future__ import annotations

import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from ..corpus import first_of
from ..errors import CorpusError
from .entries import Entry

logger = logging.getLogger(__name__)

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_FIFTHS = 5
_MOST_TESTED = 1 / 3


def split_named(name: str) -> str | None:
    """The split that goes by a name; None if there is none.

    Example:
        >>> split_named("Dev"), split_named("extra")
        ('validation', None)
    """
    return next((split for split, names in SPLITS.items() if name.strip().lower() in names), None)


def assign_splits(
    source: str, entries: Sequence[Entry], fold: int | None = None, seed: int | None = None
) -> tuple[dict[str, list[int]], bool]:
    """The clips of each split, by their indices, and whether it was drawn here.

    With a fold, its clips are `test` and all others `train`. Else the splits are those of the table; of one with folds
    alone, all clips are `train`. Where nothing is said, or all are for training, a fifth is drawn for testing.

    Args:
        source: What errors call the table.
        entries: The rows.
        fold: To test on.
        seed: Of the draw; None for 0.

    Raises:
        CorpusError: There is no such fold, nothing can be drawn, or there is a seed and nothing to draw.
    """
    drawn = False
    splits: dict[str, list[int]] = defaultdict(list)
    if fold is not None:
        folds = sorted({entry.fold for entry in entries if entry.fold is not None})
        if fold not in folds or len(folds) < 2:
            raise CorpusError(
                f"{source}: fold {fold} to test on and folds {', '.join(map(str, folds)) or 'none'} listed; give a "
                "listed fold, of two or more"
            )
        for index, entry in enumerate(entries):
            if entry.fold is not None:
                splits["test" if entry.fold == fold else "train"].append(index)
        _tell_left_out(source, [entry.where for entry in entries if entry.fold is None], "no fold")
    elif any(entry.split for entry in entries):
        unknown: dict[str, list[str]] = defaultdict(list)
        for index, entry in enumerate(entries):
            split = split_named(entry.split or "")
            splits[split].append(index) if split else unknown[entry.split or ""].append(entry.where)
        for name, places in unknown.items():
            _tell_left_out(source, places, f"the split {name!r}, which is none of {', '.join(SPLITS)}")
        if not splits:
            raise CorpusError(f"{source}: no row has a known split; give one of {', '.join(SPLITS)}")
    else:
        splits["train"] = list(range(len(entries)))
    if list(splits) == ["train"] and fold is None and (any(e.split for e in entries) or not _have_folds(entries)):
        splits, drawn = draw_test(source, entries, splits["train"], seed or 0), True
    elif seed is not None:
        raise CorpusError(
            f"{source}: --split-seed has no effect where the splits or the folds are given; leave it out"
        )
    ordered = {split: splits[split] for split in SPLITS if split in splits}
    _tell_coverage(source, entries, ordered)
    _tell_shared_groups(source, entries, ordered)
    return ordered, drawn


def draw_test(source: str, entries: Sequence[Entry], among: list[int], seed: int = 0) -> dict[str, list[int]]:
    """Draw about a fifth of the clips for testing, the classes in proportion, and clips of one group on one side.

    Clips of one recording are a group where none is given. Every class that has clips in two groups has one on each
    side, where that can be had.

    Raises:
        CorpusError: There are fewer than two groups, or a side is left without a clip.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    chosen = [entries[index] for index in among]
    names = [entry.group or entry.file or str(index) for index, entry in enumerate(chosen)]
    groups = np.unique(names, return_inverse=True)[1]
    counts = Counter(label for entry in chosen for label in entry.labels)
    # A clip of several classes stands for the rarest.
    strata = [min(entry.labels, key=lambda label: (counts[label], label), default="") for entry in chosen]
    parts = min(_FIFTHS, int(groups.max()) + 1, max(Counter(strata).values()))
    if parts < 2:
        raise CorpusError(
            f"{source}: {len(chosen)} clips in {groups.max() + 1} groups can't be split in two by classes; give a "
            f"column split that says {', '.join(SPLITS)}"
        )
    alone = groups.max() + 1 == len(groups)
    folds = (StratifiedKFold if alone else StratifiedGroupKFold)(parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer clips than parts, which are told below
        drawn = [fold for _, fold in folds.split(strata, strata, groups) if len(fold)]
    tested = np.zeros(len(chosen), bool)
    tested[min(drawn, key=lambda fold: abs(len(fold) - len(chosen) / _FIFTHS))] = True
    _give_each_class_both(chosen, groups, tested, seed)
    if tested.all() or not tested.any():
        raise CorpusError(
            f"{source}: {len(chosen)} clips in {groups.max() + 1} groups leave none to "
            f"{'train on' if tested.all() else 'test on'}; give a column split that says {', '.join(SPLITS)}"
        )
    if tested.mean() > _MOST_TESTED:
        logger.warning(
            "%s: %d of %d clips are drawn for testing, not a fifth: clips or groups are few, or groups are large; "
            "give a column split to choose them",
            source,
            tested.sum(),
            len(tested),
        )
    logger.info(
        "%s: no split is given: %d clips to train and %d to test are drawn (--split-seed %d), classes in proportion%s",
        source,
        (~tested).sum(),
        tested.sum(),
        seed,
        "" if alone else f", {groups.max() + 1} groups each on one side",
    )
    return {
        split: [index for index, is_tested in zip(among, tested, strict=True) if is_tested == (split == "test")]
        for split in ("train", "test")
    }


def _give_each_class_both(entries: Sequence[Entry], groups: np.ndarray, tested: np.ndarray, seed: int) -> None:
    """Move groups to the other side.

    A class with clips in two groups gets clips on both sides, unless that takes another class's last clip from a side.
    A class in one group alone is for training.
    """
    of: dict[str, list[int]] = defaultdict(list)
    for index, entry in enumerate(entries):
        for label in entry.labels:
            of[label].append(index)
    order = np.random.default_rng(seed)
    for label in sorted(of, key=lambda label: (len(of[label]), label)):
        own = np.array(of[label])
        side, is_single = tested[own[0]], len(set(groups[own])) < 2
        if len(set(tested[own])) == 2 or (is_single and not side):
            continue
        for group in order.permutation(np.unique(groups[own])):
            moved = groups == group
            rest, taken = (
                {other for index in np.flatnonzero(clips).tolist() for other in entries[index].labels}
                for clips in (~moved & (tested == side), moved)
            )
            if is_single or rest >= taken:
                tested[moved] = not side
                break


def _have_folds(entries: Sequence[Entry]) -> bool:
    return len({entry.fold for entry in entries if entry.fold is not None}) > 1


def _tell_left_out(source: str, places: Sequence[str], why: str) -> None:
    if places:
        logger.warning("%s: %d rows have %s, and are left out: %s", source, len(places), why, first_of(places))


def _tell_shared_groups(source: str, entries: Sequence[Entry], splits: dict[str, list[int]]) -> None:
    sides: dict[str, set[str]] = defaultdict(set)
    for split, indices in splits.items():
        for index in indices:
            if group := entries[index].group:
                sides[group].add(split)
    if shared := [group for group, own in sides.items() if len(own) > 1]:
        logger.warning(
            "%s: %d of %d groups have clips in two splits: %s: scores will be too good",
            source,
            len(shared),
            len(sides),
            first_of(shared),
        )


def _tell_coverage(source: str, entries: Sequence[Entry], splits: dict[str, list[int]]) -> None:
    """Name the classes that a split has no clip of."""
    counts = Counter(label for entry in entries for label in entry.labels)
    for split, indices in splits.items():
        here = {label for index in indices for label in entries[index].labels}
        lacking = [f"{label} ({counts[label]} in all)" for label in sorted(set(counts) - here)]
        if lacking and len(splits) > 1:
            logger.warning(
                "%s: split %s has no clip of %d of %d classes: %s",
                source,
                split,
                len(lacking),
                len(counts),
                first_of(lacking),
            )
