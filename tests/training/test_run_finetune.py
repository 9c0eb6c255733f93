from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "tests" / "data" / "speech"
NOISE = ROOT / "tests" / "data" / "computed"


@pytest.fixture
def speech_commands(tmp_path: Path) -> Path:
    """The layout of Speech Commands: a folder per word, and the two lists."""
    root = tmp_path / "speech_commands"
    for word in ("yes", "no", "stop"):
        (root / word).mkdir(parents=True)
        for clip in SPEECH.glob(f"{word}_*.wav"):
            shutil.copy(clip, root / word)
    for folder, name in (("_silence_", "pink_noise"), ("_silence_", "white_noise"), ("marvin", "chirp_100hz_to_7khz")):
        (root / folder).mkdir(exist_ok=True)
        shutil.copy(NOISE / f"{name}.wav", root / folder)
    (root / "validation_list.txt").write_text("yes/yes_slt.wav\nno/no_slt.wav\n")
    (root / "testing_list.txt").write_text("yes/yes_rms.wav\nstop/stop_rms.wav\n")
    return root


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "training" / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_training_and_bundling_make_a_checkpoint_with_its_results_and_card(
    speech_commands: Path, tmp_path: Path
) -> None:
    out, bundle = tmp_path / "out", tmp_path / "bundle"
    settings = [
        "--data",
        speech_commands,
        "--hidden_size",
        24,
        "--train_r",
        16,
        40,
        "--use_cpu",
        "--report_to",
        "none",
    ]
    steps = ["--max_steps", 2, "--per_device_train_batch_size", 4, "--eval_strategy", "epoch", "--logging_steps", 1]
    trained = run("run_finetune.py", *settings, *steps, "--output_dir", out)
    assert trained.returncode == 0, trained.stderr
    assert "eval_accuracy" in trained.stdout
    bundled = run("bundle_checkpoint.py", out, "--data", speech_commands, "--output", bundle)
    assert bundled.returncode == 0, bundled.stderr
    results = json.loads((bundle / "results.json").read_text())
    stage = {"train": 8, "validation": 2, "testing": 2, "extra": 0}
    assert results["clips"] == {"stages": [stage], "validation": 2, "testing": 2}
    card = (bundle / "README.md").read_text()
    for row in results["rows"]:
        assert f"| {row['tome_r']} | {row['tokens_out']} |" in card
        assert f"{row['test_accuracy']:.1%}" in card


def test_a_folder_without_the_lists_is_named_in_one_line(tmp_path: Path) -> None:
    failed = run("run_finetune.py", "--data", tmp_path, "--output_dir", tmp_path / "out", "--use_cpu")
    assert failed.returncode == 2
    message = failed.stderr.strip().splitlines()[-1]
    assert message.startswith("run_finetune.py: ")
    assert "validation_list.txt is missing" in message
