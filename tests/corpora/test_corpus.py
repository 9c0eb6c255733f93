"""Splits, counts of what is missing, and the same corpus as streams."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Audio, ClassLabel, List
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from fastast_hf.corpora import Corpus, CorpusError
from fastast_hf.corpora.corpus import Clip, build_corpus, replace_labels, stream

NAMES = ["dog", "rain", "wind"]
FOLDER = Path("clips")


def make_corpus(multi_label: bool, count: int = 5) -> Corpus:
    labels: list[Any] = [[i % 3, 2] if multi_label else i % 3 for i in range(count)]
    clips = [Clip(f"clip{i}", FOLDER / f"{i}.wav", label) for i, label in enumerate(labels)]
    test = [clip._replace(file=FOLDER / "test" / f"{clip.id}.wav") for clip in clips[:2]]
    return build_corpus({"train": clips, "test": test}, NAMES, FOLDER, multi_label)


def test_columns_are_id_undecoded_audio_and_label() -> None:
    corpus = make_corpus(multi_label=False)
    assert corpus["train"].features == {
        "id": corpus["train"].features["id"],
        "audio": Audio(decode=False),
        "label": ClassLabel(names=NAMES),
    }
    audio = {"bytes": None, "path": str(FOLDER / "1.wav")}
    assert corpus["train"][1] == {"id": "clip1", "audio": audio, "label": 1}
    assert make_corpus(multi_label=True)["train"].features["labels"] == List(ClassLabel(names=NAMES))


def test_missing_clips_are_left_out_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    here, gone, other = Clip("a", FOLDER / "a.wav", 0), Clip("b", None, 1), Clip("c", FOLDER / "c.wav", 0)
    corpus = build_corpus({"train": [here, gone, here, gone, gone], "test": [other]}, NAMES, FOLDER)
    assert corpus["train"]["id"][:] == ["a", "a"]
    assert corpus.missing == {"train": 3, "test": 0}
    assert "3 clips of split train are missing" in caplog.text
    assert "test" not in caplog.text


def test_split_without_clips_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    corpus = build_corpus({"train": [Clip("b", None, 1)], "test": [Clip("a", Path("a.wav"), 0)]}, NAMES, FOLDER)
    assert list(corpus) == ["test"]
    assert corpus.missing == {"train": 1, "test": 0}
    assert "train" in caplog.text


def test_corpus_without_clips_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"clips: none of the 2 clips.*looked for .*\.wav") as caught:
        build_corpus({"train": [Clip("a", None, 0)], "test": [Clip("b", None, 0)]}, NAMES, FOLDER)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("multi_label", [False, True])
def test_streams_give_what_the_corpus_gives(multi_label: bool) -> None:
    corpus = make_corpus(multi_label, count=300)
    streams = stream(corpus)
    assert streams.missing == corpus.missing
    assert streams["train"].num_shards == 128
    assert list(streams["test"]) == list(corpus["test"])
    assert sorted(streams["train"], key=lambda row: int(row["id"][4:])) == list(corpus["train"])
    assert {split: data.features for split, data in streams.items()} == {
        split: data.features for split, data in corpus.items()
    }


def test_shards_of_a_stream_are_no_runs_of_one_class() -> None:
    clips = [Clip(f"clip{i}", FOLDER / f"{i}.wav", i // 400) for i in range(1200)]
    data = stream(build_corpus({"train": clips}, NAMES, FOLDER))["train"]
    shards = [{row["label"] for row in data.shard(128, index)} for index in range(0, 128, 8)]
    assert sum(len(classes) > 1 for classes in shards) > 12


def test_corpus_without_training_clips_is_streamed_as_it_is() -> None:
    corpus = build_corpus({"train": [], "test": [Clip("a", Path("a.wav"), 0)]}, NAMES, FOLDER)
    assert list(stream(corpus)["test"]) == list(corpus["test"])


def test_streams_are_split_over_ranks_and_workers() -> None:
    data = stream(make_corpus(multi_label=False, count=16))["train"]
    ids = [
        row["id"]
        for rank in range(2)
        for row in DataLoader(split_dataset_by_node(data, rank, 2), batch_size=None, num_workers=2)
    ]
    assert sorted(ids) == sorted(f"clip{i}" for i in range(16))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("multi_label", [False, True])
def test_labels_are_replaced_and_all_else_stays(multi_label: bool, streamed: bool) -> None:
    corpus = make_corpus(multi_label)
    data = stream(corpus)["train"] if streamed else corpus["train"]
    replaced = replace_labels(data, {0: 2, 1: 1, 2: 0}, NAMES[::-1])
    column = "labels" if multi_label else "label"
    for old, new in zip(data, replaced, strict=True):
        ids = [2 - one for one in old[column]] if multi_label else 2 - old[column]
        assert new == {**old, column: ids}
    feature = ClassLabel(names=NAMES[::-1])
    assert replaced.features == {**data.features, column: List(feature) if multi_label else feature}
    assert [row["id"] for row in replaced.map(lambda row: {"n": 1})] == [row["id"] for row in data]


@pytest.mark.parametrize("streamed", [False, True])
def test_label_that_has_no_id_is_named(streamed: bool) -> None:
    corpus = make_corpus(multi_label=True)
    data = stream(corpus)["train"] if streamed else corpus["train"]
    with pytest.raises(CorpusError, match="unknown label 2 among 2 known"):
        list(replace_labels(data, {0: 0, 1: 1}, NAMES[:2]))


def test_corpus_survives_pickling() -> None:
    corpus = pickle.loads(pickle.dumps(make_corpus(multi_label=False)))
    assert isinstance(corpus, Corpus) and corpus.missing == {"train": 0, "test": 0} and len(corpus["train"]) == 5


def test_parts_of_one_recording_may_be_in_two_splits_with_a_warning(
    tmp_path: Path, write_clips: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    write_clips(tmp_path, ["day.wav"])
    day = tmp_path / "day.wav"
    parts = {"train": [Clip("day@0", day, 0, 0.0, 0.05)], "test": [Clip("day@0.05", day, 1, 0.05)]}
    corpus = build_corpus(parts, ["dog", "rain"], tmp_path)
    assert (corpus["train"][0]["start"], corpus["train"][0]["end"]) == (0.0, 0.05)
    assert (corpus["test"][0]["start"], corpus["test"][0]["end"]) == (0.05, None)
    assert "1 recordings have parts in two splits" in caplog.text
