"""What a place holds, where no corpus is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from small_corpora import write_audioset, write_esc50, write_speech_commands

from fastast_hf.corpora import CorpusError, load_corpus
from fastast_hf.corpora.own.recognition import recognise

Write = Callable[..., None]


def test_layouts_are_told_from_each_other(tmp_path: Path, write_clips: Write, write_parquet: Write) -> None:
    official = {"esc50": write_esc50, "speech_commands": write_speech_commands, "audioset": write_audioset}
    for name, write in official.items():
        assert recognise(write(tmp_path / name))[0] == name
    write_clips(tmp_path / "sounds", ["dog/0.wav", "rain/0.wav"])
    write_clips(tmp_path / "given", ["train/dog/0.wav", "test/dog/0.wav"])
    assert recognise(tmp_path / "sounds")[0] == recognise(tmp_path / "given")[0] == "audiofolder"
    write_parquet(tmp_path / "pq" / "data" / "train-0.parquet", {"label": [0, 1]})
    datasets.load_dataset(str(tmp_path / "pq"), split="train").save_to_disk(tmp_path / "saved")
    for place in ("pq", "pq/data/train-0.parquet", "saved"):
        assert recognise(tmp_path / place)[0] == "datasets"
    (tmp_path / "sounds" / "labels.csv").write_text("file,label\ndog/0.wav,dog\nrain/0.wav,rain\n")
    for place in ("sounds", "sounds/labels.csv"):
        assert recognise(tmp_path / place)[0] == "csv"


def test_what_is_nothing_known_is_said(tmp_path: Path, write_clips: Write) -> None:
    write_clips(tmp_path, ["a.wav"])
    with pytest.raises(CorpusError, match=r"holds neither a table .* nor folders named after classes"):
        recognise(tmp_path)
    with pytest.raises(CorpusError, match=r"a.wav: is no table; give a file that ends in .csv, .tsv"):
        recognise(tmp_path / "a.wav")


def test_folders_of_folds_are_no_classes(tmp_path: Path, write_clips: Write) -> None:
    write_clips(tmp_path, [f"fold{number}/{clip}.wav" for number in (1, 2) for clip in "ab"])
    with pytest.raises(
        CorpusError, match=r"its folders are fold1, fold2. Are they folds, not classes\? Then give the"
    ):
        load_corpus("audiofolder", tmp_path)
