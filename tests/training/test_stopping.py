"""What ends a run early: signals, a full disk, a loss that is not finite; and what is saved by then."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from full_disk import room_for
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import TrainerCallback

from fastast_hf import FastASTForAudioClassification
from fastast_hf.training import callbacks
from fastast_hf.training.callbacks import Stopped
from fastast_hf.training.checkpoints import newest_checkpoint
from fastast_hf.training.runs import is_disk_full

Make = Callable[..., Any]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("[enforce fail] file write failed")]
)
def test_a_full_disk_loses_nothing_that_was_saved(
    error: Exception, make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trainer, corpus, parts = make_run(save_strategy="epoch")
    save = trainer._save_optimizer_and_scheduler

    def full(folder: str) -> None:
        if folder.endswith("checkpoint-4"):
            (Path(folder) / "optimizer.pt").write_bytes(b"cut")
            raise error
        save(folder)

    monkeypatch.setattr(trainer, "_save_optimizer_and_scheduler", full)
    with pytest.raises(OSError, match=r"no space left to save step 4; checkpoint-2 is whole: .* --resume"):
        run.train(trainer, corpus, parts)
    assert [path.name for path in sorted((tmp_path / "out").glob("checkpoint-*"))] == ["checkpoint-2"]
    run, trainer, corpus, parts = make_run(resume=True, save_strategy="epoch")
    run.train(trainer, corpus, parts)
    assert trainer.state.global_step == 4


def test_a_limit_on_files_is_a_full_disk_to_safetensors(tmp_path: Path) -> None:
    with pytest.raises(SafetensorError) as caught, room_for(1000):
        save_file({"weights": torch.zeros(100_000)}, tmp_path / "weights.safetensors")
    assert is_disk_full(caught.value, tmp_path)
    assert not is_disk_full(SafetensorError("another"), tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_disk_that_is_full_while_torch_writes_is_recognised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises((RuntimeError, OSError)) as caught:
        torch.save({"weights": torch.zeros(100_000)}, "/dev/full")
    assert is_disk_full(caught.value, tmp_path) is ("No space left" in str(caught.value))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert is_disk_full(caught.value, tmp_path)
    wrapped = ValueError("saving failed")
    wrapped.__cause__ = caught.value
    assert is_disk_full(wrapped, tmp_path)
    assert not is_disk_full(ValueError("shapes"), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["on_step_begin", "on_step_end", "on_prediction_step"])
def test_a_signal_saves_a_checkpoint_from_which_the_run_ends_as_if_never_stopped(
    where: str, number: int, make_run: Make, tmp_path: Path
) -> None:
    run, trainer, corpus, parts = make_run(folder="whole", save_strategy="no")
    run.train(trainer, corpus, parts)
    whole = trainer.model.state_dict()

    def send(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            os.kill(os.getpid(), number)

    run, trainer, corpus, parts = make_run(save_strategy="no")
    callback = TrainerCallback()
    setattr(callback, where, send)
    trainer.add_callback(callback)
    with pytest.raises(Stopped, match=r"stopped; .*checkpoint-[23] is saved, and --resume goes on from it") as caught:
        run.train(trainer, corpus, parts)
    assert caught.value.number == number and signal.getsignal(number) is not trainer.stopping._hear
    run, trainer, corpus, parts = make_run(resume=True, save_strategy="no")
    results = run.train(trainer, corpus, parts)
    assert [epoch["epoch"] for epoch in results["epochs"]] == [1, 2]
    assert all(torch.equal(weight, whole[name]) for name, weight in trainer.model.state_dict().items())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_reaches_the_loaders_workers_too_still_saves_a_checkpoint(make_run: Make, number: int) -> None:
    def send(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for worker in multiprocessing.active_children() if state.global_step == 0 else ():
            os.kill(worker.pid or 0, number)
        if state.global_step == 8:
            os.kill(os.getpid(), number)

    loading = {"dataloader_num_workers": 2, "per_device_train_batch_size": 1}  # most clips are still to be read
    run, trainer, corpus, parts = make_run(save_strategy="no", eval_strategy="no", **loading)
    callback = TrainerCallback()
    callback.on_step_begin = send  # type: ignore[method-assign]
    trainer.add_callback(callback)
    with pytest.raises(Stopped, match="checkpoint-9 is saved"):
        run.train(trainer, corpus, parts)


@pytest.mark.parametrize("ignored", [True, False])
def test_a_hang_up_is_heard_unless_it_is_ignored(ignored: bool, make_run: Make) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with make_run()[1].stopping.listening():
            assert (signal.getsignal(signal.SIGHUP) == signal.SIG_IGN) is ignored
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_long_epoch_is_saved_each_ten_minutes(
    make_run: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(callbacks, "LONGEST_UNSAVED", 0.0)
    _, trainer, *_ = make_run(save_strategy="epoch", num_train_epochs=1)
    trainer.train()
    assert sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]


@pytest.mark.parametrize("where", ["loss", "weights"])
def test_numbers_that_are_not_finite_end_the_run_within_a_step_and_keep_the_last_checkpoint(
    where: str, make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trainer, corpus, parts = make_run(save_strategy="epoch", num_train_epochs=3)
    losses = trainer.losses

    def diverge(logits: Any, *args: Any) -> Any:
        if trainer.model.training and trainer.state.global_step == 3:
            if where == "loss":
                return losses(logits, *args) * float("nan")
            trainer.model.classifier.dense.bias.data.fill_(float("inf"))
        return losses(logits, *args)

    monkeypatch.setattr(trainer, "losses", diverge)
    with pytest.raises(ValueError, match=r"at step [45]: lower --learning-rate"):
        run.train(trainer, corpus, parts)
    assert newest_checkpoint(tmp_path / "out") == tmp_path / "out" / "checkpoint-2"


def test_the_model_is_saved_before_it_is_tested(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trainer, corpus, parts = make_run(eval_strategy="no")
    monkeypatch.setattr(trainer, "predict", lambda *_, **__: (_ for _ in ()).throw(ValueError("no scores")))
    with pytest.raises(ValueError, match="no scores"):
        run.train(trainer, corpus, parts)
    assert FastASTForAudioClassification.from_pretrained(tmp_path / "out").config.id2label == {0: "dog", 1: "rain"}


def test_other_errors_are_not_taken_for_a_full_disk(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run, trainer, corpus, parts = make_run()
    monkeypatch.setattr(trainer, "training_step", lambda *_: (_ for _ in ()).throw(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        run.train(trainer, corpus, parts)
