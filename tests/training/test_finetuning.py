"""What a run starts from: labels by name, new heads, statistics, and mistakes told before anything runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import soundfile
import timm
import torch
from small_corpora import write_audioset, write_esc50, write_speech_commands, write_tone
from transformers import ASTConfig, ASTForAudioClassification, EarlyStoppingCallback, TrainingArguments

from fastast_hf import FastASTFeatureExtractor
from fastast_hf.corpora import CORPORA, CorpusError, label_names
from fastast_hf.corpora.statistics import corpus_statistics
from fastast_hf.training import finetuning
from fastast_hf.training.arguments import CORPORA_OF, AugmentationArguments, ScheduleArguments
from fastast_hf.training.finetuning import CorpusArguments, LearningArguments, build_trainer
from fastast_hf.training.start.student import ModelArguments, build_extractor, build_model


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


@pytest.mark.parametrize(("size", "given"), [("hidden_size", 96), ("layers", 3), ("heads", 4), ("stride", 12)])
def test_a_size_that_the_checkpoint_has_otherwise_is_refused(
    size: str, given: int, esc50: CorpusArguments, tmp_path: Path
) -> None:
    config = save_ast(tmp_path / "ast", ["dog", "rain"]).config
    own = {"hidden_size": config.hidden_size, "layers": 2, "heads": config.num_attention_heads, "stride": 10}
    build_model(ModelArguments(model=str(tmp_path / "ast"), frames=64, **own), esc50.load(1))
    with pytest.raises(ValueError, match=f"{size} is {given}, and .*ast has {own[size]}: leave it out, or start from"):
        build_model(ModelArguments(model=str(tmp_path / "ast"), frames=64, **{size: given}), esc50.load(1))


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
    with pytest.raises(
        ValueError,
        match="--fold is for esc50, csv, datasets, not for audioset: leave it out"
        if corpus == "audioset"
        else f"fold is {fold!r}",
    ):
        CorpusArguments(corpus=corpus, fold=fold).folds()


@pytest.mark.parametrize("name", CORPORA_OF)
def test_a_setting_of_another_corpus_is_refused(name: str) -> None:
    value: Any = ["x"] if name == "label_column" else False if name == "multi_label" else "1"
    option = f"--{name.replace('_', '-')}"
    for corpus in sorted({*CORPORA, "audiofolder"} - set(CORPORA_OF[name])):
        with pytest.raises(ValueError, match=rf"^{option} is for .*, not for {corpus}: leave it out"):
            CorpusArguments(corpus=corpus, **{name: value})


def test_what_data_holds_is_recognised_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="fastast_hf")
    settings = CorpusArguments(data=str(write_esc50(tmp_path / "esc50")))
    assert settings.corpus == "esc50" and "taken for --corpus esc50, for it holds meta/esc50.csv" in caplog.text
    assert CorpusArguments(data=str(tmp_path / "esc50" / "meta" / "esc50.csv")).corpus == "csv"
    assert CorpusArguments(hub_id="someone/sounds", config="all").corpus == "datasets"
    with pytest.raises(ValueError, match="--classes is for speech_commands, not for esc50"):
        CorpusArguments(data=str(tmp_path / "esc50"), classes=12)
    with pytest.raises(CorpusError, match="gone: no such file or folder"):
        CorpusArguments(data=str(tmp_path / "gone")).load()


def test_folds_of_a_table_are_those_that_it_lists(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,label,fold\na.wav,a,1\nb.wav,b,2\nc.wav,a,10\n")
    assert CorpusArguments(data=str(table), fold="all").folds() == [1, 2, 10]
    assert CorpusArguments(data=str(table)).folds("all") == [1, 2, 10]
    with pytest.raises(ValueError, match="fold is None: give --fold all, or the one to test on, 1 to 10"):
        CorpusArguments(data=str(table)).folds()
    table.write_text("file,label,fold,split\na.wav,a,1,train\nb.wav,b,2,test\n")
    assert CorpusArguments(data=str(table)).folds() == [None]
    assert CorpusArguments(data=str(table), fold="2").folds() == [2]
    table.write_text("file,label\na.wav,a\nb.wav,b\n")
    with pytest.raises(ValueError, match="or the one to test on, which needs a column of folds"):
        CorpusArguments(data=str(table), fold="2").folds()


def build(corpus_settings: CorpusArguments, tmp_path: Path, **settings: Any) -> Any:
    augment = AugmentationArguments(noise=settings.pop("noise", 0.0))
    learning = LearningArguments(early_stopping=settings.pop("early_stopping", None))
    steps = settings.pop("max_steps", -1)
    args = TrainingArguments(str(tmp_path / "out"), use_cpu=True, report_to="none", max_steps=steps)
    model_settings = ModelArguments(frames=64, hidden_size=24, layers=1, mean=-5.0, std=4.0, **settings)
    fold = corpus_settings.folds()[0]
    model, corpus = build_model(model_settings, corpus_settings.load(fold))
    extractor = build_extractor(model_settings, model, corpus)
    shared = (corpus_settings, learning, augment, ScheduleArguments(), args)
    return build_trainer(model, extractor, corpus, *shared)


def test_noise_comes_from_the_silence_of_the_training_clips(tmp_path: Path) -> None:
    data = str(write_speech_commands(tmp_path / "words"))
    trainer = build(CorpusArguments(corpus="speech_commands", data=data, classes=12), tmp_path, noise=0.5)
    expected, _ = soundfile.read(Path(data) / "_silence_" / "0_nohash_0.wav", dtype="float32")
    assert trainer.noise.shape[0] == 4
    assert any(torch.equal(row[: len(expected)], torch.from_numpy(expected)) for row in trainer.noise)


def test_noise_is_computed_where_there_is_no_class_of_silence(tmp_path: Path) -> None:
    data = str(write_audioset(tmp_path / "audioset"))
    trainer = build(CorpusArguments(corpus="audioset", data=data), tmp_path, noise=0.5)
    assert trainer.noise.shape[1] == FastASTFeatureExtractor(max_length=64).samples_of(64) and trainer.noise.any()


def test_a_new_model_has_the_mel_bins_asked_for(tmp_path: Path) -> None:
    data = str(write_audioset(tmp_path / "audioset"))
    trainer = build(CorpusArguments(corpus="audioset", data=data), tmp_path, mel_bins=64)
    assert trainer.model.config.num_mel_bins == trainer.extractor.num_mel_bins == 64


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


def test_extra_clips_that_are_held_out_are_refused(tmp_path: Path) -> None:
    for index, name in enumerate(("cat", "dog")):
        for split, hertz in (("train", 400), ("test", 500)):
            write_tone(tmp_path / "corpus" / split / name / "a.wav", hertz + 200 * index)
    settings = CorpusArguments(corpus="audiofolder", data=str(tmp_path / "corpus"))
    copy = tmp_path / "extra" / "dog" / "copy.wav"
    write_tone(copy, 700)
    for extra in (tmp_path / "corpus" / "test", tmp_path / "extra"):  # the same files, and a copy
        settings.extra_data = str(extra)
        with pytest.raises(ValueError, match=r"has the content of the held-out clip .*a\.wav; give other clips"):
            build(settings, tmp_path)


def test_what_is_left_out_of_the_extra_clips_is_told(
    esc50: CorpusArguments, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tone(tmp_path / "extra" / "dog" / "a.wav", 555)
    (tmp_path / "extra" / "dog" / "b.m4a").write_bytes(b"no wav")
    esc50.extra_data = str(tmp_path / "extra")
    build(esc50, tmp_path)
    assert "left out 1 file of kinds that libsndfile does not read: 1 .m4a" in caplog.text


def test_a_checkpoint_without_its_encoder_is_refused(esc50: CorpusArguments, tmp_path: Path) -> None:
    model = save_ast(tmp_path / "ast", ["dog", "rain"])
    state = {name: weight for name, weight in model.state_dict().items() if ".layers.1." not in name}
    model.save_pretrained(tmp_path / "ast", state_dict=state)
    with pytest.raises(ValueError, match=r"lacks \d+ weights"):
        build_model(ModelArguments(model=str(tmp_path / "ast")), esc50.load(1))


def test_a_pickle_with_code_in_it_is_no_start(esc50: CorpusArguments, tmp_path: Path) -> None:
    save_ast(tmp_path / "ast", ["dog", "rain"])
    (tmp_path / "ast" / "model.safetensors").unlink()
    torch.save({"classifier.dense.bias": Path("code")}, tmp_path / "ast" / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"ast can't be read \(damaged, or a pickle with code in it"):
        build_model(ModelArguments(model=str(tmp_path / "ast")), esc50.load(1))


def test_an_imagenet_deit_is_a_start(esc50: CorpusArguments, monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked = timm.create_model, []

    def without_download(name: str, pretrained: bool = False, **kwargs: Any) -> Any:
        asked.append((name, pretrained))
        return create(name, pretrained=False, depth=2, **kwargs)

    monkeypatch.setattr(timm, "create_model", without_download)
    settings = ModelArguments(model="timm/deit_tiny_distilled_patch16_224", frames=64, tome_r=[4], mean=-5.0, std=4.0)
    model, corpus = build_model(settings, esc50.load(1))
    assert asked == [("deit_tiny_distilled_patch16_224", True)]
    assert (model.config.hidden_size, model.config.num_hidden_layers, model.config.max_length) == (192, 2, 64)
    assert model.config.tome_r == 4 and model.config.id2label == dict(enumerate(label_names(corpus)))
    extractor = build_extractor(settings, model, corpus)
    assert (extractor.mean, extractor.std, extractor.max_length) == (-5.0, 4.0, 64)
    assert model(torch.zeros(1, 64, 128)).logits.shape == (1, 2)


def test_speech_commands_is_watched_on_validation_and_scored_on_test(tmp_path: Path) -> None:
    data = write_speech_commands(tmp_path / "words")
    (data / "testing_list.txt").write_text("yes/3_nohash_0.wav\nno/3_nohash_0.wav\nstop/3_nohash_0.wav")
    trainer = build(CorpusArguments(corpus="speech_commands", data=str(data)), tmp_path)
    assert (len(trainer.eval_dataset), len(trainer.test_dataset)) == (4, 3)


def test_esc50_is_watched_on_its_test_fold(esc50: CorpusArguments, tmp_path: Path) -> None:
    trainer = build(esc50, tmp_path)
    assert trainer.eval_dataset is trainer.test_dataset


@pytest.mark.parametrize("patience", [None, 3])
def test_a_run_without_a_gain_is_stopped_where_asked_to(
    patience: int | None, esc50: CorpusArguments, tmp_path: Path
) -> None:
    trainer = build(esc50, tmp_path, early_stopping=patience)
    stopping = [c for c in trainer.callback_handler.callbacks if isinstance(c, EarlyStoppingCallback)]
    assert [callback.early_stopping_patience for callback in stopping] == ([] if patience is None else [patience])


def test_silence_that_cannot_be_read_is_no_noise(tmp_path: Path) -> None:
    data = write_speech_commands(tmp_path / "words")
    settings = CorpusArguments(corpus="speech_commands", data=str(data), classes=12)
    (data / "_silence_" / "1_nohash_0.wav").write_bytes(b"broken")
    trainer = build(settings, tmp_path, noise=0.5)
    silence = [soundfile.read(data / "_silence_" / f"{i}_nohash_0.wav", dtype="float32")[0] for i in (0, 2, 3)]
    assert [row[:8000].tolist() for row in trainer.noise] == [clip[:8000].tolist() for clip in silence]
    for file in (data / "_silence_").iterdir():
        file.write_bytes(b"broken")
    with pytest.raises(ValueError, match="of class _silence_, of which 4 are there and none can be read"):
        build(settings, tmp_path, noise=0.5)


NOT_IN_A_STREAM = [
    # settings, what to do
    ({"balanced_sampling": True}, "give --balanced-sampling false, or leave out --streaming"),
    ({"extra_data": "more"}, "leave out --extra-data, or --streaming"),
    ({"noise": 0.5}, "give --noise 0, or leave out --streaming"),
    ({"max_steps": -1}, "give --max-steps"),
]


@pytest.mark.parametrize(("settings", "said"), NOT_IN_A_STREAM, ids=[next(iter(s)) for s, _ in NOT_IN_A_STREAM])
def test_what_a_stream_cannot_do_is_refused(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    data = write_speech_commands(tmp_path / "words")
    corpus = {name: value for name, value in settings.items() if name in CorpusArguments.__dataclass_fields__}
    others = {"max_steps": 1} | {name: value for name, value in settings.items() if name not in corpus}
    arguments = CorpusArguments(corpus="speech_commands", data=str(data), classes=12, streaming=True, **corpus)
    with pytest.raises(ValueError, match=said) as caught:
        build(arguments, tmp_path, **others)
    assert "\n" not in str(caught.value)


def test_audiosets_labels_are_the_checkpoints_where_a_copy_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(finetuning, "load_corpus", lambda name, root, **options: asked.append(options))
    save_ast(tmp_path / "ast", ["rain", "dog"])
    (tmp_path / "ast" / "model.safetensors").unlink()  # the config is enough
    copy = CorpusArguments(corpus="audioset", hub_id="someone/audioset")
    for model in (str(tmp_path / "ast"), "timm/deit_tiny_distilled_patch16_224", "teacher.pth", None):
        copy.load(model=model)
    CorpusArguments(corpus="audioset", hub_id="someone/audioset", label_file="l.csv").load(model=str(tmp_path / "ast"))
    CorpusArguments(corpus="audioset", data="folder").load(model=str(tmp_path / "ast"))  # its lists have mids
    assert [options.get("labels") for options in asked] == [["rain", "dog"], None, None, None, "l.csv", None]


def test_a_label_map_that_is_nowhere_is_named() -> None:
    with pytest.raises(OSError, match=r"gone.* does not exist"):
        CorpusArguments(corpus="audioset", hub_id="someone/audioset").load(model="./gone")
