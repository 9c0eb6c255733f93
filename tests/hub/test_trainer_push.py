"""A training run that pushes what it made."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from local_hub import LocalHub
from small_corpora import write_esc50
from transformers import AutoModelForAudioClassification, TrainingArguments

from fastast_hf.finetuning import CorpusArguments, LearningArguments, build_trainer
from fastast_hf.runs import Run
from fastast_hf.student import ModelArguments, build_extractor, build_model
from fastast_hf.training_arguments import AugmentationArguments, ScheduleArguments


@pytest.mark.parametrize("asked", ["by setting", "by call"])
def test_a_trainer_pushes_the_model_its_results_and_card_and_no_optimizer(
    asked: str, hub: LocalHub, tmp_path: Path
) -> None:
    corpus_settings = CorpusArguments(corpus="esc50", data=str(write_esc50(tmp_path / "esc50")), fold="1")
    model_settings = ModelArguments(frames=64, hidden_size=24, layers=2, stride=16, mean=-5.0, std=4.0, tome_r=[4])
    args = TrainingArguments(
        str(tmp_path / "out"),
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        max_steps=2,
        per_device_train_batch_size=8,
        save_strategy="steps",
        save_steps=2,
        push_to_hub=asked == "by setting",
        hub_strategy="end",
        hub_model_id="me/trained",
    )
    parts = (corpus_settings, model_settings, LearningArguments(), AugmentationArguments(), ScheduleArguments())
    model, corpus = build_model(model_settings, corpus_settings.load(1))
    extractor = build_extractor(model_settings, model, corpus)
    shared = (corpus_settings, LearningArguments(), AugmentationArguments(), ScheduleArguments(), args)
    trainer = build_trainer(model, extractor, corpus, *shared)
    Run(tmp_path / "out", fold=1).train(trainer, corpus, parts)
    if asked == "by call":
        assert not hub.repositories
        trainer.push_to_hub()
    files = hub.files("me/trained")
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "results.json", "handler.py"} <= set(files)
    assert not [name for name in files if name.startswith(("checkpoint-", "runs")) or name.endswith((".bin", ".pt"))]
    assert str(tmp_path).encode() not in b"".join(files.values())
    card = ModelCard(files["README.md"].decode())
    assert "16 clips of ESC-50, all folds but 1" in card.text and "2 steps from random weights" in card.text
    assert AutoModelForAudioClassification.from_pretrained("me/trained").config.tome_r == 4
    assert [commit.title for commit in hub.repository("me/trained").branches["main"][1:]] == ["End of training"]
