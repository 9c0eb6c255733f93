"""Folders of unlabelled sound: splits, excerpts of long recordings, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_corpora import write_tone

from fastast_hf.corpora import CorpusError, is_multi_label, label_names, load_corpus

NAMES = ["Dog", "Rain"]


def test_train_and_test_folders_are_the_splits_and_long_recordings_many_excerpts(tmp_path: Path) -> None:
    write_tone(tmp_path / "train" / "game" / "short.wav", 400)
    write_tone(tmp_path / "train" / "game" / "long.wav", 500, seconds=32)
    write_tone(tmp_path / "test" / "other" / "a.wav", 600, seconds=10.5)
    corpus = load_corpus("unlabelled", tmp_path, labels=NAMES)
    assert corpus["train"]["id"][:] == [*(f"game/long.wav@{start}" for start in (0, 10, 20, 30)), "game/short.wav@0"]
    assert corpus["train"]["start"][:] == [0.0, 10.0, 20.0, 30.0, 0.0]
    assert corpus["test"]["id"][:] == ["other/a.wav@0"]  # half a second more is no excerpt
    assert label_names(corpus) == NAMES and is_multi_label(corpus)
    assert corpus["train"]["labels"][:] == [[]] * 5 and corpus.missing == {"train": 0, "test": 0}


def test_of_a_folder_without_splits_a_fifth_of_the_recordings_is_for_testing(tmp_path: Path) -> None:
    for number in range(10):
        write_tone(tmp_path / f"{number}.wav", 300 + number)
    corpus = load_corpus("unlabelled", tmp_path, labels=NAMES)
    train, test = (set(corpus[split]["id"][:]) for split in ("train", "test"))
    assert (len(train), len(test), train & test) == (8, 2, set())
    assert corpus["test"]["id"][:] == load_corpus("unlabelled", tmp_path, labels=NAMES)["test"]["id"][:]


def test_without_a_teacher_or_a_folder_it_is_refused(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", 400)
    with pytest.raises(CorpusError, match="teaches nothing without a teacher; use fastast distill --teacher TEACHER"):
        load_corpus("unlabelled", tmp_path)
    with pytest.raises(CorpusError, match="me/sounds: unlabelled sound is not loaded from the Hub"):
        load_corpus("unlabelled", hub_id="me/sounds", labels=NAMES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="none of the 0 clips"):
        load_corpus("unlabelled", tmp_path / "empty", labels=NAMES)
