"""Streams of training clips: shuffled passes without an end, shares, unreadable clips, epochs by steps, resuming."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from small_corpora import write_speech_commands, write_tone
from torch.utils.data import DataLoader, default_collate
from transformers import TrainerCallback, TrainingArguments

from fastast_hf import AudioError, FastASTFeatureExtractor
from fastast_hf.corpora.corpus import Clip, build_corpus, stream
from fastast_hf.training.arguments import AugmentationArguments, ScheduleArguments
from fastast_hf.training.finetuning import CorpusArguments, LearningArguments, build_trainer
from fastast_hf.training.inputs import streaming
from fastast_hf.training.inputs.streaming import ClipStream, clip_number, count_epochs_in_steps, steps_per_epoch
from fastast_hf.training.start.student import ModelArguments, build_extractor, build_model
from fastast_hf.training.trainer import FastASTTrainer

ROOT = Path(__file__).parents[3]
CLASSES = 5
Make = Callable[..., Any]


@pytest.fixture
def split(tmp_path: Path) -> Make:
    """A streamed split of `count` clips sorted by class; a clip's first sample, times 1000, is its number."""

    def make(count: int = 12, shards: int | None = None, broken: tuple[int, ...] = ()) -> datasets.IterableDataset:
        clips = []
        for index in range(count):
            path = tmp_path / f"{index}.wav"
            soundfile.write(path, np.full(800, index / 1000), 16000, "FLOAT")
            clips.append(Clip(str(index), path, index * CLASSES // count))
        for index in broken:
            (tmp_path / f"{index}.wav").write_bytes(b"no audio")
        corpus = build_corpus({"train": clips}, [f"class {i}" for i in range(CLASSES)], tmp_path)
        if shards is not None:
            return corpus["train"].to_iterable_dataset(shards)
        return stream(corpus)["train"]

    return make


def test_stretches_of_longer_clips_depend_on_seed_pass_and_clip(tmp_path: Path) -> None:
    clips = []
    for index in range(3):
        soundfile.write(tmp_path / f"{index}.wav", np.arange(20000) / 20000, 16000, "FLOAT")
        clips.append(Clip(str(index), tmp_path / f"{index}.wav", 0))
    rows = stream(build_corpus({"train": clips}, ["ramp"], tmp_path))["train"]

    def starts(seed: int = 0, count: int = 6) -> list[float]:
        return [item["waveforms"][0].item() for item in islice(ClipStream(rows, 1, 16000, 500, seed), count)]

    assert starts() == starts() and len(set(starts())) == 6
    assert not set(starts()) & set(starts(seed=1))


def numbers(items: Any) -> list[int]:
    return [round(1000 * item["waveforms"][0].item()) for item in items]


def test_every_pass_brings_each_clip_once_in_an_order_of_its_own(split: Make) -> None:
    drawn = numbers(islice(ClipStream(split(), CLASSES, 16000, 1000), 48))
    passes = [drawn[start : start + 12] for start in (0, 12, 24, 36)]
    assert all(sorted(clips) == list(range(12)) for clips in passes)
    assert len({tuple(clips) for clips in passes}) == 4
    assert numbers(islice(ClipStream(split(), CLASSES, 16000, 1000), 48)) == drawn
    assert numbers(islice(ClipStream(split(), CLASSES, 16000, 1000, seed=1), 12)) != passes[0]


def test_items_hold_what_the_trainer_wants(split: Make) -> None:
    batch = default_collate(list(islice(ClipStream(split(), CLASSES, 16000, 1000), 3)))
    assert batch["waveforms"].shape == (3, 1000) and not batch["waveforms"][:, 800:].any()
    assert batch["num_samples"].tolist() == [800, 800, 800] and batch["unreadable"].tolist() == [-1, -1, -1]
    expected = [number * CLASSES // 12 for number in (1000 * batch["waveforms"][:, 0]).round().int().tolist()]
    assert batch["labels"].argmax(dim=1).tolist() == expected and batch["labels"].sum() == 3


@pytest.mark.parametrize("shards", [None, 3, 1])
def test_processes_have_shares_of_their_own(split: Make, shards: int | None) -> None:
    clips = split(shards=shards)
    shares = [numbers(islice(ClipStream(clips, CLASSES, 16000, 1000, 0, rank, 2), 60)) for rank in (0, 1)]
    assert not set(shares[0][:4]) & set(shares[1][:4])  # of a pass of 4, 6 or 8
    assert set(shares[0]) | set(shares[1]) == set(range(12))
    assert all(len(share) == 60 for share in shares)


def test_batches_are_of_many_classes_on_every_process(split: Make) -> None:
    clips = split(400)
    for rank in (0, 1):
        items = list(islice(ClipStream(clips, CLASSES, 16000, 1000, 0, rank, 2), 40))
        counts = Counter(int(item["labels"].argmax()) for item in items)
        assert len(counts) == CLASSES and max(counts.values()) < 20


def test_a_clip_that_cannot_be_read_is_told_of_and_takes_no_place(
    split: Make, caplog: pytest.LogCaptureFixture
) -> None:
    clips = ClipStream(split(broken=(3, 7)), CLASSES, 16000, 1000)
    batches = DataLoader(clips, 5)
    seen = list(islice(batches, 4))
    assert [len(batch["labels"]) for batch in seen] == [5] * 4
    drawn = [number for batch in seen for number in (1000 * batch["waveforms"][:, 0]).round().int().tolist()]
    assert Counter(drawn) == {number: 2 for number in range(12) if number not in (3, 7)}
    told = {number for batch in seen for number in batch["unreadable"].tolist()}
    assert told == {-1, clip_number("3"), clip_number("7")}
    assert sorted(record.message.rpartition("/")[2][:5] for record in caplog.records) == ["3.wav", "7.wav"]


def test_nothing_but_unreadable_clips_is_an_error(split: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_MOST_UNREADABLE", 10)
    clips = ClipStream(split(3, broken=(0, 1, 2)), CLASSES, 16000, 1000)
    with pytest.raises(AudioError, match="10 clips of the stream in a row can't be read"):
        next(iter(clips))


def test_more_processes_than_clips_are_refused(split: Make) -> None:
    with pytest.raises(ValueError, match="no clip for process 3 of 4: start fewer processes"):
        next(iter(ClipStream(split(2, shards=1), CLASSES, 16000, 1000, 0, 3, 4)))


@pytest.mark.slow
@pytest.mark.parametrize("shards", [None, 1])
def test_workers_share_the_clips_and_one_without_any_stands_aside(split: Make, shards: int | None) -> None:
    def drawn() -> list[int]:
        batches = DataLoader(ClipStream(split(shards=shards), CLASSES, 16000, 1000), 3, num_workers=2)
        return [
            number
            for batch in islice(batches, 8)
            for number in (1000 * batch["waveforms"][:, 0]).round().int().tolist()
        ]

    assert Counter(drawn()) == dict.fromkeys(range(12), 2)
    assert drawn() == drawn()


@pytest.mark.parametrize(("max_steps", "epochs", "expected"), [(10, 5, 2), (11, 5, 3), (2, 3, 1), (10, 2.5, 4)])
def test_steps_are_spread_over_epochs(max_steps: int, epochs: float, expected: int) -> None:
    assert steps_per_epoch(max_steps, epochs) == expected


def test_what_is_to_be_done_after_an_epoch_is_done_after_its_steps(tmp_path: Path) -> None:
    args = TrainingArguments(
        str(tmp_path), max_steps=11, num_train_epochs=5, eval_strategy="epoch", save_strategy="no", use_cpu=True
    )
    for _ in range(2):  # folds share the arguments
        count_epochs_in_steps(args)
        assert (args.eval_strategy, args.eval_steps) == ("steps", 3)
        assert (args.save_strategy, args.logging_strategy, args.logging_steps) == ("no", "steps", 500)


@pytest.fixture
def make_trainer(tmp_path: Path) -> Make:
    """The trainer of a streamed corpus with 8 clips to train on, 4 to validate on and 3 to test on."""
    root = write_speech_commands(tmp_path / "words")
    (root / "testing_list.txt").write_text("yes/3_nohash_0.wav\nno/3_nohash_0.wav\nstop/3_nohash_0.wav")
    corpus_settings = CorpusArguments(corpus="speech_commands", data=str(root), streaming=True)
    model_settings = ModelArguments(frames=64, hidden_size=24, layers=1, stride=16, mean=-5.0, std=4.0)

    def make(folder: str = "out", **settings: Any) -> FastASTTrainer:
        names = [name for name in settings if name in LearningArguments.__dataclass_fields__]
        learning = LearningArguments(**{name: settings.pop(name) for name in names})
        callbacks = settings.pop("callbacks", [])
        defaults = {"max_steps": 6, "num_train_epochs": 3, "per_device_train_batch_size": 4, "save_strategy": "no"}
        args = TrainingArguments(
            str(tmp_path / folder), use_cpu=True, report_to="none", disable_tqdm=True, **(defaults | settings)
        )
        torch.manual_seed(0)
        model, corpus = build_model(model_settings, corpus_settings.load())
        extractor = build_extractor(model_settings, model, corpus)
        augment = AugmentationArguments(mixup=0.5, time_mask=10)
        parts = (corpus_settings, learning, augment, ScheduleArguments(), args)
        trainer = build_trainer(model, extractor, corpus, *parts)
        for callback in callbacks:
            trainer.add_callback(callback)
        return trainer

    return make


def test_epochs_of_a_stream_are_counted_in_steps(make_trainer: Make, tmp_path: Path) -> None:
    trainer = make_trainer(
        max_steps=8,
        eval_strategy="epoch",
        save_strategy="epoch",
        average_from=2,
        logging_steps=3,
        save_only_model=True,
    )
    (tmp_path / "words" / "yes" / "0_nohash_0.wav").write_bytes(b"broken")
    trainer.train()
    evaluated = [entry for entry in trainer.state.log_history if "eval_accuracy" in entry]
    assert [(entry["step"], entry["epoch"]) for entry in evaluated] == [(3, 1.0), (6, 2.0), (8, 8 / 3)]
    assert sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*")) == [
        "checkpoint-3",
        "checkpoint-6",
        "checkpoint-8",
    ]
    assert trainer.average.epochs == [2, 3]
    assert trainer.unreadable == {clip_number("yes/0_nohash_0")}
    assert len(trainer.eval_dataset) == 4 and len(trainer.test_dataset) == 3


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_stopped_run_goes_on_with_the_same_clips(make_trainer: Make, tmp_path: Path, workers: int) -> None:
    settings = {
        "save_strategy": "steps", "save_steps": 5, "gradient_accumulation_steps": 2, "learning_rate": 0.01,
        "dataloader_num_workers": workers, "average_from": 1,
    }  # fmt: skip
    whole = make_trainer("whole", **settings)
    whole.train()
    stopped = make_trainer("stopped", callbacks=[StopAt(6)], **settings)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed = make_trainer("stopped", **settings)
    # Of 9 training clips and 8 a step: in the fifth pass.
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / "checkpoint-5"))
    for (name, one), other in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert resumed.average.epochs == whole.average.epochs == [1, 2, 3]
    for name, average in whole.average.weights.items():
        assert torch.equal(average, resumed.average.weights[name]), name


def launch(out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The training script in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    command += [str(ROOT / "training" / "run_finetune.py"), *map(str, arguments), "--output_dir", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Two classes, 9 and 8 clips to train on of which 2 cannot be read, and 3 to test on."""
    for split_name, name, count in (
        ("train", "dog", 9),
        ("train", "rain", 8),
        ("test", "dog", 2),
        ("test", "rain", 1),
    ):
        for number in range(count):
            write_tone(
                tmp_path / "clips" / split_name / name / f"{number}.wav", 300 + 1000 * (name == "rain") + number
            )
    for number in (0, 1):
        (tmp_path / "clips" / "train" / "rain" / f"{number}.wav").write_bytes(b"broken")
    return tmp_path / "clips"


@pytest.mark.slow
def test_two_processes_with_uneven_shares_train_evaluate_and_resume_alike(uneven: Path, tmp_path: Path) -> None:
    settings = ["--hidden_size", 24, "--layers", 1, "--stride", 16, "--frames", 64, "--mean", -5, "--std", 4]
    settings += ["--corpus", "audiofolder", "--data", uneven, "--streaming", "--max_steps", 9, "--use_cpu"]
    settings += [
        "--num_train_epochs",
        3,
        "--eval_strategy",
        "epoch",
        "--save_strategy",
        "epoch",
        "--report_to",
        "none",
    ]
    settings += ["--per_device_train_batch_size", 3, "--average_from", 1, "--learning_rate", 0.001]
    settings += ["--dataloader_num_workers", 2]
    whole = launch(tmp_path / "whole", *settings)
    assert whole.returncode == 0, whole.stderr
    results = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert results["training"]["world_size"] == 2 and results["unreadable_in_training"] == 2
    assert [epoch["epoch"] for epoch in results["epochs"]] == [1, 2, 3]
    assert results["clips"] == {"test": 3} and set(results["test"]) == {"last", "averaged"}
    # As if it had been killed after the second epoch.
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    (tmp_path / "whole" / "checkpoint-6").rename(stopped / "checkpoint-6")
    resumed = launch(stopped, *settings, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name
    assert FastASTFeatureExtractor.from_pretrained(stopped).mean == -5
