"""Which teacher teaches, and teachers that can't: one line, exit code 2, and nothing run or written."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pickles_with_code import Touch
from running_scripts import CPU, SMALL, STATISTICS, load_script, run
from small_corpora import write_esc50

from fastast_hf import FastASTFeatureExtractor
from fastast_hf.distillation.teachers.cnn import CNNConfig, CNNForAudioClassification
from fastast_hf.distillation.teachers.teacher import Teacher
from fastast_hf.distillation.trainer import CMKDTrainer

Spoil = Callable[[Path], None]


def ran(teacher: Path) -> Path:
    """The file that code in the teacher's folder writes when it is run."""
    return teacher.parent / "ran"


def save_cnn(folder: Path, names: list[str]) -> None:
    config = CNNConfig(backbone="mobilenetv3_small_050", max_length=64, id2label=dict(enumerate(names)))
    CNNForAudioClassification(config).save_pretrained(folder)
    FastASTFeatureExtractor(max_length=64, mean=-5.0, std=4.0).save_pretrained(folder)


def set_in(file: str, **fields: Any) -> Spoil:
    def spoil(teacher: Path) -> None:
        content = json.loads((teacher / file).read_text())
        (teacher / file).write_text(json.dumps(content | fields))

    return spoil


def remove(*files: str) -> Spoil:
    def spoil(teacher: Path) -> None:
        for file in files:
            (teacher / file).unlink()

    return spoil


def cut_off(teacher: Path) -> None:
    weights = teacher / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def code_in_weights(save: Callable[[Any, Path], Any]) -> Spoil:
    def spoil(teacher: Path) -> None:
        (teacher / "model.safetensors").unlink()
        save({"head.linear.bias": Touch(ran(teacher))}, teacher / "pytorch_model.bin")

    return spoil


def code_in_folder(teacher: Path) -> None:
    (teacher / "own.py").write_text(f"import pathlib\npathlib.Path({str(ran(teacher))!r}).touch()\n")
    own = {"AutoConfig": "own.Config", "AutoModelForAudioClassification": "own.Model"}
    set_in("config.json", model_type="own", auto_map=own)(teacher)


