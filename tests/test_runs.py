"""A run's folder: what is resumed, what is refused, a full disk, and the mean over folds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_corpora import write_esc50
from transformers import TrainingArguments

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification
from fastast_hf.finetuning import CorpusArguments, LearningArguments, build_trainer
from fastast_hf.runs import Run, newest_checkpoint, one_line_errors, summarise_folds, write_json
from fastast_hf.student import ModelArguments, build_extractor, build_model
from fastast_hf.training import AugmentationArguments, ScheduleArguments

Make = Callable[..., Any]


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    root = write_esc50(tmp_path / "esc50")

    def make(
        resume: bool = False,
        model: dict[str, Any] | None = None,
        learning: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> tuple[Any, ...]:
        run = Run(tmp_path / "out", resume)
        corpus_settings = CorpusArguments(corpus="esc50", data=str(root), fold="1")
        model_settings = ModelArguments(
            **({"frames": 64, "hidden_size": 24, "layers": 2, "stride": 16, "mean": -5.0, "std": 4.0} | (model or {}))
        )
        defaults = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "eval_strategy": "epoch"}
        args = TrainingArguments(
            str(tmp_path / "out"), use_cpu=True, report_to="none", disable_tqdm=True, **(defaults | arguments)
        )
        learning_settings = LearningArguments(**(learning or {}))
        parts = (corpus_settings, learning_settings, AugmentationArguments(), ScheduleArguments(), args)
        model, corpus = build_model(model_settings, corpus_settings.load(1))
        extractor = build_extractor(model_settings, model, corpus)
        return run, build_trainer(model, extractor, corpus, *parts), corpus, parts

    return make


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
    assert FastASTFeatureExtractor.from_pretrained(tmp_path / "out").mean == -5.0


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
    for step, state in ((3, "{}"), (12, "{}"), (100, '{"cut'), (200, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
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


def test_other_errors_are_not_taken_for_a_full_disk(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run, trainer, corpus, parts = make_run()
    monkeypatch.setattr(trainer, "training_step", lambda *_: (_ for _ in ()).throw(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        run.train(trainer, corpus, parts)


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
