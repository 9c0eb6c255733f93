"""What a run starts from: labels by name, new heads, statistics, and mistakes told before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from small_corpora import write_esc50, write_speech_commands, write_tone
from transformers import ASTConfig, ASTForAudioClassification, TrainingArguments

from fastast_hf import FastASTFeatureExtractor
from fastast_hf.corpora import label_names
from fastast_hf.finetuning import CorpusArguments, LearningArguments, build_trainer
from fastast_hf.statistics import corpus_statistics
from fastast_hf.student import ModelArguments, build_extractor, build_model
from fastast_hf.training import AugmentationArguments, ScheduleArguments


def save_ast(folder: Path, names: list[str], **fields: Any) -> ASTForAudioClassification:
    """A stock AST with a head for `names`."""
    sizes = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 48}
    config = ASTConfig(**sizes, max_length=128, id2label=dict(enumerate(names)), **fields)
    model = ASTForAudioClassification(config)
    model.save_pretrained(folder)
    FastASTFeatureExtractor(max_length=128, mean=-1.0, std=2.0).save_pretrained(folder)
    return model


@pytest.fixture
def esc50(tmp_path: Path) -> CorpusArguments:
    return CorpusArguments(corpus="esc50", data=str(write_esc50(tmp_path / "esc50")), fold="1")


def test_a_checkpoint_that_knows_the_labels_keeps_its_head_and_its_order(
    esc50: CorpusArguments, tmp_path: Path
) -> None:
    stock = save_ast(tmp_path / "ast", ["rain", "dog"])
    model, corpus = build_model(ModelArguments(model=str(tmp_path / "ast"), tome_r=[4]), esc50.load(1))
    assert label_names(corpus) == ["rain", "dog"]
    names = [clip.rpartition("-")[2] for clip in corpus["test"]["id"]]  # of a clip's official name: its target
    assert [("dog", "rain")[1 - label] for label in corpus["test"]["label"]] == [
        {"0": "dog", "10": "rain"}[target] for target in names
    ]
    assert torch.equal(model.classifier.dense.weight, stock.classifier.dense.weight)
    assert model.config.tome_r == 4


@pytest.mark.parametrize("names", [["cat", "cow"], ["a", "b", "c"]])
def test_a_checkpoint_of_other_labels_gets_a_new_head(
    names: list[str], esc50: CorpusArguments, tmp_path: Path
) -> None:
    stock = save_ast(tmp_path / "ast", names)
    model, corpus = build_model(ModelArguments(model=str(tmp_path / "ast"), frames=64), esc50.load(1))
    assert model.config.id2label == dict(enumerate(label_names(corpus))) == {0: "dog", 1: "rain"}
    assert model.config.num_labels == model.num_labels == model.classifier.dense.out_features == 2
    assert not torch.equal(model.classifier.dense.weight, stock.classifier.dense.weight[:2])
    kept = model.audio_spectrogram_transformer.layers[1].mlp.fc1.weight
    assert torch.equal(kept, stock.audio_spectrogram_transformer.layers[1].mlp.fc1.weight)
    assert model.config.max_length == 64 and model.config.problem_type == "single_label_classification"


def test_statistics_are_given_the_checkpoints_or_measured(esc50: CorpusArguments, tmp_path: Path) -> None:
    save_ast(tmp_path / "ast", ["dog", "rain"])
    corpus = esc50.load(1)
    started = ModelArguments(model=str(tmp_path / "ast"), frames=64)
    model, _ = build_model(started, corpus)
    extractor = build_extractor(started, model, corpus)
    assert (extractor.mean, extractor.std, extractor.max_length) == (-1.0, 2.0, 64)
    started.mean, started.std = -6.6, 5.3
    extractor = build_extractor(started, model, corpus)
    assert (extractor.mean, extractor.std) == (-6.6, 5.3)
    new = ModelArguments(frames=64, hidden_size=24, layers=1)
    model, _ = build_model(new, corpus)
    measured = corpus_statistics(corpus["train"])
    extractor = build_extractor(new, model, corpus)
    assert (extractor.mean, extractor.std) == (measured.mean, measured.std)


@pytest.mark.parametrize(
    ("corpus", "fold", "expected"),
    [("esc50", "all", [1, 2, 3, 4, 5]), ("esc50", "3", [3]), ("audioset", None, [None])],
)
def test_folds(corpus: str, fold: str | None, expected: list[int | None]) -> None:
    assert CorpusArguments(corpus=corpus, fold=fold).folds() == expected


@pytest.mark.parametrize(("corpus", "fold"), [("esc50", "6"), ("esc50", None), ("audioset", "1"), ("audioset", "all")])
def test_wrong_folds_are_refused(corpus: str, fold: str | None) -> None:
    with pytest.raises(ValueError, match=f"fold is {fold!r}"):
        CorpusArguments(corpus=corpus, fold=fold).folds()


def build(corpus_settings: CorpusArguments, tmp_path: Path, **settings: Any) -> Any:
    augment = AugmentationArguments(noise=settings.pop("noise", 0.0))
    args = TrainingArguments(str(tmp_path / "out"), use_cpu=True, report_to="none")
    model_settings = ModelArguments(frames=64, hidden_size=24, layers=1, mean=-5.0, std=4.0, **settings)
    model, corpus = build_model(model_settings, corpus_settings.load())
    extractor = build_extractor(model_settings, model, corpus)
    shared = (corpus_settings, LearningArguments(), augment, ScheduleArguments(), args)
    return build_trainer(model, extractor, corpus, *shared)


def test_noise_comes_from_the_silence_of_the_training_clips(tmp_path: Path) -> None:
    data = str(write_speech_commands(tmp_path / "words"))
    trainer = build(CorpusArguments(corpus="speech_commands", data=data, classes=12), tmp_path, noise=0.5)
    expected, _ = soundfile.read(Path(data) / "_silence_" / "0_nohash_0.wav", dtype="float32")
    assert trainer.noise.shape[0] == 4
    assert any(torch.equal(row[: len(expected)], torch.from_numpy(expected)) for row in trainer.noise)


def test_extra_clips_join_the_training_clips_alone(tmp_path: Path) -> None:
    data, extra = write_speech_commands(tmp_path / "words"), tmp_path / "extra"
    for word in ("yes", "sheila"):
        write_tone(extra / word / "a.wav", 500)
    settings = CorpusArguments(
        corpus="speech_commands", data=str(data), classes=12, extra_data=str(extra), balanced_sampling=True
    )
    trainer = build(settings, tmp_path)
    count = len(settings.load()["train"])
    assert len(trainer.train_dataset) == count + 2 == len(trainer.sampling_weights)
    names = label_names(settings.load())
    added = [names[int(trainer.train_dataset[count + index]["labels"].argmax())] for index in (0, 1)]
    assert sorted(added) == ["_unknown_", "yes"]
    assert len(trainer.eval_dataset) == len(trainer.test_dataset) == 4


def test_extra_clips_of_no_class_are_refused(esc50: CorpusArguments, tmp_path: Path) -> None:
    write_tone(tmp_path / "extra" / "cow" / "a.wav", 500)
    esc50.extra_data = str(tmp_path / "extra")
    with pytest.raises(ValueError, match="'cow' is no class of the corpus"):
        build(esc50, tmp_path)


def test_a_stream_needs_a_number_of_steps(tmp_path: Path) -> None:
    settings = CorpusArguments(
        corpus="speech_commands", data=str(write_speech_commands(tmp_path / "words")), classes=12, streaming=True
    )
    with pytest.raises(ValueError, match="give --max_steps"):
        build(settings, tmp_path)


def test_a_checkpoint_without_its_encoder_is_refused(esc50: CorpusArguments, tmp_path: Path) -> None:
    model = save_ast(tmp_path / "ast", ["dog", "rain"])
    state = {name: weight for name, weight in model.state_dict().items() if ".layers.1." not in name}
    model.save_pretrained(tmp_path / "ast", state_dict=state)
    with pytest.raises(ValueError, match=r"lacks \d+ weights"):
        build_model(ModelArguments(model=str(tmp_path / "ast")), esc50.load(1))
