"""A training run that pushes what it made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from local_hub import LocalHub
from small_corpora import write_esc50
from transformers import AutoModelForAudioClassification, TrainingArguments

from fastast_hf.distillation.teachers.building import TeacherModelArguments, build_teacher
from fastast_hf.distillation.teachers.teacher import load_teacher
from fastast_hf.training.arguments import AugmentationArguments, ScheduleArguments
from fastast_hf.training.finetuning import CorpusArguments, LearningArguments, build_trainer
from fastast_hf.training.runs import Run, run_folds
from fastast_hf.training.start.student import ModelArguments, build_extractor, build_model


def trained(tmp_path: Path, teacher: bool = False, **settings: Any) -> Any:
    """A trainer that has trained two steps, and pushed if `settings` say so."""
    corpus_settings = CorpusArguments(corpus="esc50", data=str(write_esc50(tmp_path / "esc50")), fold="1")
    args = TrainingArguments(
        str(tmp_path / "out"),
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        max_steps=2,
        per_device_train_batch_size=8,
        save_strategy="steps",
        hub_model_id="me/trained",
        **({"save_steps": 2} | settings),
    )
    corpus = corpus_settings.load(1)
    if teacher:
        model_settings: Any = TeacherModelArguments(backbone="mobilenetv3_small_050", frames=64, mean=-5.0, std=4.0)
        model, extractor, corpus = build_teacher(model_settings, corpus)
    else:
        model_settings = ModelArguments(frames=64, hidden_size=24, layers=2, stride=16, mean=-5.0, std=4.0, tome_r=[4])
        model, corpus = build_model(model_settings, corpus)
        extractor = build_extractor(model_settings, model, corpus)
    parts = (corpus_settings, model_settings, LearningArguments(), AugmentationArguments(), ScheduleArguments())
    shared = (corpus_settings, LearningArguments(), AugmentationArguments(), ScheduleArguments(), args)
    trainer = build_trainer(model, extractor, corpus, *shared)
    Run(tmp_path / "out", fold=1).train(trainer, corpus, parts)
    return trainer


@pytest.mark.parametrize("asked", ["by setting", "by call"])
def test_a_trainer_pushes_the_model_its_results_and_card_and_no_optimizer(
    asked: str, hub: LocalHub, tmp_path: Path
) -> None:
    trainer = trained(tmp_path, push_to_hub=asked == "by setting", hub_strategy="end")
    if asked == "by call":
        assert not hub.repositories
        trainer.push_to_hub()
    files = hub.files("me/trained")
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "results.json", "handler.py"} <= set(files)
    assert not [name for name in files if name.startswith(("checkpoint-", "runs")) or name.endswith((".bin", ".pt"))]
    assert str(tmp_path).encode() not in b"".join(files.values())
    card = ModelCard(files["README.md"].decode())
    assert "16 clips of ESC-50, all folds but 1" in card.text and "**Start:** random weights" in card.text
    assert AutoModelForAudioClassification.from_pretrained("me/trained").config.tome_r == 4
    assert [commit.title for commit in hub.repository("me/trained").branches["main"][1:]] == ["End of training"]


SAVES = ["Training in progress, step 1", "Training in progress, step 2"]
STRATEGIES = [("end", []), ("every_save", SAVES), ("checkpoint", SAVES), ("all_checkpoints", SAVES)]


@pytest.mark.parametrize(("strategy", "saves"), STRATEGIES)
def test_no_strategy_pushes_a_pickle_or_what_a_run_is_resumed_from(
    strategy: str, saves: list[str], hub: LocalHub, tmp_path: Path
) -> None:
    trained(tmp_path, push_to_hub=True, hub_strategy=strategy, save_steps=1)
    pushed = hub.repository("me/trained").branches["main"][1:]
    assert [commit.title for commit in pushed] == [*saves, "End of training"]
    for commit in pushed:
        assert {"config.json", "model.safetensors", "README.md"} <= set(commit.files)
        names = [name for name in commit.files if "/" in name or not name.endswith((".json", ".md", ".py", ".txt"))]
        assert names == ["model.safetensors"] and "trainer_state.json" not in commit.files
        assert not [name for name, content in commit.files.items() if content.startswith((b"PK", b"\x80"))]
        loaded, told = AutoModelForAudioClassification.from_pretrained(
            "me/trained", revision=commit.sha, output_loading_info=True
        )
        assert loaded.config.tome_r == 4 and not told["missing_keys"]
    assert not (tmp_path / "out" / "training_args.bin").exists()


def test_training_goes_on_where_a_save_can_not_be_pushed(
    hub: LocalHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def cut_off(method: str, path: str) -> None:
        if "/commit/" in path and not (tmp_path / "out" / "results.json").exists():
            raise ConnectionError

    hub.before = cut_off
    trained(tmp_path, push_to_hub=True)
    told = "checkpoint-2 was not pushed, and training goes on: the connection to the Hub at"
    assert told in caplog.text
    assert [commit.title for commit in hub.repository("me/trained").branches["main"][1:]] == ["End of training"]


def test_a_teacher_is_pushed_without_the_rest_of_its_folder(hub: LocalHub, tmp_path: Path) -> None:
    trainer = trained(tmp_path, teacher=True, push_to_hub=True)
    wanted = {"config.json", "model.safetensors", "preprocessor_config.json", "results.json", "README.md"}
    for commit in hub.repository("me/trained").branches["main"][1:]:
        assert set(commit.files) | {"results.json"} == wanted
    assert set(hub.files("me/trained")) == wanted
    assert str(tmp_path).encode() not in b"".join(hub.files("me/trained").values())
    assert "--teacher me/trained" in ModelCard(hub.files("me/trained")["README.md"].decode()).text
    model, _ = load_teacher("me/trained")
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight)
    with pytest.raises(ValueError, match="holds a teacher, which has no Space"):
        trainer.push_to_hub(space=True)


def test_a_trainer_takes_the_settings_that_it_can_follow(hub: LocalHub, tmp_path: Path) -> None:
    trainer = trained(tmp_path)
    with pytest.raises(TypeError, match="takes no dataset, finetuned_from: choose among"):
        trainer.push_to_hub(dataset="esc50", finetuned_from="x")
    pushing = trainer.push_to_hub("mine", license="mit", language="en", tags="birds", private=True, blocking=False)
    assert pushing.result().commit_message == "mine" and hub.repository("me/trained").private
    data = ModelCard(hub.files("me/trained")["README.md"].decode()).data
    assert (data.license, data.language) == ("mit", "en") and "birds" in data.tags


def test_several_folds_are_not_pushed_over_each_other(hub: LocalHub, tmp_path: Path) -> None:
    corpus = CorpusArguments(corpus="esc50", data=str(write_esc50(tmp_path / "esc50")), fold="all")
    args = TrainingArguments(str(tmp_path / "out"), use_cpu=True, push_to_hub=True, hub_model_id="me/trained")
    with pytest.raises(ValueError, match="5 folds over each other into one repository: give --fold N"):
        run_folds(corpus, args, False, [], lambda corpus, fold: pytest.fail("it was built"))
    assert not hub.repositories and not (tmp_path / "out").exists()
