"""Sweeps: scores against a plain loop, kept predictions, and every method's own checkpoint for every fold."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_corpora import write_esc50, write_tone

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification, Tagger, load_audio
from fastast_hf.corpora import load_corpus
from fastast_hf.evaluation import sweep as sweep_module
from fastast_hf.evaluation.predictions import predict
from fastast_hf.evaluation.results import write_results
from fastast_hf.evaluation.rows import INFERENCE, TRAINED, SweepRow, merging_rows
from fastast_hf.evaluation.sweep import Method, Sweep
from fastast_hf.loading.saved_weights import digest_of_folder
from fastast_hf.merging.complexity import complexity

Make = Callable[..., Any]
NAMES = {0: "rain", 1: "dog"}  # not the corpus' own order


@pytest.fixture
def corpora(tmp_path: Path) -> dict[int | None, Any]:
    root = write_esc50(tmp_path / "esc50")
    return {fold: load_corpus("esc50", root, fold=fold) for fold in (1, 2)}


@pytest.fixture
def save(make_fastast: Make, tmp_path: Path) -> Make:
    def save_checkpoint(name: str, seed: int = 0, **fields: Any) -> Path:
        model = make_fastast(seed, num_labels=2, **fields)
        model.config.id2label, model.config.label2id = NAMES, {name: index for index, name in NAMES.items()}
        model.save_pretrained(tmp_path / name)
        FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(tmp_path / name)
        return tmp_path / name

    return save_checkpoint


def scored_by_hand(checkpoint: Path, corpus: Any, r: int) -> list[bool]:
    model = FastASTForAudioClassification.from_pretrained(checkpoint, tome_r=r)
    extractor = FastASTFeatureExtractor.from_pretrained(checkpoint)
    right = []
    for row in corpus["test"]:
        features = extractor(load_audio(row["audio"]["path"]), 16000, return_tensors="pt")
        with torch.no_grad():
            best = int(model(**features).logits.argmax())
        right.append(NAMES[best] == ("dog", "rain")[row["label"]])
    return right


def table(sweep: Sweep, *schedules: str) -> list[SweepRow]:
    return merging_rows(sweep.cells(["constant", *schedules]), sweep.multi_label)


def test_scores_are_those_of_a_plain_loop_over_all_folds(corpora: Any, save: Make, tmp_path: Path) -> None:
    checkpoint = save("one")
    rows = table(Sweep(corpora, [(Method(INFERENCE, str(checkpoint)), (0, 4))], tmp_path / "out"))
    for row, r in zip(rows, (0, 4), strict=True):
        right = [correct for corpus in corpora.values() for correct in scored_by_hand(checkpoint, corpus, r)]
        assert row.score == np.mean(right) and row.clips == len(right) == 8
        assert 0 <= row.low <= row.score <= row.high <= 1
        assert row.change == (None if r == 0 else row.score - rows[0].score)
        cost = complexity(FastASTForAudioClassification.from_pretrained(checkpoint).config, r)
        assert (row.tokens_out, row.gmacs, row.mac_ratio) == (cost.tokens_out, cost.macs / 1e9, cost.speedup)


def test_each_cell_has_its_own_checkpoint(corpora: Any, save: Make, tmp_path: Path) -> None:
    for seed, name in enumerate(("r0/fold-1", "r0/fold-2", "r4/fold-1", "r4/fold-2")):
        save(name, seed)
    method = Method(TRAINED, str(tmp_path / "r{r}"))
    rows = table(Sweep(corpora, [(method, (0, 4))], tmp_path / "out"))
    for row in rows:
        expected = [
            right
            for fold, corpus in corpora.items()
            for right in scored_by_hand(tmp_path / f"r{row.tome_r}" / f"fold-{fold}", corpus, row.tome_r)
        ]
        assert row.score == np.mean(expected)
        assert row.weights == tuple(digest_of_folder(tmp_path / f"r{row.tome_r}" / f"fold-{fold}") for fold in corpora)


def test_a_sweep_goes_on_where_it_stopped(
    corpora: Any, save: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = save("one")
    computed = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        computed.append(args)
        if len(computed) == 3:
            raise KeyboardInterrupt
        return predict(*args, **kwargs)

    monkeypatch.setattr(sweep_module, "predict", counted)

    def sweep() -> Sweep:
        return Sweep(corpora, [(Method(INFERENCE, str(checkpoint)), (0, 4))], tmp_path / "out")

    with pytest.raises(KeyboardInterrupt):
        table(sweep(), "decreasing")
    rows = table(sweep(), "decreasing")
    assert len(computed) == 7  # two folds at r = 0, and at 4 in two schedules; one of them was stopped
    assert table(sweep(), "decreasing") == rows
    assert len(computed) == 7

    kept = next((tmp_path / "out" / "predictions").glob("*.safetensors"))
    kept.write_bytes(kept.read_bytes()[:50])  # cut off
    assert table(sweep(), "decreasing") == rows
    assert len(computed) == 8
    save("one", seed=5)  # other weights under the same name
    table(sweep(), "decreasing")
    assert len(computed) == 14


def test_unreadable_clips_are_left_out_and_counted(corpora: Any, save: Make, tmp_path: Path) -> None:
    Path(corpora[1]["test"][0]["audio"]["path"]).write_bytes(b"broken")
    predictions = predict(Tagger(save("one")), corpora[1])
    assert predictions.unreadable == 1 and len(predictions.logits) == 3 and predictions.clips.tolist() == [1, 2, 3]


def test_what_was_left_out_once_is_tried_again(corpora: Any, save: Make, tmp_path: Path) -> None:
    clip = Path(corpora[1]["test"][0]["audio"]["path"])
    whole = clip.read_bytes()
    clip.write_bytes(b"broken")
    methods = [(Method(INFERENCE, str(save("one"))), (0,))]
    assert table(Sweep(corpora, methods, tmp_path / "out"))[0].unreadable == 1
    clip.write_bytes(whole)
    assert table(Sweep(corpora, methods, tmp_path / "out"))[0].unreadable == 0


def test_another_config_is_scored_anew(corpora: Any, save: Make, tmp_path: Path) -> None:
    methods = [(Method(INFERENCE, str(tmp_path / "one"))), (4,)]
    kept = []
    for proportional in (True, False):
        save("one", tome_proportional_attention=proportional)
        table(Sweep(corpora, [(methods[0], methods[1])], tmp_path / "out"))
        kept.append(len(list((tmp_path / "out" / "predictions").glob("*.safetensors"))))
    assert kept == [2, 4]


def test_a_split_that_there_is_none_of_is_refused(corpora: Any, save: Make, tmp_path: Path) -> None:
    sweep = Sweep(corpora, [(Method(INFERENCE, str(save("one"))), (0,))], tmp_path / "out", split="validation")
    with pytest.raises(ValueError, match="there is no split 'validation' in this corpus: give one of train, test"):
        table(sweep)


def test_a_checkpoint_of_other_labels_is_refused(corpora: Any, make_fastast: Make) -> None:
    with pytest.raises(ValueError, match="dog"):
        predict(Tagger(make_fastast()), corpora[1])


def test_results_are_written_as_csv_json_markdown_and_picture(corpora: Any, save: Make, tmp_path: Path) -> None:
    methods = [(Method(INFERENCE, str(save("one"))), (0, 4)), (Method(TRAINED, str(tmp_path / "one")), (0, 4))]
    rows = table(Sweep(corpora, methods, tmp_path / "out"), "decreasing")
    stem = tmp_path / "results" / "esc50-test"
    facts = {"corpus": "esc50", "title": "esc50", "classes": 2, "split": "test", "folds": [1, 2], "missing": 0}
    write_results(rows, stem, facts | {"checkpoints": {"Inf": "one", "Train+Inf": "one"}})
    with stem.with_suffix(".csv").open() as file:
        assert [line["tome_r"] for line in csv.DictReader(file)] == [str(row.tome_r) for row in rows]
    content = json.loads(stem.with_suffix(".json").read_text())
    assert content["corpus"] == "esc50" and len(content["rows"]) == len(rows) == 6
    markdown = stem.with_suffix(".md").read_text().splitlines()
    assert markdown[0] == "| method | schedule | r | MAC ratio | accuracy, % | change |" and len(markdown) == 10
    assert markdown[-1].startswith("8 clips of esc50 (2 classes), split test, folds 1, 2. Checkpoints: Inf: one; ")
    assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_clips_of_another_folder_or_changed_ones_are_scored_anew(corpora: Any, save: Make, tmp_path: Path) -> None:
    methods = [(Method(INFERENCE, str(save("one"))), (0,))]

    def logits(data: dict[int | None, Any]) -> np.ndarray:
        return Sweep(data, methods, tmp_path / "out").cells(["constant"])[0].predictions.logits

    first = logits(corpora)
    root = write_esc50(tmp_path / "other")  # the same names and labels
    for number, clip in enumerate(sorted((root / "audio").iterdir())):
        write_tone(clip, 500 + 90 * number)
    others = {fold: load_corpus("esc50", root, fold=fold) for fold in (1, 2)}
    assert not np.allclose(logits(others), first)
    assert np.array_equal(logits(corpora), first)
    write_tone(Path(corpora[1]["test"][0]["audio"]["path"]), 3000)
    changed = np.abs(logits(corpora) - first).max(axis=1) > 0
    assert changed.tolist() == [True] + [False] * 7
