"""The front end of a checkpoint: one rule by path, in memory and exported, and never another one unasked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from transformers import ASTForAudioClassification, pipeline

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification, Tagger
from fastast_hf.cli.main import main
from fastast_hf.loading.checkpoint import front_end_of
from fastast_hf.onnx.export import export_onnx

Make = Callable[..., Any]
CLIP = (np.random.default_rng(0).normal(size=41360).astype(np.float32) / 8, 16000)  # 257 frames
SPEECH = str(Path(__file__).parents[1] / "data" / "speech" / "yes_rms.wav")
DAMAGES = ["{", "[]", ""]


@pytest.fixture
def checkpoint(make_fastast: Make, tmp_path: Path) -> Path:
    """Made for 128 frames, with a front end that gives 256."""
    folder = tmp_path / "tiny"
    make_fastast(tome_r=4).save_pretrained(folder)
    FastASTFeatureExtractor(num_mel_bins=48, max_length=256, mean=-7.5).save_pretrained(folder)
    return folder


def load(folder: Path, **settings: Any) -> FastASTForAudioClassification:
    return FastASTForAudioClassification.from_pretrained(folder, **settings)


def test_by_path_in_memory_and_exported_a_checkpoint_hears_as_the_pipeline_does(
    checkpoint: Path, tmp_path: Path
) -> None:
    in_memory = load(checkpoint)
    by_pipeline = pipeline("audio-classification", model=str(checkpoint), device="cpu")
    clip = CLIP[0][: by_pipeline.feature_extractor.samples_of(256)]
    expected = {label["label"]: label["score"] for label in by_pipeline(clip, top_k=None)}
    for name, source in (("path", checkpoint), ("memory", in_memory)):
        export_onnx(source, tmp_path / f"{name}.onnx")
    for source in (checkpoint, in_memory, tmp_path / "path.onnx", tmp_path / "memory.onnx"):
        tagger = Tagger(source, top_k=None, device="cpu")
        assert (tagger.feature_extractor.max_length, tagger.feature_extractor.mean) == (256, -7.5)
        got = {label["label"]: label["score"] for label in tagger((clip, 16000))}
        assert got == pytest.approx(expected, abs=1e-5)
    assert in_memory.config.max_length == 128


@pytest.mark.parametrize("later", [True, False])
def test_a_length_set_on_the_model_is_the_front_ends(later: bool, checkpoint: Path, tmp_path: Path) -> None:
    model = load(checkpoint) if later else load(checkpoint, max_length=64)
    if later:
        model.set_max_length(64)
    assert (front_end_of(model.config).max_length, front_end_of(model.config).mean) == (64, -7.5)
    assert export_onnx(model, tmp_path / "model.onnx").config.max_length == 64


def test_what_is_said_of_tokens_is_of_the_front_ends_length(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", SPEECH, "--model", str(checkpoint), "--device", "cpu"]) == 0
    entering = FastASTConfig.from_pretrained(checkpoint).patch_grid_of(256)
    assert f"tome_r=4: {entering[0] * entering[1] + 2} tokens enter" in capsys.readouterr().out


def test_only_where_there_is_none_a_model_in_memory_gets_audiosets(checkpoint: Path, make_ast: Make) -> None:
    (checkpoint / "preprocessor_config.json").unlink()
    for config in (load(checkpoint).config, make_ast().config):
        extractor = front_end_of(config)
        assert (extractor.max_length, extractor.num_mel_bins) == (128, 48)
        assert extractor.mean == FastASTFeatureExtractor().mean
    with pytest.raises(OSError, match=r"the front end of .*tiny can't be loaded"):
        front_end_of(load(checkpoint).config, checkpoint)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_front_end_is_one_line(damage: str, checkpoint: Path, tmp_path: Path) -> None:
    model = load(checkpoint)
    stock = ASTForAudioClassification.from_pretrained(checkpoint)
    (checkpoint / "preprocessor_config.json").write_text(damage)
    for source in (model, stock, checkpoint):
        for use in (Tagger, lambda source: export_onnx(source, tmp_path / "model.onnx")):
            with pytest.raises(OSError, match=r"^[^\n]*tiny can't be loaded \([^\n]*preprocessor_config.json[^\n]*$"):
                use(source)


@pytest.mark.parametrize("place", ["owner/name", "/gone/folder", "gone"])
def test_a_checkpoint_out_of_reach_is_one_line(
    place: str, make_fastast: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model = make_fastast()
    model.config._name_or_path = place
    with pytest.raises(OSError, match=rf"^the front end of {place} can't be loaded [^\n]*give a feature_extractor$"):
        Tagger(model)
    own = FastASTFeatureExtractor(num_mel_bins=48, max_length=128)
    assert torch.equal(Tagger(model, feature_extractor=own).model.classifier.dense.bias, model.classifier.dense.bias)
