"""Checks before a sweep: which method's checkpoint is at fault, and at which r it is scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastast_hf import FastASTFeatureExtractor
from fastast_hf.evaluation.checks import check_checkpoints, check_classes, default_r
from fastast_hf.evaluation.paper import R_VALUES
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
    assert {place: list(config.id2label.values()) for place, config in known.items()} == {
        ("Train+Inf", str(tmp_path / "r0-constant")): CLASSES,  # at r = 0 no other schedule's is asked for
        ("Train+Inf", str(tmp_path / "r4-constant")): CLASSES,
        ("Train+Inf", str(tmp_path / "r4-decreasing")): CLASSES[::-1],
    }
    check_classes(known, CLASSES)


def test_by_default_one_checkpoint_is_scored_at_0_and_its_own_r_and_one_for_each_r_at_the_papers(
    save: Make, make_fastast: Make, tmp_path: Path
) -> None:
    for name, r in (("a", 12), ("b", 3), ("plain", 0), ("list", [1, 2, 3])):
        save(name, *CLASSES)
        make_fastast(tome_r=r).config.save_pretrained(tmp_path / name)
    for r in R_VALUES:
        save(f"r{r}", *CLASSES)
    a, b, plain, by_layer, each = (Method(name, str(tmp_path / name)) for name in ("a", "b", "plain", "list", "r{r}"))

    def chosen(*methods: Method) -> dict[str, list[int | None]]:
        known = check_checkpoints([(method, R_VALUES) for method in methods], ["constant"], [None])
        return default_r(methods, known)

    assert chosen(plain) == {"plain": [0]}
    assert chosen(a, b) == {"a": [0, 3, 12], "b": [0, 3, 12]}
    assert chosen(a, each) == {"a": sorted([*R_VALUES, 12]), "r{r}": list(R_VALUES)}
    assert chosen(by_layer) == {"list": [0, None]}
    with pytest.raises(ValueError, match="list has an r for each layer: give the r to score with --r"):
        chosen(plain, by_layer)
    known = check_checkpoints([(a, [0])], ["constant"], [None])
    assert default_r([a], known, preset=True) == {"a": [None]}  # that of the preset


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


def test_a_checkpoint_of_other_classes_is_named(save: Make) -> None:
    methods = [(Method("a", save("one", *CLASSES)), [0]), (Method("b", save("other", "dog", "cat")), [0])]
    known = check_checkpoints(methods, ["constant"], [None])
    with pytest.raises(ValueError, match=r"^[^,]*other knows 2 labels, .* has 2: it lacks 'rain' and adds 'cat';"):
        check_classes(known, CLASSES)


def test_a_checkpoint_trained_on_the_test_clips_is_named_with_its_method(save: Make, tmp_path: Path) -> None:
    method = (Method("b", save("one", *CLASSES)), [0])
    (tmp_path / "one" / "results.json").write_text(json.dumps({"fold": 2}))
    with pytest.raises(ValueError, match=r"^b: .*was trained on the clips of fold 1"):
        check_checkpoints([method], ["constant"], [2, 1])
    check_checkpoints([method], ["constant"], [2])
    check_checkpoints([method], ["constant"], [1], split="train")
