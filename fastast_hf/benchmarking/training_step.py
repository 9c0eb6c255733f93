"""A training step as a benchmark runs it, on made-up features: forward pass, loss, backward pass, AdamW's update."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.modeling_fastast import FastASTForAudioClassification
from ..model.token_merging import merges_per_layer
from .candidates import for_length, stock_ast

LEARNING_RATE = 1e-5

Forward = Callable[[Tensor], Any]
Loss = Callable[[Tensor], Tensor]


class TrainingStep:
    """Everything that training steps share: weights, AdamW's moments, one batch of features and labels.

    Stock AST and FastAST at every r are trained in turn on the same weights with the same optimizer, so that only the
    forward pass, and what the backward pass makes of it, tells them apart. Every step updates the weights.

    Args:
        model: Its weights are trained, all of them.
        num_frames: Length of the clips in frames of 10 ms.
        batch_size: Clips in a batch.
        attn: FastAST's attention implementation.
        dtype: float32, or that of autocast, with float32 weights and, for float16, a scaled loss: what `bf16=True` and
            `fp16=True` are for transformers' Trainer.

    Example:
        >>> from fastast_hf import FastASTConfig
        >>> model = FastASTForAudioClassification(FastASTConfig(num_hidden_layers=2, hidden_size=24, max_length=64))
        >>> step = TrainingStep(model, num_frames=64, batch_size=2)
        >>> step(step.forward_pass(tome_r=8))
    """

    def __init__(
        self,
        model: FastASTForAudioClassification,
        num_frames: int,
        batch_size: int,
        attn: str = "sdpa",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model = for_length(model, num_frames).train().requires_grad_(True)
        self.model.set_attn_implementation(attn)
        self.dtype = dtype
        device, config = self.model.device, self.model.config
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
        # Fused as in transformers' Trainer.
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, fused=True)
        # AdamW makes its moments in its first step: here, so that no step that is measured does.
        for parameter in self.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()
        generator = torch.Generator().manual_seed(0)
        shape = (batch_size, num_frames, config.num_mel_bins)
        self.input_values = torch.randn(shape, generator=generator).to(device)
        self.labels = torch.randint(config.num_labels, (batch_size,), generator=generator).to(device)

    def forward_pass(self, tome_r: int | None, schedule: str = "constant") -> Forward:
        """FastAST's at this r, or stock AST's (with sdpa) where it is None."""
        if tome_r is None:
            return stock_ast(self.model)
        merges = merges_per_layer(tome_r, self.model.config.num_hidden_layers, schedule)
        return partial(self.model.__call__, tome_r=merges)

    def __call__(self, forward: Forward, loss: Loss | None = None) -> None:
        """Make one step by this forward pass, on this loss of its logits or on the labels' cross-entropy."""
        mixed = self.dtype is not torch.float32
        with torch.autocast(self.model.device.type, dtype=self.dtype if mixed else None, enabled=mixed):
            logits = forward(self.input_values).logits.float()
        value = F.cross_entropy(logits, self.labels) if loss is None else loss(logits)
        self.scaler.scale(value).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    @property
    def state_bytes(self) -> int:
        """Bytes that are held between steps: the weights and AdamW's two moments of each."""
        return 3 * sum(parameter.numel() * parameter.element_size() for parameter in self.model.parameters())
