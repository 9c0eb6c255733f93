"""One folder a class: given splits, and the split that is made where there are none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fastast_hf.corpora import Corpus, CorpusError, label_names, load_corpus

Write = Callable[..., None]
SHARES = [
    # clips of a class, clips to test on
    (1, 0),
    (2, 1),
    (5, 1),
    (10, 2),
    (24, 5),
]
TEST_CLIPS = {"dog/2.wav", "dog/4.wav", "rain/5.wav", "rain/7.wav"}
SPLIT_NAMES = [
    # folders, splits
    (["train", "test"], ["train", "test"]),
    (["train", "val", "test"], ["train", "validation", "test"]),
    (["train", "dev", "eval"], ["train", "validation", "test"]),
    (["training", "valid", "evaluation"], ["train", "validation", "test"]),
    (["train", "validation"], ["train", "validation"]),
]


def clips_of(corpus: Corpus) -> dict[str, set[str]]:
    return {split: set(data["id"]) for split, data in corpus.items()}


def test_a_fifth_of_every_class_is_for_testing(tmp_path: Path, write_clips: Write) -> None:
    write_clips(tmp_path, [f"class{count}/{i}.wav" for count, _ in SHARES for i in range(count)])
    corpus = load_corpus("audiofolder", tmp_path)
    names = [f"class{count}" for count, _ in SHARES]
    assert label_names(corpus) == sorted(names)
    for count, tested in SHARES:
        label = sorted(names).index(f"class{count}")
        assert corpus["test"]["label"][:].count(label) == tested
        assert corpus["train"]["label"][:].count(label) == count - tested
    assert not clips_of(corpus)["train"] & clips_of(corpus)["test"]
    assert corpus.missing == {"train": 0, "test": 0}


def test_split_depends_on_nothing_but_the_paths_within(tmp_path: Path, write_clips: Write) -> None:
    names = [f"{name}/{i}.wav" for name in ("dog", "rain") for i in range(10)]
    write_clips(tmp_path / "one", names)
    write_clips(tmp_path / "deep" / "two", reversed(names))
    one, two = (load_corpus("audiofolder", tmp_path / path) for path in ("one", "deep/two"))
    assert clips_of(one) == clips_of(two)
    # Fixed, so that results of years apart compare.
    assert clips_of(one)["test"] == TEST_CLIPS
    shutil.rmtree(tmp_path / "one" / "dog")
    write_clips(tmp_path / "one", ["cat/0.wav"])
    rain = {clip for clip in TEST_CLIPS if clip.startswith("rain/")}
    assert clips_of(load_corpus("audiofolder", tmp_path / "one"))["test"] == rain


@pytest.mark.parametrize(("folders", "splits"), SPLIT_NAMES)
def test_given_splits_are_used(tmp_path: Path, write_clips: Write, folders: list[str], splits: list[str]) -> None:
    for count, folder in enumerate(folders, 1):
        write_clips(tmp_path / folder, [f"{name}/{i}.ogg" for name in ("b", "a") for i in range(count)])
    corpus = load_corpus("audiofolder", tmp_path)
    assert list(corpus) == splits and label_names(corpus) == ["a", "b"]
    for count, split in enumerate(splits, 1):
        assert corpus[split]["label"][:] == [0] * count + [1] * count
        assert corpus[split]["id"][0] == "a/0.ogg"


def test_train_alone_is_a_class_like_another(tmp_path: Path, write_clips: Write) -> None:
    write_clips(tmp_path, ["train/1.wav", "train/2.wav", "plane/1.wav"])
    assert label_names(load_corpus("audiofolder", tmp_path)) == ["plane", "train"]


def test_folders_in_a_class_are_of_the_class_and_others_are_left_out(
    tmp_path: Path, write_clips: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write_clips(tmp_path, ["dog/loud/1.wav", "dog/2.FLAC", "rain/1.wav", "beside.wav", ".cache/1.wav"])
    (tmp_path / "notes").mkdir()
    corpus = load_corpus("audiofolder", tmp_path)
    assert clips_of(corpus)["train"] | clips_of(corpus)["test"] == {"dog/loud/1.wav", "dog/2.FLAC", "rain/1.wav"}
    assert label_names(corpus) == ["dog", "rain"]
    assert "notes: no audio in this folder" in caplog.text


def test_class_that_is_only_tested_is_refused(tmp_path: Path, write_clips: Write) -> None:
    write_clips(tmp_path, ["train/dog/1.wav", "train/rain/1.wav", "test/dog/1.wav", "test/Rain/1.wav"])
    with pytest.raises(CorpusError, match=r"test: unknown label 'Rain', which .*train lacks"):
        load_corpus("audiofolder", tmp_path)


def test_fewer_than_two_classes_are_refused(tmp_path: Path, write_clips: Write) -> None:
    with pytest.raises(CorpusError, match=r"0 class folders with audio \(none\)"):
        load_corpus("audiofolder", tmp_path)
    write_clips(tmp_path, ["dog/1.wav", "dog/2.wav"])
    with pytest.raises(CorpusError, match=r"1 class folders with audio \(dog\); give two or more"):
        load_corpus("audiofolder", tmp_path)


def test_a_class_folder_without_audio_is_named(
    tmp_path: Path, write_clips: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write_clips(tmp_path, ["dog/1.wav", "dog/2.wav", "rain/1.wav", "rain/2.wav"])
    (tmp_path / "cat").mkdir()
    assert label_names(load_corpus("audiofolder", tmp_path)) == ["dog", "rain"]
    assert f"{tmp_path / 'cat'}: no audio in it, so 'cat' is no class" in caplog.messages
