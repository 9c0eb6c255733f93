"""Weights from nothing: of a size that depends on the layer's, for students and PaSST alike."""

from __future__ import annotations

import pytest
import torch

from fastast_hf import FastASTConfig, FastASTForAudioClassification
from fastast_hf.distillation.teachers.passt import PasstConfig, PasstForAudioClassification
from fastast_hf.training.start.initialisation import initialised

SIZES = {
    "hidden_size": 48,
    "num_attention_heads": 3,
    "num_hidden_layers": 1,
    "intermediate_size": 96,
    "max_length": 100,
}
MODELS = {
    "fastast": lambda: FastASTForAudioClassification(FastASTConfig(**SIZES)),
    "passt": lambda: PasstForAudioClassification(PasstConfig(**SIZES)),
}


@pytest.mark.parametrize("kind", MODELS)
def test_each_weight_has_the_deviation_of_its_kind(kind: str) -> None:
    torch.manual_seed(0)
    deviations = {
        name: p.std().item() for name, p in initialised(MODELS[kind]()).named_parameters() if p.numel() > 400
    }
    seen = set()
    for name, deviation in deviations.items():
        for part, expected in (
            ("projection.weight", 1 / 16),  # one over the root of a patch's 256 cells
            ("mlp.fc1.weight", (2 / (48 + 96)) ** 0.5),
            ("position", 0.02),
        ):
            if part in name and "attention" not in name:
                seen.add(part)
                assert deviation == pytest.approx(expected, rel=0.1), name
    assert len(seen) == 3, deviations.keys()


@pytest.mark.parametrize("kind", MODELS)
def test_a_small_model_of_many_layers_hands_its_input_on(kind: str) -> None:
    """From transformers' own weights, two clips are all but one to a small model, and nothing is to be learnt."""

    def difference(model: torch.nn.Module) -> float:
        torch.manual_seed(1)
        with torch.no_grad():
            one, other = model.eval()(torch.randn(2, 100, 128)).logits
        return (one - other).abs().max().item()

    torch.manual_seed(0)
    model = MODELS[kind]()
    assert difference(model) < difference(initialised(model)) / 3
