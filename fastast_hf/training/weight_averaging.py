"""Uniform average of a model's weights over epochs, kept through stops and resumes."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

FILE_NAME = "weight_average.safetensors"


class WeightAverage:
    """Running mean of weights after each epoch from `first_epoch` to `last_epoch`, both counted (AST, §3.1).

    Args:
        first_epoch: From 1.
        last_epoch: None for the end of training.

    Example:
        >>> average, model = WeightAverage(first_epoch=1), nn.Linear(1, 1, bias=False)
        >>> for epoch, weight in ((1, 2.0), (2, 4.0)):
        ...     _ = nn.init.constant_(model.weight, weight)
        ...     average.update(model, epoch)
        >>> average.weights["weight"].item(), average.epochs
        (3.0, [1, 2])
    """

    def __init__(self, first_epoch: int, last_epoch: int | None = None) -> None:
        if first_epoch < 1 or (last_epoch is not None and last_epoch < first_epoch):
            raise ValueError(f"weights can't be averaged over epochs {first_epoch} to {last_epoch}: count from 1 up")
        self.first_epoch, self.last_epoch = first_epoch, last_epoch
        self.weights: dict[str, Tensor] = {}
        self.epochs: list[int] = []

    @torch.no_grad()
    def update(self, model: nn.Module, epoch: int) -> None:
        """Take in the weights after `epoch` (from 1), once, if it is among those to average."""
        if epoch < self.first_epoch or epoch > (self.last_epoch or epoch) or epoch in self.epochs:
            return
        self.epochs.append(epoch)
        for name, weight in model.state_dict().items():
            weight = weight.detach().to("cpu", torch.float32)
            if name in self.weights:
                self.weights[name] += (weight - self.weights[name]) / len(self.epochs)
            else:
                self.weights[name] = weight.clone()

    def copy_to(self, model: nn.Module) -> None:
        """Give `model` the averaged weights, in its own precision."""
        model.load_state_dict(self.weights)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the average beside a checkpoint."""
        if self.epochs:
            save_file(self.weights, Path(folder) / FILE_NAME, {"epochs": " ".join(map(str, self.epochs))})

    def load(self, folder: str | os.PathLike[str]) -> None:
        """Take up the average that [`save`] wrote, if there is one."""
        path = Path(folder) / FILE_NAME
        if path.is_file():
            with safe_open(path, "pt") as file:
                self.epochs = [int(epoch) for epoch in file.metadata()["epochs"].split()]
                self.weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
