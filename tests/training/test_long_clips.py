"""Recordings three times as long as what the model hears at once: training, evaluation and classify agree on them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from running_scripts import CPU, load_script
from sounds import tone

from fastast_hf import Tagger
from fastast_hf.audio import find_audio, load_audio
from fastast_hf.cli.main import main
from fastast_hf.corpora import load_corpus
from fastast_hf.evaluation.predictions import predict

CLASSES = {"high": 3000.0, "low": 300.0}
# A student of 1.02 s: 80 patches.
SMALL = ["--hidden_size", "24", "--layers", "2", "--stride", "16", "--frames", "100", *CPU]


def write_long(root: Path, per_class: int) -> Path:
    """Quiet recordings of 3 s, whose sound is from 1.2 s to 2.2 s."""
    random = np.random.default_rng(0)
    for name, hertz in CLASSES.items():
        for split, count in (("train", per_class), ("test", 5)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                samples = 0.01 * random.normal(size=48000)
                samples[19200:35200] += tone(hertz * random.uniform(0.9, 1.1), seconds=1.0, amplitude=0.3)
                soundfile.write(root / split / name / f"{number}.wav", samples, 16000)
    return root


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_long(tmp_path_factory.mktemp("long"), 8)


def check_agreement(data: Path, out: Path, capsys: pytest.CaptureFixture[str], least: float, pool: str) -> None:
    """The test split's accuracy at the end of training, by evaluate and by classify: the same, and good."""
    trained = json.loads((out / "results.json").read_text())["test"]["last"]
    table = out / "table"
    argv = ["evaluate", "audiofolder", "--data", str(data), "--model", str(out), "--r", "0", "--rounds", "0"]
    assert main([*argv, "--device", "cpu", "--output", str(table)]) == 0
    (results,) = table.glob("*-test.json")  # named after the data
    (row,) = json.loads(results.read_text())["rows"]
    tagger = Tagger(out, top_k=None, device="cpu")
    files = sorted((data / "test").glob("*/*"))
    labels = tagger(files)
    right = [best["label"] == file.parent.name for file, (best, *_) in zip(files, labels, strict=True)]
    assert trained["accuracy"] == pytest.approx(row["score"]) == pytest.approx(np.mean(right))
    assert trained["accuracy"] >= least
    config = tagger.model.config
    assert config.window_pool == pool
    split = load_corpus("audiofolder", data)
    scores = torch.from_numpy(predict(tagger, split).logits).softmax(dim=1)
    names = list(config.id2label.values())
    for path, own in zip((audio["path"] for audio in split["test"]["audio"]), scores, strict=True):
        said = {entry["label"]: entry["score"] for entry in labels[files.index(Path(path))]}
        made = torch.tensor([said[name] for name in names])
        torch.testing.assert_close(made / made.sum(), own, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_a_sound_in_the_middle_is_learnt_and_scored_alike_everywhere(
    pool: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = ["--corpus", "audiofolder", "--data", corpus, "--learning_rate", "3e-3", "--max_steps", "40"]
    settings += ["--per_device_train_batch_size", "8", "--pool", pool, "--output_dir", tmp_path / "out"]
    load_script("run_finetune").main([*SMALL, *map(str, settings)])
    said = [record.message for record in caplog.records if "the model hears 1.0 s at once" in record.message]
    assert sorted(line.split(" and ")[0] for line in said) == [
        "test: 10 of 10 clips are longer than 1.5 s (up to 3.0 s),",
        "train: 16 of 16 clips are longer than 1.5 s (up to 3.0 s),",
    ]
    check_agreement(corpus, tmp_path / "out", capsys, 1.0, pool)


@pytest.mark.slow
@pytest.mark.real_audio
@pytest.mark.skipif("FASTAST_TEST_AUDIO" not in os.environ, reason="FASTAST_TEST_AUDIO names no folder of recordings")
def test_a_real_sound_at_12_s_of_30_s_is_learnt_and_scored_alike_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rain and crowing roosters of ESC-10."""
    random, esc10 = np.random.default_rng(0), Path(os.environ["FASTAST_TEST_AUDIO"]) / "ESC-10" / "audio"
    files = find_audio(esc10).files
    for name, target in (("rain", 10), ("rooster", 1)):
        for file in (file for file in files if file.stem.endswith(f"-{target}")):
            split = "test" if file.name.startswith("1-") else "train"
            samples = 1e-4 * random.normal(size=480000)
            sound = load_audio(file)
            samples[192000 : 192000 + len(sound)] += sound
            (tmp_path / "data" / split / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / "data" / split / name / f"{file.stem}.flac", samples.clip(-1, 1), 16000)
    settings = ["--corpus", "audiofolder", "--data", tmp_path / "data", "--learning_rate", "1e-3"]
    settings += ["--max_steps", "60", "--per_device_train_batch_size", "16", "--output_dir", tmp_path / "out"]
    sizes = ["--hidden_size", "48", "--layers", "2", "--stride", "16", "--frames", "1024", *CPU]
    load_script("run_finetune").main([*sizes, *map(str, settings)])
    check_agreement(tmp_path / "data", tmp_path / "out", capsys, 0.8, "mean")
