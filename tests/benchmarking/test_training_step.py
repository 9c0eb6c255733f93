"""A benchmark's training step does what training does."""

from __future__ import annotations

import pytest
import torch

from fastast_hf import FastASTConfig, FastASTForAudioClassification
from fastast_hf.benchmarking.training_step import TrainingStep

FRAMES = 64
DTYPES = [torch.float32, torch.bfloat16]
R_VALUES = [None, 0, 8]


@pytest.fixture
def model() -> FastASTForAudioClassification:
    torch.manual_seed(0)
    config = FastASTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, max_length=FRAMES
    )
    return FastASTForAudioClassification(config)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tome_r", R_VALUES)
def test_a_step_changes_every_weight(
    model: FastASTForAudioClassification, tome_r: int | None, dtype: torch.dtype
) -> None:
    model.audio_spectrogram_transformer.embeddings.requires_grad_(False)  # frozen before, trained here
    step = TrainingStep(model, FRAMES, batch_size=2, dtype=dtype)
    before = {name: parameter.clone() for name, parameter in step.model.named_parameters()}
    step(step.forward_pass(tome_r))
    # Attention scores do not depend on what is added to all keys alike.
    same = {name for name, parameter in step.model.named_parameters() if torch.equal(parameter, before[name])}
    assert not {name for name in same if not name.endswith("k_proj.bias")}
    assert {parameter.dtype for parameter in step.model.parameters()} == {torch.float32}
    assert all(parameter.grad is None for parameter in step.model.parameters())


def test_stock_ast_and_fastast_without_merging_train_alike(model: FastASTForAudioClassification) -> None:
    def trained(tome_r: int | None) -> dict[str, torch.Tensor]:
        copy = FastASTForAudioClassification(model.config)
        copy.load_state_dict(model.state_dict())
        step = TrainingStep(copy, FRAMES, batch_size=2)
        for _ in range(2):
            step(step.forward_pass(tome_r))
        return {name: parameter.detach() for name, parameter in step.model.named_parameters()}

    stock, fast, merged = trained(None), trained(0), trained(8)
    assert all(torch.equal(stock[name], fast[name]) for name in stock)
    assert not all(torch.equal(stock[name], merged[name]) for name in stock)


@pytest.mark.parametrize("tome_r", R_VALUES)
def test_state_is_all_there_before_the_first_step(model: FastASTForAudioClassification, tome_r: int | None) -> None:
    step = TrainingStep(model, FRAMES, batch_size=2)

    def held() -> int:
        moments = [tensor for state in step.optimizer.state.values() for tensor in state.values() if tensor.dim()]
        return sum(tensor.numel() * tensor.element_size() for tensor in (*step.model.parameters(), *moments))

    assert held() == step.state_bytes
    step(step.forward_pass(tome_r))
    assert held() == step.state_bytes
