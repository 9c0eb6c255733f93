"""The training script as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import torch
from running_scripts import SMALL, check_killed_equals_whole, run, run_in_two
from safetensors.torch import load_file
from small_corpora import write_esc50, write_speech_commands
from sounds import tone

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification


@pytest.mark.slow
def test_training_and_bundling_make_a_checkpoint_with_its_results_and_card(tmp_path: Path) -> None:
    data, out, bundle = write_speech_commands(tmp_path / "speech_commands"), tmp_path / "out", tmp_path / "bundle"
    extra = tmp_path / "extra"
    (extra / "marvin").mkdir(parents=True)
    for number in range(4):
        soundfile.write(extra / "marvin" / f"{number}.wav", tone(1000 + number, seconds=1.0), 16000)
    settings = ["--corpus", "speech_commands", "--classes", 12, "--data", data, "--train_r", 4, 8, "--extra_data"]
    settings += [extra, "--noise", 0.5, "--max_steps", 2, "--eval_strategy", "epoch", "--output_dir", out]
    trained = run("run_finetune.py", *SMALL, *settings)
    assert trained.returncode == 0, trained.stderr
    assert f"{out}: saved: the last weights (test accuracy" in trained.stdout
    bundled = run("bundle_checkpoint.py", out, "--data", data, "--output", bundle, "--rounds", 1)
    assert bundled.returncode == 0, bundled.stderr
    results = json.loads((bundle / "results.json").read_text())
    assert results["clips"] == {"train": 12, "validation": 4, "test": 4, "extra": 4}
    assert results["settings"]["data"] == "speech_commands" and not list(bundle.glob("*.py"))
    card = (bundle / "README.md").read_text()
    assert "It is a demonstration, not a product" in card and "12 clips of Speech Commands V2, and 4 clips of" in card
    table = json.loads((bundle / "results" / "speech_commands-test.json").read_text())
    assert str(tmp_path) not in json.dumps(table) and len(table["rows"]) == 10
    for row in table["rows"]:
        assert f"| {row['tokens_in']} → {row['tokens_out']} |" in card and f"| {100 * row['score']:.1f} |" in card
    assert load_file(bundle / "model.safetensors")["classifier.dense.weight"].dtype == torch.float16


@pytest.mark.slow
def test_five_folds_by_one_command_and_again_only_what_is_missing(tmp_path: Path) -> None:
    data, out = write_esc50(tmp_path / "esc50"), tmp_path / "out"
    settings = [*SMALL, "--corpus", "esc50", "--data", data, "--fold", "all", "--num_train_epochs", 2]
    settings += ["--eval_strategy", "epoch", "--save_strategy", "no", "--output_dir", out]
    assert run("run_finetune.py", *settings).returncode == 0
    results = json.loads((out / "results.json").read_text())
    assert results["folds"] == [1, 2, 3, 4, 5]
    assert results["best"]["mean"] >= results["last"]["mean"] == pytest.approx(sum(results["last"]["folds"]) / 5)
    (out / "fold-3" / "results.json").unlink()
    refused = run("run_finetune.py", *settings)
    assert refused.returncode == 2 and "add --resume" in refused.stderr
    again = run("run_finetune.py", *settings, "--resume")
    assert again.returncode == 0
    assert "fold-3" in again.stdout and "fold-2," not in again.stdout
    assert json.loads((out / "results.json").read_text()) == results


@pytest.mark.slow
def test_a_run_killed_in_mid_epoch_ends_with_the_same_weights(tmp_path: Path) -> None:
    data = write_esc50(tmp_path / "esc50", per_fold=4)
    settings = [*SMALL, "--corpus", "esc50", "--data", data, "--fold", 1, "--num_train_epochs", 3, "--mixup", 0.5]
    settings += ["--frequency_mask", 20, "--time_mask", 20, "--train_r", 0, 4, "--save_steps", 3, "--shift", 0.05]
    settings += ["--average_from", 1, "--seed", 3, "--roll", "--save_total_limit", 2]
    # Of 24 steps, in the second epoch of 8.
    check_killed_equals_whole("run_finetune.py", settings, killed_at=12, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
def test_two_processes_give_the_update_of_one(loss: str, tmp_path: Path) -> None:
    data = write_esc50(tmp_path / "esc50")
    settings = [*SMALL, "--corpus", "esc50", "--data", data, "--fold", 1, "--max_steps", 3, "--loss", loss]
    settings += [
        "--optim",
        "sgd",
        "--learning_rate",
        0.1,
        "--balanced_sampling",
        "--tome_r",
        4,
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    assert run("run_finetune.py", *settings, "--output_dir", one).returncode == 0
    pair = ["--per_device_train_batch_size", 2, "--output_dir", two]
    # Its exit code may be that of a crash of Python's own on the way out: judged by what it wrote.
    run_in_two("train", *settings, *pair)
    results = json.loads((two / "results.json").read_text())
    assert results["training"]["world_size"] == 2
    expected, made = (load_file(folder / "model.safetensors") for folder in (one, two))
    start = max((made[name] - expected[name]).abs().max().item() for name in expected)
    assert start < 1e-6


@pytest.mark.slow
def test_from_a_checkpoint_compiled_with_accumulation(tmp_path: Path) -> None:
    data = write_esc50(tmp_path / "esc50")
    out, start = tmp_path / "out", tmp_path / "start"
    from fastast_hf import FastASTConfig

    config = FastASTConfig(hidden_size=24, num_attention_heads=3, num_hidden_layers=2, intermediate_size=48)
    FastASTForAudioClassification(config).save_pretrained(start)
    FastASTFeatureExtractor().save_pretrained(start)
    settings = ["--model", start, "--frames", 64, "--corpus", "esc50", "--data", data, "--fold", 2, "--max_steps", 2]
    settings += [
        "--tome_r",
        4,
        "--gradient_accumulation_steps",
        2,
        "--torch_compile",
        "--use_cpu",
        "--report_to",
        "none",
    ]
    trained = run("run_finetune.py", *settings, "--per_device_train_batch_size", 2, "--output_dir", out)
    assert trained.returncode == 0, trained.stderr
    model = FastASTForAudioClassification.from_pretrained(out)
    assert model.config.max_length == 64 and model.config.tome_r == 4
    assert model.config.id2label == {0: "dog", 1: "rain"}


def test_a_wrong_start_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    failed = run(
        "run_finetune.py", "--corpus", "esc50", "--fold", 1, "--data", tmp_path / "gone", *SMALL, "--output", tmp_path
    )
    assert failed.returncode == 2
    assert failed.stderr.strip().splitlines()[-1].startswith("run_finetune.py: ")
    assert "gone: no such folder" in failed.stderr
    assert "Traceback" not in failed.stderr
