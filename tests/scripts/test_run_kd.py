"""Teachers and students by the scripts that train them: what they leave, in one process or two, stopped or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from released_efficientat import released_weights, write_released
from running_scripts import CPU, SMALL, STATISTICS, check_killed_equals_whole, run, run_in_two
from safetensors.torch import load_file
from small_corpora import write_audioset, write_esc50, write_speech_commands, write_tone
from torch import Tensor

from fastast_hf import FastASTForAudioClassification, load_audio
from fastast_hf.distillation.teachers.released import load_released

pytestmark = pytest.mark.slow

ARCHITECTURES = {
    "cnn": ["--backbone", "mobilenetv3_small_050", *STATISTICS],
    "passt": ["--architecture", "passt", "--hidden_size", "24", "--layers", "1", "--heads", "3", "--stride", "16"],
}
CORPORA: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "esc50": (write_esc50, ["--fold", "1"]),
    "speech_commands": (write_speech_commands, ["--classes", "12"]),
    "audioset": (write_audioset, []),
}
TAUGHT = [
    # teacher, corpus, merging
    ("cnn", "esc50", ["--tome_r", 4]),
    ("cnn", "speech_commands", ["--train_r", 0, 4, 8]),
    ("passt", "audioset", ["--tome_r", 4]),
    ("passt", "esc50", ["--train_r", 0, 4, 8]),
]
AUGMENT = ["--mixup", 0.5, "--frequency_mask", 20, "--time_mask", 20, "--roll", "--shift", 0.05]
# With Adam's, a gradient that is all but zero would still be a step, in the direction of its rounding error.
PLAIN_STEPS = ["--optim", "sgd", "--learning_rate", 0.1, "--max_steps", 4]
LOGGED = ("loss", "loss_ground_truth", "loss_distillation", "teacher_agreement")
STEPS = 3


@pytest.fixture(scope="module")
def make_corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Any]]:
    """Writes a corpus once, and gives its arguments."""
    written: dict[str, list[Any]] = {}

    def make(name: str) -> list[Any]:
        if name not in written:
            write, options = CORPORA[name]
            root = write(tmp_path_factory.mktemp("corpora") / name)
            written[name] = ["--corpus", name, "--data", root, *options]
        return written[name]

    return make


@pytest.fixture(scope="module")
def make_teacher(
    make_corpus: Callable[[str], list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """Trains a teacher once, by the script."""
    trained: dict[tuple[str, str], Path] = {}

    def make(architecture: str, corpus: str) -> Path:
        if (architecture, corpus) not in trained:
            out = tmp_path_factory.mktemp("teachers") / f"{architecture}-{corpus}"
            settings = [*ARCHITECTURES[architecture], *make_corpus(corpus), "--frames", 64, *CPU, "--max_steps", STEPS]
            settings += ["--per_device_train_batch_size", 4, "--learning_rate", "1e-3", "--output_dir", out]
            done = run("run_teacher.py", *settings, "--save_strategy", "no")
            assert done.returncode == 0, done.stderr
            assert f"{out}: saved: the last weights (test " in done.stdout
            trained[architecture, corpus] = out
        return trained[architecture, corpus]

    return make


@pytest.fixture(scope="module")
def distilling(make_corpus: Callable[..., Any], make_teacher: Callable[..., Any]) -> list[Any]:
    """Settings of a student on ESC-50's first fold that a CNN teaches."""
    return [*SMALL, *make_corpus("esc50"), "--teacher", make_teacher("cnn", "esc50"), "--logging_steps", 1]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def logged(checkpoint: Path) -> list[dict[str, float]]:
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return [{name: entry[name] for name in LOGGED} for entry in history if "loss" in entry]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same_training(one: Path, other: Path, steps: int) -> None:
    """The same weights and logged values.

    Sums of four clips differ by the order that they are added in, in the last bits of float32: 1e-6 of weights whose
    changes are of order 0.01.
    """
    expected, made = weights(one), weights(other)
    assert expected.keys() == made.keys()
    assert max((made[name] - weight).abs().max().item() for name, weight in expected.items()) < 1e-6
    values, others = (logged(folder / f"checkpoint-{steps}") for folder in (one, other))
    assert len(values) == len(others) == steps
    for value, its_other in zip(values, others, strict=True):
        assert its_other == pytest.approx(value, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("architecture", "corpus", "merging"), TAUGHT, ids=[f"{t[0]}-{t[1]}" for t in TAUGHT])
