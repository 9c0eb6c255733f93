"""A run's folder: what is resumed, what is refused, a full disk, and the mean over folds."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_corpora import write_audioset, write_esc50
from transformers import TrainerCallback, TrainingArguments, set_seed

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification
from fastast_hf.cli.main import build_parser
from fastast_hf.errors import one_line_errors
from fastast_hf.evaluation.rows import INFERENCE, merging_rows
from fastast_hf.evaluation.sweep import Method, Sweep
from fastast_hf.loading.saved_weights import weights_digest
from fastast_hf.training import callbacks, runs
from fastast_hf.training.arguments import AugmentationArguments, ScheduleArguments
from fastast_hf.training.callbacks import Stopped
from fastast_hf.training.checkpoints import mark_complete, newest_checkpoint
from fastast_hf.training.finetuning import CorpusArguments, LearningArguments, build_trainer
from fastast_hf.training.results import summarise_folds, write_json, written_settings
from fastast_hf.training.runs import Run, is_disk_full, next_commands, run_folds
from fastast_hf.training.start.student import ModelArguments, build_extractor, build_model

Make = Callable[..., Any]


class StopAfter(TrainerCallback):
    """Ends training after a step, with its checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self.step


@pytest.fixture(autouse=True)
def hang_ups_are_heard() -> Iterator[None]:
    """Whatever the tests were started by, nohup say."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    root = write_esc50(tmp_path / "esc50")

    def make(
        resume: bool = False,
        folder: str = "out",
        corpus: CorpusArguments | None = None,
        model: dict[str, Any] | None = None,
        learning: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> tuple[Any, ...]:
        run = Run(tmp_path / folder, resume)
        corpus_settings = corpus or CorpusArguments(corpus="esc50", data=str(root), fold="1")
        model_settings = ModelArguments(
            **({"frames": 64, "hidden_size": 24, "layers": 2, "stride": 16, "mean": -5.0, "std": 4.0} | (model or {}))
        )
        defaults = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "eval_strategy": "epoch"}
        args = TrainingArguments(
            str(tmp_path / folder), use_cpu=True, disable_tqdm=True, **({"report_to": "none"} | defaults | arguments)
        )
        learning_settings = LearningArguments(**(learning or {}))
        parts = (corpus_settings, learning_settings, AugmentationArguments(), ScheduleArguments(), args)
        set_seed(args.seed)
        model, corpus = build_model(model_settings, corpus_settings.load(corpus_settings.folds()[0]))
        extractor = build_extractor(model_settings, model, corpus)
        return run, build_trainer(model, extractor, corpus, *parts), corpus, parts

    return make


@pytest.fixture
def stopped(make_run: Make) -> Make:
    """A run that was stopped after its first epoch of two steps, and the arguments to go on with."""
    run, trainer, corpus, parts = make_run(save_strategy="epoch", num_train_epochs=1)
    run.train(trainer, corpus, parts)
    (run.folder / "results.json").unlink()
    return partial(make_run, resume=True, save_strategy="epoch")


def test_a_run_leaves_model_front_end_and_results(make_run: Make, tmp_path: Path) -> None:
    run, trainer, corpus, parts = make_run(save_strategy="epoch", model={"tome_r": [4]}, learning={"average_from": 2})
    (tmp_path / "esc50" / "audio" / "2-0-A-0.wav").write_bytes(b"broken")
    results = run.train(trainer, corpus, parts)
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    assert results["clips"] == {"train": 16, "test": 4, "extra": 0}
    assert results["missing"] == {"train": 0, "test": 0} and results["unreadable_in_training"] == 1
    assert [epoch["epoch"] for epoch in results["epochs"]] == [1, 2]
    assert set(results["test"]) == {"last", "averaged"}
    model = FastASTForAudioClassification.from_pretrained(tmp_path / "out")
    assert model.config.id2label == {0: "dog", 1: "rain"} and model.config.tome_r == 4
    assert torch.equal(model.classifier.dense.weight, trainer.average.weights["classifier.dense.weight"])
    assert results["weights"] == weights_digest(model.state_dict().values())
    assert FastASTFeatureExtractor.from_pretrained(tmp_path / "out").mean == -5.0


def test_several_labels_are_learnt_and_scored_by_mean_average_precision(make_run: Make, tmp_path: Path) -> None:
    settings = CorpusArguments(corpus="audioset", data=str(write_audioset(tmp_path / "audioset")))
    run, trainer, corpus, parts = make_run(corpus=settings, bf16=True, report_to="tensorboard", logging_steps=1)
    results = run.train(trainer, corpus, parts)
    assert results["metric"] == "mean_average_precision" and trainer.loss == "bce"
    of_corpora = {"classes", "subset", "label_file", "fold"} & results["settings"].keys()
    assert of_corpora == {"subset", "label_file"}  # and none of the other corpora's
    assert 0 < results["test"]["last"]["mean_average_precision"] <= 1
    assert list((tmp_path / "out").rglob("events.out.tfevents.*"))

    folder = tmp_path / "out"
    sweep = Sweep({None: corpus}, [(Method(INFERENCE, str(folder)), (0, 4))], tmp_path / "table")
    rows = merging_rows(sweep.cells(["constant"]), sweep.multi_label)
    assert [row.metric for row in rows] == ["mean_average_precision"] * 2 and rows[0].clips == 6
    assert rows[0].score == pytest.approx(results["test"]["last"]["mean_average_precision"], abs=0.05)  # float32 here


PLACES = [
    ("runs/stage1", "stage1", ["model"]),
    ("{here}/runs/stage1", "stage1", ["model"]),
    ("runs/../runs/stage1/", "stage1", ["model"]),
    ("MIT/ast", "MIT/ast", []),  # no such folder
    ("timm/deit", "timm/deit", []),  # a folder of that name is not what is loaded
    (None, None, []),
]


@pytest.mark.parametrize(("model", "written", "local"), PLACES)
def test_a_start_in_a_folder_is_written_down_as_one_by_its_last_name(
    model: str | None, written: str | None, local: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/stage1", "timm/deit", "sounds", "esc50"):
        (tmp_path / folder).mkdir(parents=True)
    model = None if model is None else model.replace("{here}", str(tmp_path))
    results = written_settings(
        [CorpusArguments(corpus="esc50", data="./sounds", extra_data="../gone"), ModelArguments(model=model)]
    )
    settings = results["settings"]
    assert (settings["model"], settings["data"], settings["extra_data"]) == (written, "sounds", "../gone")
    assert settings["corpus"] == "esc50"  # whatever folder is called so
    assert results["local"] == [*local, "data"]


def test_two_runs_do_not_train_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "LOCK_WAIT", 0.0)
    corpus = CorpusArguments(corpus="esc50", data=str(write_esc50(tmp_path / "esc50")), fold="1")

    @one_line_errors("run")
    def train(main: bool) -> int:
        args = TrainingArguments(str(tmp_path / "out"), use_cpu=True, report_to="none")
        monkeypatch.setattr(TrainingArguments, "should_save", main)
        run_folds(corpus, args, True, [], lambda *_: (_ for _ in ()).throw(ValueError("it was built")))
        return 0

    with runs.locked(tmp_path / "out"):
        assert train(main=True) == 2
        assert capsys.readouterr().err.endswith(
            f"run: another run trains in {tmp_path / 'out'}: wait for it, or give another --output\n"
        )
        assert train(main=False) == 2 and "it was built" in capsys.readouterr().err  # of several processes
    assert train(main=True) == 2 and "it was built" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_earlier_run_is_neither_overwritten_nor_repeated(make_run: Make, tmp_path: Path) -> None:
    run, trainer, corpus, parts = make_run(save_strategy="epoch")
    run.train(trainer, corpus, parts)
    with pytest.raises(ValueError, match=r"holds results.json of an earlier run: add --resume"):
        Run(tmp_path / "out")
    assert Run(tmp_path / "out", resume=True).is_finished
    (tmp_path / "out" / "results.json").unlink()
    with pytest.raises(ValueError, match=r"holds checkpoint-4 of an earlier run: add --resume"):
        Run(tmp_path / "out")
    assert Run(tmp_path / "out", resume=True).checkpoint == tmp_path / "out" / "checkpoint-4"


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    for step in (3, 12, 100, 200, 300):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "weights").write_bytes(b"weights")
        mark_complete(folder, {})
    (tmp_path / "checkpoint-100" / "inner" / "weights").write_bytes(b"")  # as a power cut leaves it
    (tmp_path / "checkpoint-200" / "inner" / "weights").unlink()
    (tmp_path / "checkpoint-300" / "complete.json").unlink()
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-12"
    assert newest_checkpoint(tmp_path / "nowhere") is None


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


@pytest.mark.parametrize("metric", ["acc", "eval_f1", "mean_average_precision"])
def test_a_metric_that_there_is_none_of_is_refused_before_training(metric: str, make_run: Make) -> None:
    run, trainer, corpus, parts = make_run(metric_for_best_model=metric)
    with pytest.raises(ValueError, match=f"metric_for_best_model is '{metric}': choose one of loss, accuracy"):
        run.train(trainer, corpus, parts)


def test_what_could_not_be_read_is_said_and_still_known_after_a_stop(
    make_run: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "esc50" / "audio" / "2-0-A-0.wav").write_bytes(b"broken")
    run, trainer, corpus, parts = make_run(save_strategy="epoch", max_steps=2, num_train_epochs=1)
    run.train(trainer, corpus, parts)
    assert len(trainer.unreadable) == 1
    (tmp_path / "out" / "results.json").unlink()
    run, trainer, corpus, parts = make_run(resume=True, save_strategy="epoch", max_steps=2, num_train_epochs=1)
    results = run.train(trainer, corpus, parts)
    assert results["unreadable_in_training"] == 1
    said = f"0 clips missing, 1 of those to train on unreadable: {tmp_path / 'esc50' / 'audio' / '2-0-A-0.wav'}\n"
    assert said in capsys.readouterr().out


def test_early_stopping_counts_on_after_a_stop(make_run: Make, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "learning": {"early_stopping": 3}, "learning_rate": 0.0, "save_strategy": "epoch", "num_train_epochs": 8,
    }  # fmt: skip
    run, trainer, corpus, parts = make_run(**settings)
    run.train(trainer, corpus, parts)
    assert trainer.state.epoch == 4
    (tmp_path / "out" / "results.json").unlink()
    for step in (6, 8):
        shutil.rmtree(tmp_path / "out" / f"checkpoint-{step}")
    run, trainer, corpus, parts = make_run(resume=True, **settings)
    run.train(trainer, corpus, parts)
    assert trainer.state.epoch == 4


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"model": {"hidden_size": 48}}, "hidden_size was 24 and is now 48"),
    ({"model": {"mean": 5.0}}, "mean was -5.0 and is now 5.0"),
    ({"learning_rate": 0.1}, "--learning-rate was 5e-05 and is now 0.1"),
    ({"per_device_train_batch_size": 4}, "batch size over all devices was 8 and is now 4"),
    ({"learning": {"adam_l2": True}}, "--adam-l2 was False and is now True"),
]


@pytest.mark.parametrize(("other", "said"), OTHERS, ids=[said.split()[0] for _, said in OTHERS])
def test_a_resume_with_other_settings_is_refused_by_name(other: dict[str, Any], said: str, stopped: Make) -> None:
    run, trainer, corpus, parts = stopped(**other)
    with pytest.raises(ValueError, match=rf"checkpoint-2 has other settings \({said}\): resume with the same"):
        run.train(trainer, corpus, parts)


def test_a_resume_with_other_labels_is_refused(stopped: Make, tmp_path: Path) -> None:
    table = tmp_path / "esc50" / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace(",10,rain", ",0,rain").replace(",0,dog", ",10,zebra"))
    run, trainer, corpus, parts = stopped()
    with pytest.raises(ValueError, match=r"labels was \['dog', 'rain'\] and is now \['rain', 'zebra'\]"):
        run.train(trainer, corpus, parts)


def test_a_setting_that_only_a_newer_version_has_does_not_refuse_a_checkpoint(stopped: Make, tmp_path: Path) -> None:
    complete = tmp_path / "out" / "checkpoint-2" / "complete.json"
    earlier = json.loads(complete.read_text())
    del earlier["run"]["adam_l2"]
    earlier["run"]["of_the_past"] = 1
    write_json(complete, earlier)
    run, trainer, corpus, parts = stopped()
    run.train(trainer, corpus, parts)
    assert trainer.state.global_step == 4


@pytest.mark.parametrize("resume", [True, False])
def test_checkpoints_of_which_none_is_marked_whole_are_not_overwritten(resume: bool, tmp_path: Path) -> None:
    for name in ("checkpoint-10", "checkpoint-9", "checkpoint-best"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=r"holds checkpoint-9, checkpoint-10, which can't be resumed .* --output"):
        Run(tmp_path, resume)


def test_a_folder_that_is_only_called_like_a_checkpoint_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-best").mkdir()
    assert Run(tmp_path).checkpoint is None


def test_a_resume_without_anything_to_resume_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Run(tmp_path / "out", resume=True)
    assert "out: nothing to resume, so training starts from the beginning" in caplog.text


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


def test_a_finished_run_is_extended_by_more_epochs(
    make_run: Make, stopped: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, trainer, corpus, parts = stopped(num_train_epochs=2)
    run.train(trainer, corpus, parts)
    with caplog.at_level(logging.INFO):
        run, trainer, corpus, parts = make_run(resume=True, save_strategy="epoch", num_train_epochs=2)
        assert run.is_done(trainer.args) and "Give --num-train-epochs above 2 to extend it" in caplog.text
    run, trainer, corpus, parts = make_run(resume=True, save_strategy="epoch", num_train_epochs=3)
    assert not run.is_done(trainer.args)
    results = run.train(trainer, corpus, parts)
    assert [epoch["epoch"] for epoch in results["epochs"]] == [1, 2, 3]
    shutil.rmtree(tmp_path / "out" / "checkpoint-4")
    shutil.rmtree(tmp_path / "out" / "checkpoint-6")
    shutil.rmtree(tmp_path / "out" / "checkpoint-2")
    run, trainer, *_ = make_run(resume=True, num_train_epochs=4)
    with pytest.raises(ValueError, match="a finished run and no checkpoint to extend it from"):
        run.is_done(trainer.args)


@pytest.mark.parametrize(
    ("length", "said"),
    [
        ({"max_steps": 1}, "--max-steps is 1, and the run was begun with 2: give 2 or more"),
        ({"num_train_epochs": 0.5, "max_steps": 1}, "--max-steps is 1, and the run was begun with 2"),
    ],
)
def test_a_resume_for_less_than_the_run_was_begun_for_is_refused(
    length: dict[str, Any], said: str, stopped: Make
) -> None:
    run, trainer, corpus, parts = stopped(**length)
    with pytest.raises(ValueError, match=said):
        run.train(trainer, corpus, parts)


def test_an_unfinished_run_is_not_resumed_for_fewer_epochs(make_run: Make) -> None:
    run, trainer, corpus, parts = make_run(save_strategy="steps", save_steps=1, num_train_epochs=4)
    trainer.add_callback(StopAfter(2))
    trainer.train()
    run, trainer, corpus, parts = make_run(resume=True, num_train_epochs=3)
    with pytest.raises(ValueError, match="--num-train-epochs is 3, and the run was begun with 4: give 4 or more"):
        run.train(trainer, corpus, parts)


@pytest.mark.parametrize("epochs", [0, -1])
def test_no_epochs_at_all_are_refused(epochs: int, tmp_path: Path) -> None:
    args = TrainingArguments(str(tmp_path / "out"), num_train_epochs=epochs, use_cpu=True, report_to="none")
    with pytest.raises(ValueError, match=f"--num-train-epochs is {epochs}: give more than 0"):
        runs.run_folds(CorpusArguments(corpus="esc50", data="esc50", fold="1"), args, False, [], lambda *_: None)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("")
    args = TrainingArguments(str(tmp_path / "notes" / "out"), use_cpu=True, report_to="none")
    with pytest.raises(ValueError, match=r"notes/out can't be written: .*notes is a file; give another --output"):
        runs.run_folds(CorpusArguments(corpus="esc50", data="nowhere", fold="1"), args, False, [], lambda *_: None)


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


def test_clips_to_test_on_that_cannot_be_read_are_found_before_training(make_run: Make, tmp_path: Path) -> None:
    for file in (tmp_path / "esc50" / "audio").glob("1-*.wav"):
        file.write_bytes(b"broken")
    run, trainer, corpus, parts = make_run()
    with pytest.raises(ValueError, match="none of the 4 clips to test on can be read"):
        run.train(trainer, corpus, parts)
    assert trainer.state.global_step == 0


def test_the_model_is_saved_before_it_is_tested(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trainer, corpus, parts = make_run(eval_strategy="no")
    monkeypatch.setattr(trainer, "evaluate", lambda *_, **__: (_ for _ in ()).throw(ValueError("no scores")))
    with pytest.raises(ValueError, match="no scores"):
        run.train(trainer, corpus, parts)
    assert FastASTForAudioClassification.from_pretrained(tmp_path / "out").config.id2label == {0: "dog", 1: "rain"}


def test_each_epoch_has_a_line_with_loss_score_seconds_and_r(
    make_run: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    run, trainer, corpus, parts = make_run(logging_strategy="epoch", model={"tome_r": [4]})
    run.train(trainer, corpus, parts)
    said = capsys.readouterr().out
    for epoch in (1, 2):
        line = rf"epoch {epoch} of 2: loss [\d.]+, test loss [\d.]+, test accuracy [\d.]+, [\d.]+ s, r 4\n"
        assert len(re.findall(line, said)) == 1
    assert re.search(r"out, best epoch [12]: accuracy [\d.]+\n", said) and "{'loss'" not in said
    assert "out: wrote config.json, model.safetensors, preprocessor_config.json, results.json\n" in said


def test_folds_that_stopped_at_different_epochs_share_their_last_weights_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fold, curve in {1: [0.5, 0.7], 2: [0.5, 0.9, 1.0]}.items():
        (tmp_path / f"fold-{fold}").mkdir()
        epochs = [{"epoch": n + 1, "score": score} for n, score in enumerate(curve)]
        run = {"metric": "accuracy", "epochs": epochs, "test": {"last": {"accuracy": curve[-1]}}}
        write_json(tmp_path / f"fold-{fold}" / "results.json", run)
    summary = summarise_folds(tmp_path, [1, 2])
    assert summary["best"] is None and summary["last"] is None and summary["last_weights"]["mean"] == 0.85
    assert capsys.readouterr().out.endswith("mean of 2 folds: accuracy 0.8500 with the last weights\n")


def test_other_errors_are_not_taken_for_a_full_disk(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run, trainer, corpus, parts = make_run()
    monkeypatch.setattr(trainer, "training_step", lambda *_: (_ for _ in ()).throw(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        run.train(trainer, corpus, parts)


@pytest.mark.parametrize(
    "settings",
    [
        {"corpus": "speech_commands", "data": "my words", "classes": 12},
        {"corpus": "audioset", "hub_id": "me/sounds", "subset": "full", "label_file": "labels.csv"},
        {"corpus": "esc50", "data": "ESC-50", "fold": "2"},
        {"corpus": "csv", "data": "a b.csv", "label_column": ["dog", "rain"], "multi_label": True, "split_seed": 3},
        {"corpus": "datasets", "hub_id": "me/sounds", "config": "all", "group_column": "who"},
        {"corpus": "unlabelled", "data": "sounds"},
    ],
)
def test_the_next_commands_are_taken_as_they_are_printed(settings: dict[str, Any], tmp_path: Path) -> None:
    FastASTConfig().save_pretrained(tmp_path)
    for command in next_commands(tmp_path, CorpusArguments(**settings), [None]):
        program, *arguments = shlex.split(command)
        told = vars(build_parser().parse_args(arguments))
        assert program == "fastast" and told["model"] == str(tmp_path)
        if told["command"] == "evaluate":
            assert {key: told[key] for key in settings} == settings


def test_folds_are_averaged_at_the_best_shared_epoch_and_the_last(tmp_path: Path) -> None:
    curves = {1: [0.5, 0.9, 0.6], 2: [0.3, 0.5, 0.9]}
    for fold, curve in curves.items():
        (tmp_path / f"fold-{fold}").mkdir()
        epochs = [{"epoch": n + 1, "score": score} for n, score in enumerate(curve)]
        run = {"metric": "accuracy", "epochs": epochs, "test": {"last": {"accuracy": curve[-1]}}}
        write_json(tmp_path / f"fold-{fold}" / "results.json", run)
    summary = summarise_folds(tmp_path, [1, 2])
    assert summary["best"] == {"epoch": 3, "mean": 0.75, "folds": [0.6, 0.9]}
    assert summary["last"]["mean"] == 0.75 and summary["last_weights"] == {"mean": 0.75, "folds": [0.6, 0.9]}
    assert json.loads((tmp_path / "results.json").read_text()) == summary


def test_results_are_json_that_any_reader_takes(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"d_prime": float("inf"), "list": [float("nan"), 1.0]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"d_prime": None, "list": [None, 1.0]}


def test_a_users_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    @one_line_errors("script.py")
    def main() -> int:
        raise ValueError("this\nand that")

    assert main() == 2
    assert capsys.readouterr().err == "script.py: this and that\n"
