"""Drawn splits: in proportion, by group, the same again, and no class only on one side where that can be had."""

from __future__ import annotations

from collections import Counter

import pytest

from fastast_hf.corpora import CorpusError
from fastast_hf.corpora.own.entries import Entry
from fastast_hf.corpora.own.splits import assign_splits


def entries(classes: dict[str, int], group: int = 1) -> list[Entry]:
    """Clips of each class; `group` of them in a row are of one speaker."""
    labels = [name for name, count in classes.items() for _ in range(count)]
    speakers = [f"speaker {index // group}" if group > 1 else None for index in range(len(labels))]
    return [
        Entry(f"line {index}", f"{index}.wav", name.split("+") if name else [], None, None, speaker, None, None)
        for index, (name, speaker) in enumerate(zip(labels, speakers, strict=True))
    ]


def counts(clips: list[Entry], seed: int | None = None) -> tuple[Counter[str], Counter[str]]:
    splits, drawn = assign_splits("table", clips, seed=seed)
    assert drawn and sorted(splits["train"] + splits["test"]) == list(range(len(clips)))
    train, test = (Counter(label for index in splits[s] for label in clips[index].labels) for s in ("train", "test"))
    return train, test


def test_a_fifth_of_each_class_is_for_testing() -> None:
    train, test = counts(entries({"a": 50, "b": 20, "c": 5}))
    assert train == {"a": 40, "b": 16, "c": 4} and test == {"a": 10, "b": 4, "c": 1}


@pytest.mark.parametrize("seed", range(5))
def test_small_classes_are_on_both_sides_and_single_clips_trained_on(seed: int) -> None:
    train, test = counts(entries({"a": 20, "b": 2, "c": 2, "d": 1, "e": 1, "f": 3}), seed)
    assert set(train) == set("abcdef") and set(test) == set("abcf")


@pytest.mark.parametrize("seed", range(5))
def test_small_classes_of_groups_are_on_both_sides_too(seed: int) -> None:
    train, test = counts(entries({"a": 40, "b": 4, "c": 4, "d": 2, "a+e": 4}, group=2), seed)
    assert set(train) == set("abcde") and set(test) == set("abce")


def test_the_draw_depends_on_the_seed_alone() -> None:
    clips = entries({"a": 30, "b": 30})
    first = assign_splits("table", clips)
    assert assign_splits("table", clips, seed=0) == first != assign_splits("table", clips, seed=1)


def test_clips_of_a_group_or_a_recording_stay_together() -> None:
    clips = entries({"a": 40, "b": 40}, group=4)
    parts = [clip._replace(group=None, file=f"{index // 4}.wav") for index, clip in enumerate(clips)]
    for listed in (clips, parts):
        splits, _ = assign_splits("table", listed)
        sides = [{listed[index].group or listed[index].file for index in splits[side]} for side in ("train", "test")]
        assert not sides[0] & sides[1] and len(splits["test"]) == 16
    train, test = counts(clips)
    assert train == {"a": 32, "b": 32} and test == {"a": 8, "b": 8}


def test_clips_of_several_classes_and_of_none_are_drawn_in_proportion() -> None:
    train, test = counts(entries({"a": 40, "a+b": 10, "": 20}))
    assert test == {"a": 10, "b": 2} and train == {"a": 40, "b": 8}


def test_the_groups_nearest_a_fifth_are_for_testing_and_above_a_third_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sizes = {"x": 60, "y": 14, "z": 10, "v": 10, "w": 6}
    clips = entries({"a": 50, "b": 50})
    speakers = [name for name, size in sizes.items() for _ in range(size)]
    order = [place for pair in zip(range(50), range(50, 100), strict=True) for place in pair]  # all have both classes
    clips = [clips[place]._replace(group=speaker) for place, speaker in zip(order, speakers, strict=True)]
    splits, _ = assign_splits("table", clips)
    assert {clips[index].group for index in splits["test"]} == {"y"} and "not a fifth" not in caplog.text
    few = [clip._replace(group="x" if index < 60 else "y") for index, clip in enumerate(clips)]
    splits, _ = assign_splits("table", few)
    assert len(splits["test"]) == 40 and "40 of 100 clips are drawn for testing, not a fifth" in caplog.text


def test_a_side_without_clips_is_refused() -> None:
    clips = [clip._replace(group=clip.labels[0]) for clip in entries({"a": 4, "b": 4})]
    with pytest.raises(CorpusError, match="table: 8 clips in 2 groups leave none to test on; give a column split"):
        assign_splits("table", clips)


def test_a_speaker_in_two_given_splits_is_named(caplog: pytest.LogCaptureFixture) -> None:
    clips = [
        clip._replace(split="train" if index < 6 else "test", fold=1 + (index > 5))
        for index, clip in enumerate(entries({"a": 6, "b": 6}, group=4))
    ]
    for fold in (None, 2):
        caplog.clear()
        assign_splits("table", clips, fold)
        assert "1 of 3 groups have clips in two splits: speaker 1: scores will be too good" in caplog.text
    caplog.clear()
    assign_splits("table", [clip._replace(group=None) for clip in clips])
    assert "groups" not in caplog.text


def test_what_cannot_be_split_is_refused() -> None:
    clips = [clip._replace(group="one") for clip in entries({"a": 4, "b": 4})]
    with pytest.raises(
        CorpusError, match="table: 8 clips in 1 groups can't be split in two by classes; give a column"
    ):
        assign_splits("table", clips)