def test_a_teacher_and_then_its_student_are_trained(
    architecture: str, corpus: str, merging: list[Any], make_corpus: Any, make_teacher: Any, tmp_path: Path
) -> None:
    teacher, out = make_teacher(architecture, corpus), tmp_path / "out"
    before = contents(teacher)
    settings = [*SMALL, *make_corpus(corpus), *merging, *AUGMENT, "--teacher", teacher, "--max_steps", STEPS]
    done = run("run_kd.py", *settings, "--logging_steps", 1, "--save_steps", STEPS, "--output_dir", out)
    assert done.returncode == 0, done.stderr
    assert contents(teacher) == before

    results = json.loads((out / "results.json").read_text())
    metric = "mean_average_precision" if corpus == "audioset" else "accuracy"
    assert 0 <= results["test"]["last"][metric] <= 1
    assert results["settings"]["lam"] == 0.1 and results["settings"]["teacher"] == teacher.name
    for entry in logged(out / f"checkpoint-{STEPS}"):
        expected = 0.1 * entry["loss_ground_truth"] + 0.9 * entry["loss_distillation"]
        assert entry["loss"] == pytest.approx(expected, rel=1e-3)
        assert entry["loss_distillation"] > 0 and 0 <= entry["teacher_agreement"] <= 1
        assert all(f" {name.replace('_', ' ')} " in done.stdout for name in LOGGED)

    # Its code beside it, for those who load it from the Hub without the package.
    assert {file.name for file in out.iterdir() if file.is_file() and file.suffix != ".py"} == {
        "config.json", "model.safetensors", "preprocessor_config.json", "results.json"
    }  # fmt: skip
    for folder in (out, out / f"checkpoint-{STEPS}"):
        model, info = FastASTForAudioClassification.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
        assert model.config.tome_r == (4 if "--tome_r" in merging else 0)
    moments = torch.load(out / f"checkpoint-{STEPS}" / "optimizer.pt", weights_only=True)["state"]
    count = sum(state["exp_avg"].numel() for state in moments.values())
    assert count == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("cached", [False, True], ids=["consistent", "cached"])
def test_two_processes_equal_one(cached: bool, distilling: list[Any], tmp_path: Path) -> None:
    """Without augmentation, which each process draws for its own clips; r is drawn for all of them."""
    settings = [*distilling, *PLAIN_STEPS, "--save_steps", 4, "--train_r", 0, 4]
    settings += ["--cache_teacher"] if cached else []
    one, two = tmp_path / "one", tmp_path / "two"
    done = run("run_kd.py", *settings, "--output_dir", one)
    assert done.returncode == 0, done.stderr
    # Its exit code may be that of a crash of Python's own on the way out: judged by what it wrote.
    launched = run_in_two("distill", *settings, "--per_device_train_batch_size", 2, "--output_dir", two)
    assert (two / "results.json").is_file(), launched.stderr
    assert json.loads((two / "results.json").read_text())["training"]["world_size"] == 2
    assert_same_training(one, two, steps=4)


def test_accumulated_steps_equal_one_big_batch(distilling: list[Any], tmp_path: Path) -> None:
    settings = [*distilling, *PLAIN_STEPS, "--save_steps", 4, "--tome_r", 4]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    split = ["--per_device_train_batch_size", 2, "--gradient_accumulation_steps", 2]
    for out, more in ((whole, []), (parts, split)):
        done = run("run_kd.py", *settings, *more, "--output_dir", out)
        assert done.returncode == 0, done.stderr
    assert json.loads((parts / "results.json").read_text())["training"]["gradient_accumulation_steps"] == 2
    assert_same_training(whole, parts, steps=4)


def test_a_run_killed_in_mid_epoch_ends_with_the_same_weights(distilling: list[Any], tmp_path: Path) -> None:
    settings = [*distilling, *AUGMENT, "--train_r", 0, 4, "--num_train_epochs", 6, "--save_steps", 3, "--seed", 3]
    # Of 24 steps, in the third epoch of 4.
    whole, killed = check_killed_equals_whole("run_kd.py", settings, killed_at=9, folder=tmp_path)
    assert logged(whole / "checkpoint-24") == logged(killed / "checkpoint-24")


