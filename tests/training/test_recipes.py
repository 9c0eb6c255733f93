"""Recipes: AST's published numbers, replaced by the command line, and mistakes in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments, get_scheduler

from fastast_hf.distillation.teachers.building import TeacherModelArguments
from fastast_hf.distillation.trainer import DistillationArguments
from fastast_hf.training.arguments import AugmentationArguments, ScheduleArguments
from fastast_hf.training.checkpoints import mark_complete
from fastast_hf.training.finetuning import CorpusArguments, LearningArguments
from fastast_hf.training.recipes import (
    RecipeParser,
    RunArguments,
    find_recipe,
    parse_with_recipe,
    read_recipe,
    scripts_folder,
)
from fastast_hf.training.start.student import ModelArguments

CLASSES = (
    CorpusArguments,
    ModelArguments,
    LearningArguments,
    AugmentationArguments,
    ScheduleArguments,
    TrainingArguments,
)
# What AST's scripts and logs say (egs/*/run*.sh).
PUBLISHED: list[tuple[str, dict[str, Any]]] = [
    ("esc50", {"frames": 512, "frequency_mask": 24, "time_mask": 96, "mixup": 0, "per_device_train_batch_size": 48,
               "learning_rate": 1e-5, "num_train_epochs": 25, "decay_start": 5, "decay_every": 1, "decay": 0.85,
               "mean": -6.6268077, "std": 5.358466, "loss": "cross_entropy", "roll": False, "fold": "all"}),
    ("speech_commands", {"frames": 128, "frequency_mask": 48, "time_mask": 48, "mixup": 0.5, "roll": True,
                         "per_device_train_batch_size": 128, "learning_rate": 2.5e-4, "num_train_epochs": 30,
                         "decay_start": 5, "decay": 0.85, "decay_end": 26, "mean": -6.845978, "std": 5.5654526,
                         "loss": "bce", "load_best_model_at_end": True, "classes": 35}),
    ("audioset_balanced", {"frames": 1024, "frequency_mask": 48, "time_mask": 192, "mixup": 0.5, "roll": False,
                           "per_device_train_batch_size": 12, "learning_rate": 5e-5, "num_train_epochs": 25,
                           "decay_start": 10, "decay_every": 5, "decay": 0.5, "staircase_warmup": 1000, "loss": "bce",
                           "mean": -4.2677393, "std": 4.5689974, "average_from": 6, "average_to": 25,
                           "balanced_sampling": False, "subset": "balanced"}),
    ("audioset_full", {"learning_rate": 1e-5, "num_train_epochs": 5, "decay_start": 2, "decay_every": 1, "decay": 0.5,
                       "staircase_warmup": 1000, "average_from": 1, "average_to": 5, "balanced_sampling": True,
                       "subset": "full", "mixup": 0.5, "per_device_train_batch_size": 12}),
]  # fmt: skip
EXTENDING = {
    "kd_audioset_cnn": "audioset_balanced",
    "kd_audioset_passt": "audioset_balanced",
    "kd_esc50": "esc50",
    "kd_speech_commands": "speech_commands",
}
# PSLA's egs/audioset/run.sh, PaSST's ex_audioset.py and ex_esc50.py; nothing is published for the other three.
TEACHERS: dict[str, dict[str, Any]] = {
    "teacher_cnn_audioset": {
        "learning_rate": 1e-3, "num_train_epochs": 60, "decay": 0.5, "decay_start": 35, "decay_every": 5,
        "staircase_warmup": 1000, "per_device_train_batch_size": 100, "frequency_mask": 48, "time_mask": 192,
        "mixup": 0.5, "average_from": 41, "average_to": 60, "loss": "bce", "adam_l2": True, "weight_decay": 5e-7,
    },
    "teacher_passt_esc50": {
        "learning_rate": 1e-5, "num_train_epochs": 10, "per_device_train_batch_size": 12, "time_patchout": 10,
        "frequency_patchout": 3, "frequency_mask": 48, "time_mask": 80, "average_from": 2,
    },
    "teacher_passt_audioset": {
        "subset": "full", "balanced_sampling": True, "model": "timm/deit_base_distilled_patch16_384", "frames": None,
        "learning_rate": 2e-5, "weight_decay": 1e-4, "per_device_train_batch_size": 12, "time_patchout": 40,
        "frequency_patchout": 4, "mixup": 1.0, "mixup_beta": 0.3, "frequency_mask": 48, "time_mask": 192,
        "loss": "bce", "max_steps": 130 * 100_000 // 12, "adam_l2": False,
    },
    "teacher_passt_speech_commands": {
        "architecture": "passt", "classes": 35, "frames": 100, "learning_rate": 1e-5, "mixup": 0.5, "loss": "bce",
        "frequency_mask": 48, "time_mask": 48, "roll": True, "time_patchout": 2, "frequency_patchout": 3,
    },
    "teacher_cnn_esc50": {"architecture": "cnn", "fold": "all", "frames": 512},
    "teacher_cnn_speech_commands": {"architecture": "cnn", "classes": 35, "frames": 128},
}  # fmt: skip
SHARED = {"adam_l2": True, "weight_decay": 5e-7, "adam_beta1": 0.95, "adam_beta2": 0.999, "max_grad_norm": 0}


WRONG_VALUES = [
    ("train_r: [0, x]", "invalid int value: 'x'"),
    ("train_r: [0, 2.5]", "invalid int value: '2.5'"),
    ("learning_rate: {a: 1}", "learning_rate is {'a': 1}: give a number"),
    ("learning_rate: fast", "invalid float value: 'fast'"),
    ("mixup: true", "invalid float value: 'True'"),
    ("learning_rate: [1, 2]", "learning_rate is [1, 2]: give one value"),
]


def parsed(*argv: str) -> dict[str, Any]:
    parts = parse_with_recipe(RecipeParser(CLASSES, prog="train"), ["--model", "none", *argv])
    assert [type(part) for part in parts] == list(CLASSES)
    return {key: value for part in parts for key, value in vars(part).items()}


@pytest.mark.parametrize(("name", "expected"), PUBLISHED, ids=[name for name, _ in PUBLISHED])
def test_recipes_hold_asts_published_settings(name: str, expected: dict[str, Any], tmp_path: Path) -> None:
    settings = parsed("--recipe", name, "--output_dir", str(tmp_path), "--use_cpu")
    for key, value in (expected | SHARED).items():
        assert settings[key] == value, key


def test_every_recipe_is_checked_here() -> None:
    names = {name for name, _ in PUBLISHED} | set(EXTENDING) | set(TEACHERS) | {"general_tagger"}
    assert {path.stem for path in (scripts_folder() / "recipes").glob("*.yaml")} == names


@pytest.mark.parametrize(("name", "base"), EXTENDING.items())
def test_distillation_is_the_corpus_recipe_with_a_teacher(name: str, base: str) -> None:
    recipes = [read_recipe(find_recipe(recipe)) for recipe in (base, name)]
    assert recipes[1] == recipes[0] | {"lam": 0.1, "tau": 1.0}
    classes = (*CLASSES[:-1], DistillationArguments, TrainingArguments)
    *_, distillation, args = parse_with_recipe(RecipeParser(classes), ["--recipe", name, "--use_cpu"])
    assert (distillation.lam, distillation.tau) == (0.1, 1.0)
    assert args.learning_rate == recipes[0]["learning_rate"]


def test_the_general_tagger_learns_from_its_teacher_alone() -> None:
    classes = (*CLASSES[:-1], DistillationArguments, TrainingArguments)
    corpus, model, *_, distillation, args = parse_with_recipe(
        RecipeParser(classes), ["--recipe", "general_tagger", "--use_cpu"]
    )
    assert (corpus.corpus, corpus.balanced_sampling, distillation.lam) == ("unlabelled", True, 0.0)
    assert (model.stride, model.layers, model.mel_bins, model.frames) == (16, 3, 64, 512)
    assert 0 in model.train_r and args.save_steps == 100  # a stop costs minutes


@pytest.mark.parametrize(("name", "expected"), TEACHERS.items())
def test_teachers_have_their_published_settings(name: str, expected: dict[str, Any]) -> None:
    classes = (CorpusArguments, TeacherModelArguments, *CLASSES[2:])
    start = ["--model", "teacher"] if name in ("teacher_passt_esc50", "teacher_passt_speech_commands") else []
    parts = parse_with_recipe(RecipeParser(classes), ["--recipe", name, "--use_cpu", *start])
    settings = {key: value for part in parts for key, value in vars(part).items()}
    for key, value in expected.items():
        assert settings[key] == value, key


@pytest.mark.filterwarnings("ignore:Both num_training_steps and num_stable_steps")
def test_passts_learning_rate_is_as_published() -> None:
    """Of its epochs of 100,000 clips: whole from the 5th, after the warm-up, to the 50th, a hundredth from 100 on."""
    classes = (CorpusArguments, TeacherModelArguments, *CLASSES[2:])
    args = parse_with_recipe(RecipeParser(classes), ["--recipe", "teacher_passt_audioset", "--use_cpu"])[-1]
    steps = (args.get_warmup_steps(args.max_steps), args.max_steps)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler: Any = get_scheduler(args.lr_scheduler_type, optimizer, *steps, args.lr_scheduler_kwargs)
    factors = [scheduler.lr_lambdas[0](round(epoch * 100_000 / 12)) for epoch in (5, 30, 50, 75, 100, 129)]
    assert factors == pytest.approx([1, 1, 1, 0.505, 0.01, 0.01], abs=1e-4)


def test_a_recipe_that_extends_another_replaces_its_settings(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("learning_rate: 1\nmixup: 0.5\n")
    (tmp_path / "mine.yaml").write_text(f"extends: {tmp_path / 'base.yaml'}\nmixup: 0.1\n")
    assert read_recipe(tmp_path / "mine.yaml") == {"learning_rate": 1, "mixup": 0.1}


def test_the_command_line_replaces_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("corpus: esc50\nlearning_rate: 1e-3\ntrain_r: [0, 4]\nroll: true\ntome_r: 8\n")
    settings = parsed("--recipe", str(recipe), "--learning_rate", "1e-2", "--roll", "false", "--use_cpu")
    assert settings["corpus"] == "esc50"
    assert settings["learning_rate"] == 0.01
    assert settings["train_r"] == [0, 4] and settings["tome_r"] == [8]
    assert settings["roll"] is False
    assert parsed("--recipe", str(recipe), "--use_cpu")["learning_rate"] == 1e-3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rat: 1", r"there is no setting 'learning_rat': did you mean learning_rate\?"),
        ("zzz: 1", "there is no setting 'zzz'$"),
        ("a: [", "no yaml"),
        ("- a\n- b", "holds a list"),
    ],
)
def test_a_wrong_recipe_is_told_apart(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        parsed("--recipe", str(tmp_path / "wrong.yaml"))


@pytest.mark.parametrize(("text", "said"), WRONG_VALUES, ids=[text for text, _ in WRONG_VALUES])
def test_a_recipes_values_are_checked_as_the_command_lines_are(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises((SystemExit, ValueError)) as stop:
        parsed("--recipe", str(tmp_path / "wrong.yaml"), "--use_cpu")
    message = capsys.readouterr().err if isinstance(stop.value, SystemExit) else str(stop.value)
    assert said in message and "wrong.yaml: " in message and message.count("\n") <= 1


def test_none_takes_a_setting_back(tmp_path: Path) -> None:
    settings = parsed("--recipe", "esc50", "--decay", "none", "--lr_scheduler_type", "cosine", "--use_cpu")
    assert settings["decay"] is None and settings["lr_scheduler_type"] == "cosine"
    (tmp_path / "mine.yaml").write_text("decay: null\naverage_from: none\n")
    settings = parsed("--recipe", str(tmp_path / "mine.yaml"), "--use_cpu")
    assert settings["decay"] is None and settings["average_from"] is None


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--lr_scheduler_type", "cosine"], "no effect beside the recipe's decay: add --decay none"),
        (["--optim", "sgd"], "no effect beside the recipe's adam_l2: add --adam-l2 false"),
    ],
)
def test_a_setting_that_the_recipe_would_pass_over_is_refused(argv: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parsed("--recipe", "esc50", *argv, "--use_cpu")


def test_an_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(OSError, match="esc51: no such recipe; give a yaml file, or one of audioset_balanced, "):
        find_recipe("esc51")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--learning_rat", "1"], "there is no option --learning-rat: did you mean --learning-rate?"),
        (["--lr", "1"], "there is no option --lr: did you mean --learning-rate?"),
        (["--epochs=2"], "there is no option --epochs: did you mean --num-train-epochs?"),
        (["--learning_rate", "fast"], "argument --learning-rate: invalid float value: 'fast'"),
        (["esc50"], "unrecognized arguments: esc50"),
    ],
)
def test_a_wrong_option_is_one_line(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parsed(*argv, "--use_cpu")
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"train: {said} (see train --help)\n"


@pytest.mark.parametrize("between", "-_")
def test_options_are_spelled_with_hyphens_or_underscores(between: str) -> None:
    argv = [
        "--output-dir",
        "out",
        "--learning-rate=0.5",
        "--tome-r",
        "3",
        "--label-file",
        "my_labels.csv",
        "--corpus",
        "audioset",
    ]
    settings = parsed(
        *("--" + part[2:].replace("-", between) if part[0] == "-" else part for part in argv), "--use-cpu"
    )
    assert (settings["output_dir"], settings["learning_rate"], settings["tome_r"]) == ("out", 0.5, [3])
    assert settings["label_file"] == "my_labels.csv"
    with pytest.raises(ValueError, match="add --decay none"):
        parsed("--recipe", "esc50", f"--lr{between}scheduler{between}type", "cosine", "--use-cpu")


def test_training_has_the_words_of_the_other_commands(tmp_path: Path) -> None:
    settings = parsed("--output", str(tmp_path), "--r", "8", "4", "--schedule", "decreasing", "--use-cpu")
    assert settings["output_dir"] == str(tmp_path)
    assert settings["tome_r"] == [8, 4] and settings["tome_schedule"] == "decreasing"


def test_help_has_our_settings_under_headings_and_few_of_transformers() -> None:
    parser = RecipeParser(CLASSES, prog="train")
    lines = [line.strip() for line in parser.format_help().splitlines()]
    assert lines[0] == "usage: train [--recipe RECIPE] [--option VALUE …]" and len(lines) < 150
    headings = [
        "options:",
        "What to train on:",
        "How to learn:",
        "What happens to training clips:",
        "AST's learning rates:",
        "The most used of transformers' settings:",
    ]
    places = [lines.index(heading) for heading in headings]
    assert places == sorted(places)
    for name in ("recipe", "data", "mixup", "decay", "learning-rate", "output"):
        assert sum(line.startswith(f"--{name} ") for line in lines) == 1
    assert places[3] < next(i for i, line in enumerate(lines) if line.startswith("--mixup X ")) < places[4]
    text = " ".join(lines)
    assert not re.search(r"--\w+_", text) and "(default: None)" not in text
    assert "--help-all" in text and "--lr-scheduler-type" not in text


def test_help_all_has_transformers_settings_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parsed("--recipe", "esc50", "--help-all")
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert "--lr-scheduler-type" in printed and "--mixup" in printed and "_scheduler_type" not in printed


def test_a_recipe_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_recipe(tmp_path / "empty.yaml") == {}


@pytest.mark.parametrize("kind", [ModelArguments, TeacherModelArguments])
def test_a_new_model_is_asked_for_in_so_many_words_or_by_its_size(kind: Any) -> None:
    parser = (kind, TrainingArguments)
    with pytest.raises(ValueError, match=r"no model to start from: give --model, .* or none for a new model"):
        parse_with_recipe(RecipeParser(parser), ["--frames", "64", "--use_cpu"])
    for asked in (["--model", "none"], ["--layers", "2"]):
        assert parse_with_recipe(RecipeParser(parser), [*asked, "--use_cpu"])[0].model is None


@pytest.mark.parametrize("option", ["--gain", "--learning_rate", "--mean"])
def test_numbers_are_finite(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(option, "nan", "--use_cpu")
    assert "invalid float value: 'nan'" in capsys.readouterr().err


def test_each_epoch_is_saved_scored_and_logged_unless_another_measure_is_given() -> None:
    names = ("save_strategy", "eval_strategy", "logging_strategy", "save_total_limit")
    settings = parsed("--use_cpu")
    assert [settings[name] for name in names] == ["epoch", "epoch", "epoch", 2]
    settings = parsed("--use_cpu", "--save-steps", "30", "--eval-strategy", "no", "--logging_steps=5")
    assert [settings[name] for name in names] == ["steps", "no", "steps", 2]


@pytest.mark.parametrize("model", [None, "MIT/ast", "tiny"])
def test_a_resumed_run_needs_no_model_but_one_of_a_folder(model: str | None, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-2").mkdir()
    mark_complete(tmp_path / "checkpoint-2", {"model": model})
    parser = RecipeParser((ModelArguments, RunArguments, TrainingArguments))
    given = ["--resume", "--output", str(tmp_path)]
    if model == "tiny":
        with pytest.raises(ValueError, match=f"the run in {tmp_path} began with the folder tiny: give it again"):
            parse_with_recipe(parser, given)
    else:
        settings, *_ = parse_with_recipe(parser, given)
        assert settings.model == model
