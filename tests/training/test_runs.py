"""A run's folder: the model, its results, what is checked beforehand, and the mean over folds."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_corpora import write_audioset
from transformers import TrainingArguments

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification, Tagger
from fastast_hf.cli.main import build_parser
from fastast_hf.errors import one_line_errors
from fastast_hf.evaluation.predictions import predict
from fastast_hf.evaluation.rows import INFERENCE, merging_rows
from fastast_hf.evaluation.sweep import Method, Sweep
from fastast_hf.loading.saved_weights import weights_digest
from fastast_hf.reports.measures import best_thresholds
from fastast_hf.training import runs
from fastast_hf.training.finetuning import CorpusArguments
from fastast_hf.training.inputs.batches import ClipDataset
from fastast_hf.training.results import summarise_folds, write_json, written_settings
from fastast_hf.training.runs import next_commands
from fastast_hf.training.start.student import ModelArguments

Make = Callable[..., Any]


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
    page = (folder / "report" / "report.html").read_text()
    assert "0.5 for every class, for none were tuned" in page  # this corpus has no validation clips
    assert re.search(r"corpus: audioset · split: test", page)
    sweep = Sweep({None: corpus}, [(Method(INFERENCE, str(folder)), (0, 4))], tmp_path / "table")
    rows = merging_rows(sweep.cells(["constant"]), sweep.multi_label)
    assert [row.metric for row in rows] == ["mean_average_precision"] * 2 and rows[0].clips == 6
    assert rows[0].score == pytest.approx(results["test"]["last"]["mean_average_precision"], abs=0.05)  # float32 here


def test_a_run_ends_with_a_report_on_the_clips_it_tests_on(
    make_run: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, trainer, corpus, parts = make_run(num_train_epochs=1, eval_strategy="no")
    (tmp_path / "esc50" / "audio" / "1-0-A-0.wav").write_bytes(b"broken")
    results = run.train(trainer, corpus, parts)
    page = tmp_path / "out" / "report" / "report.html"
    assert f"what is right and wrong is in {page}" in capsys.readouterr().out
    with (page.parent / "wrong.csv").open() as file:
        wrong = list(csv.DictReader(file))
    assert len(wrong) == round(3 * (1 - results["test"]["last"]["accuracy"]))
    tagger = Tagger(tmp_path / "out", top_k=2, device="cpu")
    for row in wrong:  # as whoever classifies with it would find
        best, other = tagger(row["file"])
        assert (row["given"], row["true"]) == (best["label"], other["label"])
        assert float(row["score"]) == pytest.approx(best["score"], abs=2e-3)
    assert "left out: 1 unreadable" in page.read_text()


def test_thresholds_of_several_labels_are_tuned_on_validation_clips_and_kept_in_the_config(
    make_run: Make, tmp_path: Path
) -> None:
    settings = CorpusArguments(corpus="audioset", data=str(write_audioset(tmp_path / "audioset")))
    run, trainer, corpus, parts = make_run(corpus=settings, num_train_epochs=1)
    held_out = trainer.test_dataset
    trainer.eval_dataset = ClipDataset(corpus["train"], 3, held_out.sampling_rate, held_out.max_samples)
    trainer.model.config.thresholds = [0.1, 0.2, 0.3]  # of the weights that it starts from
    run.train(trainer, corpus, parts)
    config = FastASTConfig.from_pretrained(tmp_path / "out")
    predictions = predict(Tagger(tmp_path / "out", device="cpu"), corpus, "train")
    scores = torch.from_numpy(predictions.logits).sigmoid().numpy()
    assert config.thresholds == pytest.approx(best_thresholds(predictions.targets, scores), abs=1e-4)
    assert config.architectures == ["FastASTForAudioClassification"] and config.auto_map
    assert (
        "the checkpoint&#39;s own, which its config.json holds"
        in (tmp_path / "out" / "report" / "report.html").read_text()
    )
    assert Tagger(tmp_path / "out", threshold="auto", device="cpu").thresholds.tolist() == pytest.approx(
        config.thresholds
    )


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


@pytest.mark.parametrize("metric", ["acc", "eval_f1", "mean_average_precision"])
def test_a_metric_that_there_is_none_of_is_refused_before_training(metric: str, make_run: Make) -> None:
    run, trainer, corpus, parts = make_run(metric_for_best_model=metric)
    with pytest.raises(ValueError, match=f"metric_for_best_model is '{metric}': choose one of loss, accuracy"):
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


def test_clips_to_test_on_that_cannot_be_read_are_found_before_training(make_run: Make, tmp_path: Path) -> None:
    for file in (tmp_path / "esc50" / "audio").glob("1-*.wav"):
        file.write_bytes(b"broken")
    run, trainer, corpus, parts = make_run()
    with pytest.raises(ValueError, match="none of the 4 clips to test on can be read"):
        run.train(trainer, corpus, parts)
    assert trainer.state.global_step == 0


def test_each_epoch_has_a_line_with_loss_score_seconds_and_r(
    make_run: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    run, trainer, corpus, parts = make_run(logging_strategy="epoch", model={"tome_r": [4]})
    run.train(trainer, corpus, parts)
    said = capsys.readouterr().out
    for epoch in (1, 2):
        line = rf"epoch {epoch} of 2: loss [\d.]+, test loss [\d.]+, test accuracy [\d.]+, [\d.]+ s, r 4\n"
        assert len(re.findall(line, said)) == 1
    assert re.search(r"out: best epoch [12] \(test accuracy [\d.]+\)\n", said) and "{'loss'" not in said
    assert "out: wrote config.json, model.safetensors, preprocessor_config.json, results.json" in said


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


def test_a_report_that_fails_does_not_end_a_training(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Path:
        raise ValueError("Unknown symbol")

    monkeypatch.setattr(runs, "write_report", fail)
    run, trainer, corpus, parts = make_run(num_train_epochs=1)
    run.train(trainer, corpus, parts)
    assert "no report could be written: ValueError: Unknown symbol" in caplog.text
    assert (tmp_path / "out" / "results.json").is_file() and (tmp_path / "out" / "model.safetensors").is_file()


def test_an_epoch_that_is_chosen_on_the_test_clips_is_told(
    make_run: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, trainer, corpus, parts = make_run(learning={"early_stopping": 3}, save_strategy="epoch")
    assert caplog.text.count("the best epoch is chosen on the test clips") == 1
    assert run.train(trainer, corpus, parts)["best_epoch_chosen_on"] == "test"
    assert "epoch: the best on these test clips" in (tmp_path / "out" / "report" / "report.html").read_text()