def test_unlabelled_sound_is_learned_from_a_released_teacher_stopped_or_not(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("test", 4)):
        for number in range(count):
            write_tone(tmp_path / "sounds" / split / "package" / f"{number}.wav", 200 * 1.3**number)
    names = ["Speech", "Dog", "Rain", "Bell", "Engine", "Music"]
    rows = [f"{index},/m/{index},{name}" for index, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(["index,mid,display_name", *rows]) + "\n")
    teacher = write_released(tmp_path / "mn01_as.pt")
    # Its weights are random, but half of the clips to test on shall have each label, which takes 0.3.
    model, extractor = load_released(str(teacher))
    clips = [load_audio(file, 32000) for file in sorted((tmp_path / "sounds" / "test").rglob("*.wav"))]
    with torch.no_grad():
        logits = model(extractor(clips, sampling_rate=32000, return_tensors="pt").input_values).logits
    weights = released_weights()
    weights["classifier.5.bias"] += torch.logit(torch.tensor(0.3)) - logits.mean(dim=0)
    torch.save(weights, teacher)
    settings = ["--corpus", "unlabelled", "--data", tmp_path / "sounds", "--teacher", teacher, "--lam", 0, *SMALL]
    settings += ["--teacher_labels", tmp_path / "labels.csv", "--teacher_scores", tmp_path / "scores"]
    settings += [
        "--balanced_sampling",
        "--overlay",
        0.5,
        "--noise",
        0.5,
        "--gain",
        6,
        "--train_r",
        0,
        4,
        "--distance",
        "mse",
    ]
    settings += ["--max_steps", 4, "--save_strategy", "steps", "--save_steps", 2]
    whole, _ = check_killed_equals_whole("run_kd.py", settings, 2, tmp_path)
    results = json.loads((whole / "results.json").read_text())
    assert set(results["test"]["last"]) >= {"mean_average_precision", "top1_agreement", "classes"}
    assert results["settings"]["teacher"] == "mn01_as.pt" and "teacher_knows" not in results["settings"]
    model = FastASTForAudioClassification.from_pretrained(whole)
    assert list(model.config.id2label.values()) == names
    assert sorted(file.name for file in (tmp_path / "scores").iterdir()) == [
        "teacher_test.safetensors", "teacher_train.safetensors",
    ]  # fmt: skip
    refused = run("run_kd.py", *settings, "--output_dir", tmp_path / "other", "--lam", 0.1)
    assert refused.returncode == 2 and "unlabelled sound has no ground truth: give --lam 0" in refused.stderr


def test_a_student_teaches_itself_with_labels_and_without(
    make_corpus: Callable[[str], list[Any]], tmp_path: Path
) -> None:
    esc = [*make_corpus("esc50"), *CPU, "--per_device_train_batch_size", 4, "--max_steps", 2]
    done = run("run_finetune.py", *esc, *SMALL, "--output_dir", tmp_path / "first")
    assert done.returncode == 0, done.stderr
    itself = ["--model", tmp_path / "first", "--teacher", "self"]
    done = run("run_kd.py", *esc, *itself, "--tome_r", 4, "--output_dir", tmp_path / "second")
    assert done.returncode == 0, done.stderr
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    for wrong, said in ((["--tome_r", 0], "the student is its teacher"), (["--model", "none"], "nothing to teach")):
        refused = run("run_kd.py", *esc, *itself, *wrong, "--output_dir", tmp_path / "other")
        assert refused.returncode == 2 and said in refused.stderr, refused.stderr

    for split in ("train", "test"):
        for number in range(4):
            write_tone(
                tmp_path / "sounds" / split / f"{number}{split}.wav", (200 if split == "train" else 250) * 1.3**number
            )
    sounds = ["--corpus", "unlabelled", "--data", tmp_path / "sounds", *CPU, "--lam", 0, "--distance", "mse"]
    sounds += ["--per_device_train_batch_size", 4, "--max_steps", 2, "--train_r", 4, 8, "--loss", "bce"]
    for student in ("first", "second"):  # each has scores of its own; these know nothing yet
        done = run(
            "run_kd.py", *sounds, "--model", tmp_path / student, "--teacher", "self",
            "--teacher_scores", tmp_path / student, "--output_dir", tmp_path / "sounds-alone",
        )  # fmt: skip
        assert done.returncode == 2 and "there is nothing to test by" in done.stderr, done.stderr
    scores = [load_file(tmp_path / student / "teacher_train.safetensors") for student in ("first", "second")]
    assert any(not torch.equal(scores[0][name], scores[1][name]) for name in scores[0])
