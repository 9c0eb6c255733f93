"""Clips in two splits: the same file is refused, the same content is warned of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_corpora import write_speech_commands, write_tone

from fastast_hf.corpora import CorpusError, load_corpus


def test_a_file_in_two_splits_is_refused(tmp_path: Path) -> None:
    root = write_speech_commands(tmp_path / "words")
    (root / "testing_list.txt").write_text((root / "validation_list.txt").read_text())
    with pytest.raises(CorpusError, match=r"2_nohash_0.wav: in the splits validation and test; list each clip in one"):
        load_corpus("speech_commands", root, classes=12)


def test_a_copy_under_another_name_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for index, name in enumerate(("cat", "dog")):
        for split, hertz in (("train", 400), ("test", 500)):
            write_tone(tmp_path / split / name / "a.wav", hertz + 200 * index)
    load_corpus("audiofolder", tmp_path)
    assert not caplog.records
    shutil.copy(tmp_path / "train" / "dog" / "a.wav", tmp_path / "test" / "dog" / "b.wav")
    load_corpus("audiofolder", tmp_path)
    assert "1 clips of one split have the content of a clip of another" in caplog.text
    assert str(tmp_path / "test" / "dog" / "b.wav") in caplog.text
