"""What `benchmarks/precision.py` makes of scores, and a run of it on a corpus of tones."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from running_scripts import ROOT
from small_corpora import write_esc50

from fastast_hf import FastASTFeatureExtractor, Tagger
from fastast_hf.tagging.int8 import int8_works
from fastast_hf.training.finetuning import CorpusArguments

FOLDS = (2, 4)
DTYPES = ["float32", "bfloat16", "int8"] if int8_works() else ["float32", "bfloat16"]
PRESETS = ["Tagger, exact", "Tagger, balanced", "Tagger, fast"]
MISUSE = [
    (["esc50", "--data", "nowhere"], "nowhere"),
    (["esc50", "--data", "CORPUS", "--model", "nowhere/"], "nowhere does not exist"),
    (["esc50", "--data", "CORPUS"], "dog"),  # which the bundled checkpoint does not know
    (["esc50", "--data", "CORPUS", "--model", "MODEL", "--split", "tset"], "there is no split 'tset'"),
    (["esc50", "--data", "CORPUS", "--model", "MODEL", "--fold", "6"], "fold is '6'"),
    (["esc60", "--data", "CORPUS"], "invalid choice: 'esc60'"),
    (["esc50"], "--data"),
]


@pytest.fixture
def precision(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("precision")


@pytest.fixture
def model(make_fastast: Callable[..., Any], tmp_path: Path) -> Path:
    """A folder of checkpoints for two of the five folds, which merge, and differ."""
    names = {"id2label": {0: "rain", 1: "dog"}, "label2id": {"rain": 0, "dog": 1}}
    for fold in FOLDS:
        checkpoint = tmp_path / "runs" / "mine" / f"fold-{fold}"
        make_fastast(seed=fold, num_labels=2, tome_r=6, **names).save_pretrained(checkpoint)
        FastASTFeatureExtractor(num_mel_bins=48, max_length=128).save_pretrained(checkpoint)
    return checkpoint.parent


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_esc50(tmp_path / "ESC-50")


def test_every_way_has_a_row_over_the_clips_of_the_folds_that_are_there(
    precision: ModuleType, model: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    precision.main(["esc50", "--data", str(corpus), "--model", str(model), "--output", str(output)])
    assert capsys.readouterr().out.startswith("8 clips of the folds 2, 4\n")
    result = json.loads((output / "esc50-mine.json").read_text())
    assert (result["corpus"], result["split"], result["folds"]) == ("esc50", "test", list(FOLDS))
    rows = result["rows"]
    merged = [(way, dtype) for way in ("no merging", "the checkpoint's own r") for dtype in DTYPES]
    assert [(row["way"], row["dtype"]) for row in rows[: len(merged)]] == merged
    presets = rows[len(merged) :]
    assert [row["way"] for row in presets] == PRESETS and presets[0]["dtype"] == "float32"
    for row in rows:
        assert row["clips"] == 8 and 0 <= row["accuracy"] <= 1
        assert row["interval"][0] <= row["difference"] <= row["interval"][1]
        assert row["difference"] == row["accuracy"] - rows[0]["accuracy"]
    for row in rows[: len(merged)]:
        exact = row["dtype"] == "float32"
        assert row["moved_most"] == 0 if exact else 0 < row["moved_mean"] < row["moved_most"]
        assert row["moved_mean_of_std"] * row["logits_std"] == pytest.approx(row["moved_mean"])
        assert row["moved_most_of_std"] * row["logits_std"] == pytest.approx(row["moved_most"])
    assert all(row["moved_mean_of_std"] is None for row in presets)


def test_presets_are_scored_as_a_user_gets_them(precision: ModuleType, model: Path, corpus: Path) -> None:
    settings = CorpusArguments(corpus="esc50", data=str(corpus), fold="2")
    results = precision.scored(settings, str(model), "test")
    files = [corpus / "audio" / f"2-{number}-A-{target}.wav" for number in (0, 1) for target in (0, 10)]
    for preset in ("exact", "fast"):
        tagger = Tagger(model / "fold-2", preset=preset, device="cpu", top_k=1)
        (own,) = (scored for (way, _), scored in results.items() if way == f"Tagger, {preset}")
        assert own.targets.argmax(axis=1).tolist() == [1, 0, 1, 0]  # in the model's order of labels
        expected = [(labels[0]["label"], pytest.approx(labels[0]["score"])) for labels in tagger(files)]
        scores = torch.from_numpy(own.scores).softmax(dim=1)
        assert [(("rain", "dog")[first], float(scores[n, first])) for n, first in enumerate(own.first)] == expected


def test_moved_is_a_share_of_the_spread_of_the_logits_in_float32(precision: ModuleType) -> None:
    logits, targets = np.array([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0]]), np.eye(2)[[0, 1, 1]]
    rounded = logits + np.array([[0.2, 0.0], [0.0, -0.4], [-4.4, 0.0]])
    results = {
        ("no merging", "float32"): precision.Scored(logits, targets, True),
        ("no merging", "int8"): precision.Scored(rounded, targets, True),
        ("Tagger, exact", "float32"): precision.Scored(logits, targets, False),
    }
    _, int8, preset = precision.rows_of(results)
    assert (int8.logits_std, int8.changed) == (2, 1)
    assert (int8.moved_mean_of_std, int8.moved_most_of_std) == pytest.approx((5 / 6 / 2, 4.4 / 2))
    assert (int8.accuracy, int8.difference) == pytest.approx((1, 1 / 3))
    assert (preset.accuracy, preset.difference, preset.moved_most) == (pytest.approx(2 / 3), 0, None)


@pytest.mark.parametrize(("arguments", "message"), MISUSE)
def test_misuse_exits_with_2_and_a_line(
    arguments: list[str],
    message: str,
    precision: ModuleType,
    model: Path,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"CORPUS": str(corpus), "MODEL": str(model)}
    output = tmp_path / "out"
    with pytest.raises(SystemExit) as stopped:
        precision.main([*(places.get(argument, argument) for argument in arguments), "--output", str(output)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()


def test_a_checkpoint_is_not_tested_on_what_it_was_trained_on(
    precision: ModuleType, model: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "fold-2" / "results.json").write_text(json.dumps({"fold": 2}))
    with pytest.raises(SystemExit) as stopped:
        precision.main(["esc50", "--data", str(corpus), "--model", str(model / "fold-2")])
    assert stopped.value.code == 2
    assert "was trained on the clips of fold 1" in capsys.readouterr().err
