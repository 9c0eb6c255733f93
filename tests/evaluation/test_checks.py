"""Checks before a sweep: the output folder, and which method's checkpoint is at fault, before anything is scored."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastast_hf import FastASTFeatureExtractor
from fastast_hf.evaluation.checks import check_checkpoints, check_classes, check_output, with_own_r
from fastast_hf.evaluation.sweep import Method

Make = Callable[..., Any]
CLASSES = ["dog", "rain"]


@pytest.fixture
def save(make_fastast: Make, tmp_path: Path) -> Make:
    def save_checkpoint(name: str, *classes: str) -> str:
        """A checkpoint's configuration and front end, without weights: these are not what is checked."""
        config = make_fastast(num_labels=len(classes)).config
        config.id2label = dict(enumerate(classes))
        config.label2id = {name: index for index, name in enumerate(classes)}
        config.save_pretrained(tmp_path / name)
        FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    return save_checkpoint


def test_the_classes_of_every_checkpoint_are_read_without_its_weights(save: Make, tmp_path: Path) -> None:
    for r in (0, 4):
        save(f"r{r}-constant", *CLASSES)
    save("r4-decreasing", *reversed(CLASSES))
    method = (Method("Train+Inf", str(tmp_path / "r{r}-{schedule}")), (0, 4))
    known = check_checkpoints([method], ["constant", "decreasing"], [None])
    assert known == {
        ("Train+Inf", str(tmp_path / "r0-constant")): CLASSES,  # at r = 0 no other schedule's is asked for
        ("Train+Inf", str(tmp_path / "r4-constant")): CLASSES,
        ("Train+Inf", str(tmp_path / "r4-decreasing")): CLASSES[::-1],
    }
    check_classes(known, CLASSES)


def test_own_r_are_added_to_methods_of_one_checkpoint_and_not_to_those_of_one_for_each_r(
    make_fastast: Make, tmp_path: Path
) -> None:
    for name, r in (("a", 12), ("b", 3), ("c", [1, 2, 3])):
        make_fastast(tome_r=r).config.save_pretrained(tmp_path / name)
    a, b, c, each = (Method(name, str(tmp_path / name)) for name in ("a", "b", "c", "r{r}"))
    methods = [(a, [0, 5]), (b, [0, 5]), (c, [0, 5]), (each, [0, 5])]
    together = [0, 3, 5, 12]
    assert with_own_r(methods, "constant", None) == [(a, together), (b, together), (c, together), (each, [0, 5])]
    assert with_own_r([(a, [0, 12])], "constant", 1) == [(a, [0, 12])]


def test_a_checkpoint_at_fault_is_named_with_its_method(save: Make, tmp_path: Path) -> None:
    good, gone = (Method("good", save("good", *CLASSES)), [0]), (Method("gone", f"{tmp_path}/gone-r{{r}}"), [0, 4])
    with pytest.raises(OSError, match=r"^gone: .*gone-r0 does not exist"):
        check_checkpoints([good, gone], ["constant"], [None])
    (tmp_path / "good" / "preprocessor_config.json").unlink()
    with pytest.raises(OSError, match=r"^good: .*good.* preprocessor"):
        check_checkpoints([good], ["constant"], [None])
    (tmp_path / "good" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match=r"^good: .*is a 'bert' checkpoint"):
        check_checkpoints([good], ["constant"], [None])


def test_a_checkpoint_of_other_classes_is_named_with_its_method(save: Make) -> None:
    methods = [(Method("a", save("one", *CLASSES)), [0]), (Method("b", save("other", "dog", "cat")), [0])]
    known = check_checkpoints(methods, ["constant"], [None])
    with pytest.raises(ValueError, match=r"^b, .*other: label order of 2 .* only in the order: 'cat'; .* 'rain'"):
        check_classes(known, CLASSES)


def test_a_checkpoint_trained_on_the_test_clips_is_named_with_its_method(save: Make, tmp_path: Path) -> None:
    method = (Method("b", save("one", *CLASSES)), [0])
    (tmp_path / "one" / "results.json").write_text(json.dumps({"fold": 2}))
    with pytest.raises(ValueError, match=r"^b: .*was trained on the clips of fold 1"):
        check_checkpoints([method], ["constant"], [2, 1])
    check_checkpoints([method], ["constant"], [2])
    check_checkpoints([method], ["constant"], [1], split="train")


def test_an_output_folder_that_is_a_file_or_below_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "out" / "deeper"):
        with pytest.raises(ValueError, match=r"can't hold the results, for .*file is a file: give another folder$"):
            check_output(folder)
    check_output(tmp_path / "new" / "folder")
    check_output(tmp_path)
    assert not (tmp_path / "new").exists()


def test_an_output_folder_that_can_not_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda place, mode: not mode & os.W_OK and access(place, mode))  # root may all
    with pytest.raises(ValueError, match=r"out can't hold the results, for .* is not writable: give another folder$"):
        check_output(tmp_path / "out")
