"""The package within transformers: Auto classes, pipelines, and what an import brings along."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    ASTFeatureExtractor,
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    pipeline,
)

import fastast_hf
from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification, FastASTModel

Make = Callable[..., Any]
RATE = 16000

# What FastAST's import must do without. None in sys.modules is a package that is not installed.
FRESH = """
import sys
for name in ("soundfile", "soxr", "matplotlib", "datasets", "accelerate"):
    sys.modules[name] = None
import fastast_hf
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification
for auto in (AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification):
    print(type(auto.from_pretrained(sys.argv[1])).__name__)
heavy = ("fastast_hf.audio", "fastast_hf.tagging.tagger", "fastast_hf.cli")
print([name for name in heavy if name in sys.modules])
"""


@pytest.fixture
def checkpoint(make_fastast: Make, tmp_path: Path) -> Path:
    """A FastAST with its feature extractor, saved with tome_r 2."""
    make_fastast(tome_r=2).save_pretrained(tmp_path)
    FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def clip() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)


@pytest.mark.parametrize("tome_r", [8, [0, 3, 1]])
def test_auto_classes_give_fastast_with_tome_r_as_a_keyword(
    tome_r: Any, checkpoint: Path, make_fastast: Make, spectrogram: Make
) -> None:
    clips = spectrogram()
    config = AutoConfig.from_pretrained(checkpoint, tome_r=tome_r)
    assert type(config) is FastASTConfig
    assert config.tome_r == tome_r
    encoder = AutoModel.from_pretrained(checkpoint, tome_r=tome_r)
    assert type(encoder) is FastASTModel
    assert encoder.token_schedule() == make_fastast(tome_r=tome_r).token_schedule()
    model = AutoModelForAudioClassification.from_pretrained(checkpoint, tome_r=tome_r).eval()
    assert type(model) is FastASTForAudioClassification
    with torch.no_grad():
        assert torch.equal(model(clips).logits, make_fastast(tome_r=tome_r)(clips).logits)


def test_auto_classes_keep_what_the_checkpoint_says(checkpoint: Path) -> None:
    assert AutoModelForAudioClassification.from_pretrained(checkpoint).config.tome_r == 2
    extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
    assert type(extractor) is FastASTFeatureExtractor
    assert (extractor.max_length, extractor.num_mel_bins) == (128, 48)


def test_a_pipeline_takes_tome_r_among_the_model_kwargs(
    checkpoint: Path, make_fastast: Make, clip: np.ndarray
) -> None:
    classify = pipeline("audio-classification", model=str(checkpoint), model_kwargs={"tome_r": 8}, device="cpu")
    assert type(classify.model) is FastASTForAudioClassification
    assert classify.model.config.tome_r == 8
    answers = classify({"raw": clip, "sampling_rate": RATE}, top_k=5)
    assert answers == classify(clip, top_k=5)

    features = FastASTFeatureExtractor(max_length=128, num_mel_bins=48)(clip, RATE, return_tensors="pt")
    with torch.no_grad():
        scores = make_fastast(tome_r=8)(**features).logits.softmax(dim=-1)[0]
    assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(
        {f"LABEL_{index}": score for index, score in enumerate(scores.tolist())}, abs=1e-6
    )


def _scores(answers: list[dict[str, Any]]) -> dict[str, float]:
    return {answer["label"]: answer["score"] for answer in answers}


@pytest.mark.parametrize("stock", [True, False])
def test_a_pipeline_takes_tome_r_as_a_keyword(
    stock: bool, make_ast: Make, make_fastast: Make, clip: np.ndarray, tmp_path: Path
) -> None:
    (make_ast if stock else make_fastast)().save_pretrained(tmp_path)
    extractor = (ASTFeatureExtractor if stock else FastASTFeatureExtractor)(max_length=128, num_mel_bins=48)
    extractor.save_pretrained(tmp_path)
    by_r = {}
    for r in (0, 4, 8):
        model = make_fastast(tome_r=r)
        by_r[r] = pipeline("audio-classification", model=model, feature_extractor=extractor, device="cpu")
    expected = {r: classify(clip) for r, classify in by_r.items()}

    scores = {r: _scores(answers) for r, answers in expected.items()}
    assert scores[8] != pytest.approx(scores[0], abs=1e-6)
    assert scores[8] != pytest.approx(scores[4], abs=1e-6)

    # Not bit for bit: weights mapped from a file lie at other addresses, which picks other kernels.
    def answers_are(r: int, **call: int) -> bool:
        return _scores(classify(clip, **call)) == pytest.approx(scores[r], abs=1e-6)

    classify = pipeline("audio-classification", model=str(tmp_path), device="cpu", tome_r=8)
    assert answers_are(8)
    assert answers_are(4, tome_r=4)  # for this call
    assert answers_are(8)
    classify = pipeline("audio-classification", model=str(tmp_path), device="cpu")
    assert answers_are(0)
    assert answers_are(8, tome_r=8)
    assert answers_are(0)


def test_a_pipeline_takes_several_clips_at_once(checkpoint: Path, clip: np.ndarray) -> None:
    classify = pipeline("audio-classification", model=str(checkpoint), device="cpu")
    clips = [clip, clip[:5000], clip[::-1]]
    together = classify(clips, batch_size=2)
    assert len(together) == 3
    for one, answers in zip(clips, together, strict=True):
        alone = {answer["label"]: answer["score"] for answer in classify(one)}
        assert {answer["label"]: answer["score"] for answer in answers} == pytest.approx(alone, abs=1e-5)


def test_a_fresh_process_needs_only_the_import_and_no_optional_package(checkpoint: Path) -> None:
    root = Path(fastast_hf.__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", FRESH, str(checkpoint)], capture_output=True, text=True, cwd=root)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:4] == [
        "FastASTConfig",
        "FastASTFeatureExtractor",
        "FastASTForAudioClassification",
        "[]",
    ]


@pytest.mark.parametrize("name", fastast_hf.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(fastast_hf, name)
    assert value.__name__ == name
    assert value.__module__.startswith("fastast_hf.")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'fastast_hf' has no attribute 'nonsense'$"):
        _ = fastast_hf.nonsense
    assert not hasattr(fastast_hf, "__wrapped__")
