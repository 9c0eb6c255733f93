"""Datasets of the `datasets` library as corpora: from memory, disk, parquet and as streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, List, Value

from fastast_hf.audio import load_audio
from fastast_hf.corpora import (
    CorpusError,
    StreamingCorpus,
    corpus_folds,
    corpus_from_datasets,
    is_multi_label,
    label_names,
    load_corpus,
    sources,
)

Write = Callable[..., None]
UNDECODED = {"bytes": Value("binary"), "path": Value("string")}


@pytest.fixture
def paths(tmp_path: Path, write_clips: Write) -> list[str]:
    write_clips(tmp_path, [f"{number}.wav" for number in range(10)])
    return [str(tmp_path / f"{number}.wav") for number in range(10)]


def dataset(paths: list[str], label: Any, values: list[Any], **columns: list[Any]) -> Dataset:
    """With bytes, as parquet has them."""
    rows = {"sound": [{"bytes": Path(path).read_bytes(), "path": path} for path in paths], "kind": values, **columns}
    others = {name: Value("string") if isinstance(own[0], str) else Value("int64") for name, own in columns.items()}
    return Dataset.from_dict(rows, features=Features({"sound": UNDECODED, "kind": label, **others}))


def test_a_dataset_dict_is_a_corpus_with_its_splits_and_classes(paths: list[str]) -> None:
    data = dataset(paths, ClassLabel(names=["rain", "dog"]), [0, 1] * 5)
    given = DatasetDict({"train": data.select(range(6)), "dev": data.select(range(6, 10))})
    corpus = corpus_from_datasets(given)
    assert label_names(corpus) == ["rain", "dog"] and corpus.own_splits
    assert {split: rows["label"][:] for split, rows in corpus.items()} == {
        "train": [0, 1, 0, 1, 0, 1],
        "validation": [0, 1, 0, 1],
    }
    assert corpus["validation"].features["audio"] == Audio(decode=False)
    assert corpus["validation"]["id"][:] == paths[6:]
    assert load_audio(corpus["validation"][1]["audio"]).shape == (1600,)


@pytest.mark.parametrize(
    ("label", "values", "names"),
    [
        (Value("string"), ["rain", "dog"] * 5, ["dog", "rain"]),
        (Value("int64"), [2, 11] * 5, ["2", "11"]),
        (List(ClassLabel(names=["rain", "dog"])), [[0], [0, 1], []] * 3 + [[1]], ["rain", "dog"]),
        (List(Value("string")), [["b", "a"], []] * 5, ["a", "b"]),
    ],
)
def test_labels_of_every_kind_are_understood(
    label: Any, values: list[Any], names: list[str], paths: list[str]
) -> None:
    data = dataset(paths, label, values)
    corpus = corpus_from_datasets(data, audio="sound", label="kind")
    assert label_names(corpus) == names and not corpus.own_splits
    assert is_multi_label(corpus) == isinstance(values[0], list)
    rows = {row["id"]: row for split in corpus.values() for row in split}
    for path, value in zip(paths, values, strict=True):
        if isinstance(value, list):
            expected = [names[one] if isinstance(one, int) else one for one in value]
            assert [names[one] for one in rows[path]["labels"]] == expected
        else:
            assert names[rows[path]["label"]] == str(value)


def test_names_of_classes_are_whole_whatever_is_in_them(paths: list[str]) -> None:
    names = ["Bell, small; or bell", "a|b", "two  words"]
    corpus = corpus_from_datasets(dataset(paths, ClassLabel(names=names), [0, 1] * 4 + [2, 2]), label="kind")
    assert label_names(corpus) == names and not is_multi_label(corpus)
    assert sorted(label for rows in corpus.values() for label in rows["label"]) == [0] * 4 + [1] * 4 + [2] * 2


def test_folds_and_groups_are_taken_from_columns(paths: list[str]) -> None:
    speakers = [f"s{number // 2}" for number in range(10)]
    data = dataset(paths, Value("string"), ["a", "b"] * 5, fold=[1, 2] * 5, speaker=speakers)
    corpus = corpus_from_datasets(data, label="kind", fold=2)
    assert corpus["test"]["id"][:] == paths[1::2] and corpus["train"]["id"][:] == paths[::2]
    drawn = corpus_from_datasets(data.remove_columns("fold"), label="kind")
    sides = [{speakers[paths.index(clip)] for clip in drawn[split]["id"]} for split in ("train", "test")]
    assert sides[0] & sides[1] == set() and len(sides[1]) == 1


def test_files_of_parquet_and_what_was_saved_are_loaded(paths: list[str], tmp_path: Path) -> None:
    data = dataset(paths, ClassLabel(names=["dog", "rain"]), [0, 1] * 5, fold=[1, 2] * 5)
    parts = DatasetDict({"train": data.select(range(8)), "test": data.select(range(8, 10))})
    for split, rows in parts.items():
        (tmp_path / "pq" / "data").mkdir(parents=True, exist_ok=True)
        rows.to_parquet(tmp_path / "pq" / "data" / f"{split}-00000-of-00001.parquet")
    parts.save_to_disk(tmp_path / "saved")
    for given in ({"root": tmp_path / "pq"}, {"root": tmp_path / "saved"}, {"hub_id": str(tmp_path / "pq")}):
        corpus = load_corpus("datasets", **given)
        assert {split: rows["label"][:] for split, rows in corpus.items()} == {"train": [0, 1] * 4, "test": [0, 1]}
    file = tmp_path / "pq" / "data" / "train-00000-of-00001.parquet"
    assert len(load_corpus("datasets", file, fold=1)["test"]) == 4
    assert corpus_folds("datasets", file, None, {}) == ([1, 2], False)
    assert corpus_folds("datasets", tmp_path / "pq", None, {}) == ([1, 2], True)


def test_a_local_dataset_and_a_stream_are_streamed(paths: list[str], tmp_path: Path) -> None:
    data = dataset(paths, ClassLabel(names=["dog", "rain"]), [0, 1] * 5)
    data.to_parquet(tmp_path / "all.parquet")
    local = load_corpus("datasets", tmp_path / "all.parquet", streaming=True)
    assert isinstance(local, StreamingCorpus) and len(list(local["train"])) == 8 and len(local["test"]) == 2
    streamed = corpus_from_datasets({"train": data.to_iterable_dataset(2), "test": data.select([0, 1])})
    assert isinstance(streamed, StreamingCorpus) and isinstance(streamed["test"], Dataset)
    rows = list(streamed["train"])
    assert [row["label"] for row in rows] == [0, 1] * 5 and rows[3]["id"] == paths[3]
    assert label_names(streamed) == ["dog", "rain"] and load_audio(rows[0]["audio"]).shape == (1600,)
    text = dataset(paths, Value("string"), ["a", "b"] * 5).to_iterable_dataset()
    with pytest.raises(CorpusError, match="the labels of a stream must be ClassLabel"):
        corpus_from_datasets({"train": text}, label="kind")


def test_a_stream_carries_parts_and_refuses_what_it_has_no_use_for(paths: list[str]) -> None:
    data = dataset(paths[:1] * 4, ClassLabel(names=["dog", "rain"]), [0, 1] * 2, offset=[0, 1, 2, 3])
    data = data.add_column("duration", [0.5, 0.5, 1.5, 2.5])
    given = {"train": data.to_iterable_dataset(), "test": data.select([0, 1])}
    streamed = corpus_from_datasets(given)
    for split, times in (("train", [(0, 0.5), (1, 1.5), (2, 3.5), (3, 5.5)]), ("test", [(0, 0.5), (1, 1.5)])):
        rows = list(streamed[split])
        assert [(row["start"], row["end"]) for row in rows] == times
        assert [row["id"] for row in rows] == [f"{paths[0]}@{start}-{end}" for start, end in times]
        assert set(rows[0]) == {"id", "audio", "label", "start", "end"}
    with pytest.raises(
        CorpusError, match=r"a stream has no use for --multi-label, --group-column; leave out --stream"
    ):
        corpus_from_datasets(given, multi_label=False, columns={"group": "offset"})


def test_a_dataset_of_the_hub_is_streamed_and_its_test_clips_read_whole(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(paths, ClassLabel(names=["dog", "rain"]), [0, 1] * 5)
    (tmp_path / "hub").mkdir()
    for split, rows in (("train", range(8)), ("test", range(8, 10))):
        data.select(rows).to_parquet(tmp_path / "hub" / f"{split}-00000-of-00001.parquet")
    asked = []

    def here(load: Callable[..., Any]) -> Callable[..., Any]:
        def load_here(name: str, config: str | None = None, **options: Any) -> Any:
            asked.append((name, config))
            return load(str(tmp_path / "hub") if name == "someone/sounds" else name, **options)

        return load_here

    for name in ("load_dataset", "load_dataset_builder"):
        monkeypatch.setattr(sources, name, here(getattr(sources, name)))
    corpus = load_corpus("datasets", hub_id="someone/sounds", config="small", streaming=True)
    assert isinstance(corpus, StreamingCorpus) and asked[0] == ("someone/sounds", "small")
    assert [row["label"] for row in corpus["train"]] == [0, 1] * 4
    assert isinstance(corpus["test"], Dataset) and corpus["test"]["id"][:] == paths[8:]


def test_parts_of_a_recording_stay_on_one_side(paths: list[str]) -> None:
    recordings = [path for path in paths[:4] for _ in range(5)]
    kinds = [kind for _ in range(4) for kind in "ababa"]
    parts = dataset(recordings, Value("string"), kinds, start=list(range(5)) * 4)
    files = parts.remove_columns("sound").add_column("file", recordings)
    for given in (parts, files):
        drawn = corpus_from_datasets(given, label="kind")
        heard, tested = ({audio["path"] for audio in drawn[split]["audio"]} for split in ("train", "test"))
        assert len(heard) == 3 and len(tested) == 1 and not heard & tested


def test_a_recording_in_two_splits_is_refused_and_parts_and_copies_are_warned_of(
    paths: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = dataset(paths, Value("string"), ["a", "b"] * 5)
    for given in (data, data.remove_columns("sound").add_column("file", paths)):
        with pytest.raises(CorpusError, match=r"0.wav.*: in the splits train and test; list each clip in one split"):
            corpus_from_datasets(DatasetDict(train=given, test=given), label="kind")
    corpus_from_datasets(DatasetDict(train=data.select(range(6)), test=data.select(range(6, 10))), label="kind")
    assert "4 clips of one split have the content of a clip of another" in caplog.text  # all are one tone
    starts = data.add_column("start", list(range(10)))
    corpus_from_datasets(DatasetDict(train=starts, test=starts), label="kind")
    assert "10 recordings have parts in two splits" in caplog.text


def test_what_has_no_sound_or_labels_is_said(paths: list[str]) -> None:
    data = dataset(paths, Value("string"), ["a", "b"] * 5)
    with pytest.raises(CorpusError, match="the dataset: no column of labels"):
        corpus_from_datasets(data)
    with pytest.raises(CorpusError, match="the dataset: no column of audio among kind"):
        corpus_from_datasets(data.remove_columns("sound"))
    with pytest.raises(CorpusError, match="no column 'x' among sound, kind; give one of them as --audio-column"):
        corpus_from_datasets(data, audio="x")
    with pytest.raises(CorpusError, match="column sound can't be read as audio"):
        corpus_from_datasets(data.rename_column("sound", "x").add_column("sound", [1] * 10), "sound", "kind")
    with pytest.raises(CorpusError, match="the splits a, b; give one of train, validation, test"):
        corpus_from_datasets({"a": data, "b": data}, label="kind")
