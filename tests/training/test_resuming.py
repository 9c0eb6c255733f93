"""What is resumed from a folder, and what is refused."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_corpora import write_esc50
from transformers import TrainerCallback, TrainingArguments

from fastast_hf.errors import one_line_errors
from fastast_hf.training import runs
from fastast_hf.training.checkpoints import mark_complete, newest_checkpoint
from fastast_hf.training.finetuning import CorpusArguments
from fastast_hf.training.results import write_json
from fastast_hf.training.runs import Run, run_folds

Make = Callable[..., Any]


class StopAfter(TrainerCallback):
    """Ends training after a step, with its checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == self.step


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
