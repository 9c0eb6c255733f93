"""The memory of a training step."""

from __future__ import annotations

import pytest
import torch

from fastast_hf import FastASTConfig, FastASTForAudioClassification
from fastast_hf.benchmarking.memory import step_bytes
from fastast_hf.benchmarking.training_step import TrainingStep

FRAMES = 128


def test_a_step_takes_gradients_and_activations_and_less_of_them_with_r() -> None:
    """What each layer keeps for the backward pass, at the least: eight tensors of its width and two of the MLP's."""
    torch.manual_seed(0)
    config = FastASTConfig(
        hidden_size=48, num_hidden_layers=8, num_attention_heads=2, intermediate_size=192, max_length=FRAMES
    )
    step = TrainingStep(FastASTForAudioClassification(config), FRAMES, batch_size=8)
    gradients, tokens = step.state_bytes // 3, 2 + 12 * 12
    activations = 8 * (8 * tokens * (8 * 48 + 2 * 192)) * 4
    stock, unmerged, merged = (step_bytes(step, r) for r in (None, 0, 40))
    assert stock is not None and unmerged is not None and merged is not None
    assert stock > gradients + activations
    assert unmerged == pytest.approx(stock, rel=0.1)
    assert merged < 0.8 * stock
    assert step_bytes(step, 40) == merged