PICKLED = code_in_weights(lambda code, file: file.write_bytes(pickle.dumps(code, protocol=2)))
NO_CODE = "can't be read (damaged, or a pickle with code in it, which is not run): give whole safetensors weights"
WRONG: dict[str, tuple[Spoil, str]] = {
    # what is wrong: how it is made so, what is said
    "other labels": (
        set_in("config.json", id2label={"0": "cat", "1": "dog"}),
        "the teacher alone has 1: 'cat'; the student alone has 1: 'rain'): give a teacher of the same corpus",
    ),
    "another corpus": (
        lambda teacher: save_cnn(teacher, [f"class {number}" for number in range(50)]),
        "the teacher's 50 labels are not the student's 2 (the teacher alone has 50: 'class 0', 'class 1'",
    ),
    "another rate": (
        set_in("preprocessor_config.json", sampling_rate=22050),
        "the teacher takes 22050 Hz and the student hears 16000 Hz: choose a teacher at 16000 Hz, or at a multiple",
    ),
    "a lower rate": (set_in("preprocessor_config.json", sampling_rate=8000), "the teacher takes 8000 Hz"),
    "no folder": (shutil.rmtree, "teacher does not exist: give a checkpoint's folder"),
    "no weights": (remove("model.safetensors"), "has a config.json and no weights"),
    "no config": (remove("config.json"), "has no config.json"),
    "no front end": (remove("preprocessor_config.json"), "preprocessor_config.json"),
    "cut off": (cut_off, NO_CODE),
    "no audio": (set_in("config.json", model_type="bert"), "cannot be loaded as an audio classifier"),
    "pickle": (PICKLED, NO_CODE),
    "torch's pickle": (code_in_weights(torch.save), NO_CODE),
    "code": (code_in_folder, "cannot be loaded as an audio classifier: it needs code of its own, which is not run"),
}
SETTINGS = [
    # arguments, what is said
    ([], "no teacher: give --teacher"),
    (["--teacher", "{teacher}", "--teacher_dtype", "int8"], "teacher_dtype is 'int8': choose one of float32"),
    (["--teacher", "{teacher}", "--lam", "2"], "lam is 2.0: give the share of the ground truth, 0 to 1"),
    (["--teacher", "{teacher}", "--tau", "0"], "tau is 0.0: give a temperature above 0"),
    (
        ["--teacher", "resnet"],
        "resnet does not exist: give a checkpoint's folder, or a model id of the Hub (owner/name)",
    ),
    (
        ["--teacher", "owner/resnet"],
        "owner/resnet is no folder here, and the Hub can't be reached: give a checkpoint's",
    ),
    (["--teacher", "{teacher}/model.safetensors"], "is a file: give a checkpoint's folder"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_cnn(folder, ["dog", "rain"])
    return folder


@pytest.fixture
def teacher(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "teacher"))


@pytest.fixture(scope="module")
def esc50(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return ["--corpus", "esc50", "--data", write_esc50(tmp_path_factory.mktemp("corpora") / "esc50")]


@pytest.fixture
def distil(esc50: list[Any], tmp_path: Path) -> Callable[..., int]:
    """Runs the script here, into `tmp_path / "out"`."""
    script = load_script("run_kd")

    def main(*arguments: Any) -> int:
        settings = [*SMALL, *esc50, "--save_strategy", "no", "--max_steps", "1", "--output_dir", tmp_path / "out"]
        return int(script.main([str(part) for part in [*settings, *arguments]]))

    return main


@pytest.fixture
def no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(CMKDTrainer, "training_step", step)


def assert_refused(code: int, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1 and printed.err.startswith("run_kd.py: "), printed.err
    assert said in printed.err and "weights_only" not in printed.err and "trust_remote" not in printed.err
    assert not (tmp_path / "out").exists() and not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("no_step")
@pytest.mark.parametrize(("spoil", "said"), WRONG.values(), ids=WRONG)
def test_a_teacher_that_cannot_teach_is_refused_before_anything_runs(
    spoil: Spoil, said: str, teacher: Path, distil: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spoil(teacher)
    code = distil("--fold", 1, "--teacher", teacher)
    assert_refused(code, said, capsys, tmp_path)


@pytest.mark.usefixtures("no_step")
@pytest.mark.parametrize(("arguments", "said"), SETTINGS, ids=[said for _, said in SETTINGS])
def test_a_wrong_setting_is_refused_before_anything_runs(
    arguments: list[str], said: str, teacher: Path, distil: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = distil("--fold", 1, *(part.format(teacher=teacher) for part in arguments))
    assert_refused(code, said, capsys, tmp_path)


def write_folds(saved: Path, root: Path) -> Path:
    for fold in range(1, 6):
        shutil.copytree(saved, root / f"fold-{fold}")
    return root


def of_fold_2(teacher: Path) -> None:
    (teacher / "results.json").write_text('{"fold": 2}')


MISSING = {
    # what is wrong with the third teacher, what is said
    "no folder": (shutil.rmtree, "fold-3 does not exist, and"),
    "no weights": (remove("model.safetensors"), "has a config.json and no weights"),
    "pickle": (PICKLED, NO_CODE),
    "another rate": (set_in("preprocessor_config.json", sampling_rate=22050), "the teacher takes 22050 Hz"),
    "trained on the test's clips": (of_fold_2, "was trained on the clips of fold 3, and kept from those of fold 2"),
}


@pytest.mark.usefixtures("no_step")
@pytest.mark.parametrize("root_is_a_teacher", [False, True])
@pytest.mark.parametrize(("spoil", "said"), MISSING.values(), ids=MISSING)
def test_a_wrong_teacher_of_a_later_fold_is_found_before_the_first_is_trained(
    spoil: Spoil,
    said: str,
    root_is_a_teacher: bool,
    saved: Path,
    distil: Any,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    teachers = write_folds(saved, tmp_path / "teachers")
    if root_is_a_teacher:  # of which folds it has not heard nobody knows
        shutil.copytree(saved, teachers, dirs_exist_ok=True)
    spoil(teachers / "fold-3")
    assert_refused(distil("--fold", "all", "--teacher", teachers), said, capsys, tmp_path)
    assert not ran(teachers / "fold-3").exists()


@pytest.mark.slow
def test_each_fold_is_taught_by_its_own_teacher(
    esc50: list[Any], distil: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers, heard = tmp_path / "teachers", []
    settings = [*esc50, "--fold", "all", "--backbone", "mobilenetv3_small_050", "--frames", 64, *STATISTICS, *CPU]
    settings += ["--save_strategy", "no", "--max_steps", 1, "--per_device_train_batch_size", 4]
    assert load_script("run_teacher").main([str(part) for part in [*settings, "--output_dir", teachers]]) == 0

    logits = Teacher.logits

    def remember(self: Teacher, *args: Any) -> Any:
        heard.append(Path(self.model.config.name_or_path))
        return logits(self, *args)

    monkeypatch.setattr(Teacher, "logits", remember)
    assert distil("--fold", "all", "--teacher", teachers) == 0
    places = [teachers / f"fold-{fold}" for fold in range(1, 6)]
    assert heard[:5] == places  # all tried out before the first is needed
    assert heard[5:] == [place for place in places for _ in ("tried out", "in its one step")]
    for fold in range(1, 6):
        assert json.loads((teachers / f"fold-{fold}" / "results.json").read_text())["fold"] == fold
        assert json.loads((tmp_path / "out" / f"fold-{fold}" / "results.json").read_text())["fold"] == fold


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["another rate", "pickle"])
def test_in_a_process_of_its_own_it_is_one_line_too(
    wrong: str, teacher: Path, esc50: list[Any], tmp_path: Path
) -> None:
    spoil, said = WRONG[wrong]
    spoil(teacher)
    settings = [*SMALL, *esc50, "--fold", 1, "--max_steps", 1, "--teacher", teacher, "--output_dir", tmp_path / "out"]
    failed = run("run_kd.py", *settings)
    assert failed.returncode == 2 and failed.stdout == ""
    assert failed.stderr.count("\n") == 1 and failed.stderr.startswith("run_kd.py: "), failed.stderr
    assert said in failed.stderr
    assert not (tmp_path / "out").exists() and not (tmp_path / "ran").exists()
