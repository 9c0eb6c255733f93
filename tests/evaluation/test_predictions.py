"""What is scored is what is shipped: logits of a split against a plain loop, and against `Tagger` itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_corpora import write_tone

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification, Tagger, load_audio
from fastast_hf.corpora import load_corpus
from fastast_hf.evaluation.predictions import predict
from fastast_hf.evaluation.rows import INFERENCE, merging_rows
from fastast_hf.evaluation.sweep import Method, Sweep
from fastast_hf.onnx.export import export_onnx
from fastast_hf.tagging.int8 import int8_works

Make = Callable[..., Any]
NAMES = {0: "rain", 1: "dog"}  # not the corpus' own order


@pytest.fixture
def checkpoint(make_fastast: Make, tmp_path: Path) -> Path:
    make_fastast(num_labels=2, id2label=NAMES, label2id={"rain": 0, "dog": 1}).save_pretrained(tmp_path / "model")
    FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def corpus(tmp_path: Path) -> Any:
    """Clips that fit the model's 1.28 s, and one of two windows."""
    for name, hertz in (("dog", 300), ("rain", 2000)):
        for number, seconds in enumerate((0.5, 1.2, 2.0)):
            write_tone(tmp_path / "sounds" / "test" / name / f"{number}.wav", hertz + number, seconds)
        write_tone(tmp_path / "sounds" / "train" / name / "0.wav", hertz + 50)
    return load_corpus("audiofolder", tmp_path / "sounds")


def test_clips_that_fit_have_the_logits_of_a_plain_loop(checkpoint: Path, corpus: Any) -> None:
    extractor = FastASTFeatureExtractor.from_pretrained(checkpoint)
    for r in (0, 4):
        model = FastASTForAudioClassification.from_pretrained(checkpoint, tome_r=r).eval()
        found = predict(Tagger(checkpoint, batch_size=4), corpus, merges=[r] * 3)
        assert found.clips.tolist() == list(range(6)) and found.unreadable == 0
        for clip, row in enumerate(corpus["test"]):
            assert NAMES[int(found.targets[clip].argmax())] == ("dog", "rain")[row["label"]]
            if not row["id"].endswith("2.wav"):
                inputs = extractor(load_audio(row["audio"]["path"]), 16000, return_tensors="pt")
                with torch.no_grad():
                    expected = model(**inputs).logits[0].numpy()
                np.testing.assert_allclose(found.logits[clip], expected, atol=1e-5)


@pytest.mark.parametrize("how", ["exact", "fast", "onnx", "long and loud"])
def test_scores_are_those_that_the_tagger_gives(how: str, checkpoint: Path, corpus: Any, tmp_path: Path) -> None:
    model: Path = checkpoint
    if how == "onnx":
        pytest.importorskip("onnxruntime")
        model = tmp_path / "model.onnx"
        export_onnx(checkpoint, model, tome_r=4)
    tagger = Tagger(model, preset="fast" if how == "fast" else "exact", top_k=None, device="cpu")
    pool = "max" if how == "long and loud" else None
    found = predict(tagger, corpus, pool=pool)
    scores = torch.from_numpy(found.logits).softmax(dim=1)
    for clip, row in enumerate(corpus["test"]):
        if pool is None:
            own = {label["label"]: label["score"] for label in tagger(row["audio"]["path"])}
        else:
            loudest = tagger.scores(list(tagger.windows(row["audio"]["path"]))).amax(dim=0)
            own = dict(zip(NAMES.values(), (loudest / loudest.sum()).tolist(), strict=True))
        assert {NAMES[index]: pytest.approx(own[NAMES[index]], abs=1e-5) for index in NAMES} == {
            NAMES[index]: float(scores[clip, index]) for index in NAMES
        }


def test_an_exported_file_a_preset_and_int8_have_rows_as_they_merge(
    checkpoint: Path, corpus: Any, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    export_onnx(checkpoint, tmp_path / "model.onnx", tome_r=4, tome_schedule="decreasing")

    def row_of(model: Path, r: int | None, **settings: Any) -> tuple[Any, dict[str, Any]]:
        methods = [(Method(INFERENCE, str(model)), [r])]
        sweep = Sweep({None: corpus}, methods, tmp_path / "out", device="cpu", **settings)
        (row,) = merging_rows(sweep.cells(["constant"]), sweep.multi_label)
        return row, sweep.circumstances

    exported, circumstances = row_of(tmp_path / "model.onnx", None)
    assert (exported.tome_r, exported.schedule, exported.weights) == (4, "decreasing", ())
    assert circumstances["dtype"] == "what it was exported in"
    plain, _ = row_of(checkpoint, 0)
    assert exported.mac_ratio > plain.mac_ratio == 1 and plain.weights
    preset, circumstances = row_of(checkpoint, None, preset="fast")
    merged = Tagger(checkpoint, preset="fast").merges()
    assert (preset.tome_r, preset.schedule, circumstances["preset"]) == (round(np.mean(merged)), "decreasing", "fast")
    if int8_works():
        row, circumstances = row_of(checkpoint, 0, dtype="int8")
        assert circumstances["dtype"] == "int8" and row.weights == plain.weights  # what is stored is the same
    assert len(list((tmp_path / "out" / "predictions").iterdir())) == 3 + int8_works()


def test_a_checkpoint_with_an_r_for_each_layer_is_scored_as_it_is(
    make_fastast: Make, checkpoint: Path, corpus: Any, tmp_path: Path
) -> None:
    names = {"id2label": NAMES, "label2id": {"rain": 0, "dog": 1}}
    make_fastast(num_labels=2, tome_r=[6, 3, 0], **names).save_pretrained(checkpoint)
    sweep = Sweep({None: corpus}, [(Method(INFERENCE, str(checkpoint)), [None])], tmp_path / "out")
    (row,) = merging_rows(sweep.cells(["constant"]), sweep.multi_label)
    assert (row.tome_r, row.schedule, row.tokens_out) == (3, "per layer", 50 - 9)
