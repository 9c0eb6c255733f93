"""Tiny corpora: clips of 0.1 s, and parquet copies as they lie on the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile

TONE = 0.5 * np.sin(2 * np.pi * 440 / 16000 * np.arange(1600))

WriteClips = Callable[[Path, Iterable[str]], None]
WriteParquet = Callable[[Path, dict[str, list[Any]]], None]


@pytest.fixture(autouse=True)
def _no_traces(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What datasets keeps of a parquet copy goes with the test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()


@pytest.fixture
def write_clips() -> WriteClips:
    def write(folder: Path, names: Iterable[str]) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name, TONE, 16000)

    return write


@pytest.fixture
def write_parquet() -> WriteParquet:
    """Rows without audio in; a file with an audio column, which says that it wants to be decoded, out."""
    clip = BytesIO()
    soundfile.write(clip, TONE, 16000, format="FLAC")

    def write(file: Path, columns: dict[str, list[Any]]) -> None:
        count = len(next(iter(columns.values())))
        audio = [{"bytes": clip.getvalue(), "path": f"{index}.flac"} for index in range(count)]
        file.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict({**columns, "audio": audio}).cast_column("audio", datasets.Audio()).to_parquet(file)

    return write
