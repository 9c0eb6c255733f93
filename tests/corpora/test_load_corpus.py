"""What is asked for, and what no corpus has."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, IterableDataset

from fastast_hf.audio import load_audio
from fastast_hf.corpora import CORPORA, Corpus, CorpusError, StreamingCorpus, load_corpus

Write = Callable[..., None]
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("esc10", {"root": "x"}, "no corpus 'esc10': give --corpus, one of esc50, speech_commands, audioset, audiofolder"),
    ("", {}, "no corpus is given: give --corpus, one of esc50,"),
    ("", {"root": "x"}, "x: no such file or folder; give the folder that holds your sounds, or a table"),
    (
        "esc50",
        {},
        "esc50: no corpus to read; give its folder (--data, in Python root) or a copy on the Hub (--hub-id, hub_id)",
    ),
    (
        "esc50",
        {"root": "x", "hub_id": "a/b"},
        "esc50: two to read from; give its folder (--data, in Python root) or a copy on the Hub",
    ),
    ("esc50", {"root": "x", "classes": 12}, "esc50: unknown option classes; this corpus has fold"),
    ("audioset", {"root": "x", "fold": 1}, "audioset: unknown option fold; this corpus has labels, subset"),
    ("audiofolder", {"root": "x", "b": 1, "a": 1}, "audiofolder: unknown option a, b; this corpus has none"),
    ("audiofolder", {"hub_id": "a/b"}, "a/b: an audio folder is not loaded from the Hub"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), REFUSED)
def test_what_no_corpus_has_is_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CorpusError, match=re.escape(message)) as caught:
        load_corpus(name, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CORPORA)
def test_missing_folder_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorpusError, match=r"nowhere: no such (file or )?folder; give the folder that holds"):
        load_corpus(name, tmp_path / "nowhere")


def test_corpus_comes_whole_or_as_streams(tmp_path: Path, write_clips: Write) -> None:
    write_clips(tmp_path, [f"{name}/{i}.wav" for name in ("dog", "rain") for i in range(5)])
    corpus = load_corpus("audiofolder", str(tmp_path))
    streams = load_corpus("audiofolder", tmp_path, streaming=True)
    assert isinstance(corpus, Corpus) and isinstance(streams, StreamingCorpus)
    rows = list(streams["train"])
    assert isinstance(streams["train"], IterableDataset) and streams["train"].num_shards == 8
    assert sorted(rows, key=lambda row: row["id"]) == list(corpus["train"]) != rows  # not one class after the other
    assert isinstance(streams["test"], Dataset) and list(streams["test"]) == list(corpus["test"])
    assert load_audio(corpus["train"][0]["audio"]["path"]).shape == (1600,)


def test_home_is_found(tmp_path: Path, write_clips: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clips(tmp_path / "corpus", ["dog/1.wav", "dog/2.wav", "rain/1.wav"])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_corpus("audiofolder", "~/corpus")["train"]) == 2
