"""One tagger for many threads, in forked and spawned workers, and through a pickle: the scores stay the same."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from fastast_hf import FastASTFeatureExtractor, Tagger, load_audio
from fastast_hf.onnx.export import export_onnx
from fastast_hf.tagging import int8
from fastast_hf.tagging.int8 import int8_works

Make = Callable[..., Any]
SPEECH = sorted((Path(__file__).parents[1] / "data" / "speech").glob("*.wav"))[:4]
KINDS = ["float32", "bfloat16", "int8", "onnx"]


def tagger_of(kind: str, checkpoint: Path) -> Tagger:
    """On the CPU, as workers have no GPU."""
    if kind == "onnx":
        export_onnx(checkpoint, checkpoint / "model.onnx")
        return Tagger(checkpoint / "model.onnx")
    if kind == "int8" and not int8_works():
        pytest.skip("this machine lacks 8-bit products")
    return Tagger(checkpoint, dtype=kind, device="cpu")


def noise(samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def each(tagger: Tagger) -> list[Any]:
    """Labels of one file at a time: a batch of several rounds otherwise."""
    return [tagger(file) for file in SPEECH]


class Tagged(Dataset[Any]):
    """Labels that workers compute."""

    def __init__(self, tagger: Tagger) -> None:
        self.tagger = tagger

    def __len__(self) -> int:
        return len(SPEECH)

    def __getitem__(self, index: int) -> list[dict[str, Any]]:
        return self.tagger(SPEECH[index])


class Spectrograms(Dataset[Any]):
    """What workers read and turn into the model's input."""

    def __init__(self) -> None:
        self.extractor = FastASTFeatureExtractor(max_length=128, num_mel_bins=48)

    def __len__(self) -> int:
        return len(SPEECH)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.extractor(load_audio(SPEECH[index]), sampling_rate=16000, return_tensors="pt").input_values[0]


def worked(dataset: Dataset[Any], start: str) -> list[Any]:
    """What two workers make of it."""
    return list(DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=start, timeout=120))


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_eight_threads_at_any_r_and_length_get_the_scores_of_one(kind: str, checkpoint: Path) -> None:
    tagger = tagger_of(kind, checkpoint)
    tagger.native_length = True
    jobs = [(noise(3000 + 1700 * (k % 8), k), [None, 0, 3, [8, 0, 2]][k % 4]) for k in range(24)]
    expected = [tagger.scores([clip], tome_r=r) for clip, r in jobs]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda job: tagger.scores([job[0]], tome_r=job[1]), jobs))
    for one, other in zip(expected, got, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickled_tagger_gives_the_same_labels(kind: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = tagger_of(kind, checkpoint)
    monkeypatch.chdir(checkpoint)  # an exported file is found again from elsewhere
    pickled = pickle.dumps(tagger)
    monkeypatch.chdir("/")
    assert pickle.loads(pickled)(SPEECH) == tagger(SPEECH)


def test_an_int8_tagger_is_refused_in_a_line_where_there_is_no_int8(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled = pickle.dumps(tagger_of("int8", checkpoint))
    monkeypatch.setattr(int8, "int8_works", lambda: False)
    with pytest.raises(ValueError, match="int8 needs an x86 processor with VNNI: choose float32"):
        pickle.loads(pickled)


@pytest.mark.parametrize("kind", KINDS)
def test_forked_workers_give_the_same_labels(kind: str, checkpoint: Path) -> None:
    tagger = tagger_of(kind, checkpoint)
    assert worked(Tagged(tagger), "fork") == each(tagger)


def test_an_exported_model_of_several_threads_can_be_forked(checkpoint: Path) -> None:
    torch.set_num_threads(2)
    try:
        tagger = tagger_of("onnx", checkpoint)
        expected = each(tagger)
        assert worked(Tagged(tagger), "fork") == expected
    finally:
        torch.set_num_threads(1)


def test_forked_workers_make_the_same_spectrograms() -> None:
    dataset = Spectrograms()
    expected = [dataset[index] for index in range(len(dataset))]
    assert all(map(torch.equal, worked(dataset, "fork"), expected))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_spawned_workers_give_the_same_labels(kind: str, checkpoint: Path) -> None:
    tagger = tagger_of(kind, checkpoint)
    assert worked(Tagged(tagger), "spawn") == each(tagger)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_of_processes_gives_the_same_labels(kind: str, checkpoint: Path) -> None:
    tagger = tagger_of(kind, checkpoint)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        assert list(pool.map(tagger, SPEECH, timeout=300)) == each(tagger)
