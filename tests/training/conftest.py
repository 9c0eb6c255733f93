"""A small run of two steps an epoch, and one that was stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from small_corpora import write_esc50
from transformers import TrainingArguments, set_seed

from fastast_hf.training.arguments import AugmentationArguments, ScheduleArguments
from fastast_hf.training.finetuning import CorpusArguments, LearningArguments, build_trainer
from fastast_hf.training.runs import Run
from fastast_hf.training.start.student import ModelArguments, build_extractor, build_model

Make = Callable[..., Any]


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
