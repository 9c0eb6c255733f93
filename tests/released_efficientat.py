"""A small EfficientAT with random weights, in the layout of its released checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

LABELS = 6
# MobileNetV3-large (Howard et al. 2019, Table 1): kernel, expanded, out, squeeze-and-excitation, hard swish, stride.
BLOCKS = [
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
]


def channels(count: float, width: float = 1.0) -> int:
    """Rounded to a multiple of 8, as MobileNets are, down by a tenth at most."""
    rounded = max(8, int(count * width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * count * width else rounded + 8


def released_weights(width: float = 0.1) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(_weights(width))


def write_released(file: Path, width: float = 0.1) -> Path:
    torch.save(released_weights(width), file)
    return file


def _weights(width: float) -> Iterator[tuple[str, Tensor]]:
    inputs = channels(16, width)
    yield from _convolution("features.0", 1, inputs, 3)
    for number, (kernel, expanded, outputs, squeezes, _, _) in enumerate(BLOCKS, 1):
        expanded, outputs, layer = channels(expanded, width), channels(outputs, width), 0
        name = f"features.{number}.block"
        if expanded != inputs:
            yield from _convolution(f"{name}.0", inputs, expanded)
            layer = 1
        yield from _convolution(f"{name}.{layer}", 1, expanded, kernel)
        if squeezes:
            layer += 1
            squeezed = channels(expanded // 4)
            yield from _linear(f"{name}.{layer}.conc_se_layers.0.fc1", expanded, squeezed)
            yield from _linear(f"{name}.{layer}.conc_se_layers.0.fc2", squeezed, expanded)
        yield from _convolution(f"{name}.{layer + 1}", expanded, outputs)
        inputs = outputs
    yield from _convolution("features.16", inputs, 6 * inputs)
    yield from _linear("classifier.2", 6 * inputs, channels(1280, width))
    yield from _linear("classifier.5", channels(1280, width), LABELS)


def _convolution(name: str, inputs: int, outputs: int, kernel: int = 1) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.0.weight", 1.2 * torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
    yield f"{name}.1.weight", 1 + 0.2 * torch.randn(outputs)
    yield f"{name}.1.bias", 0.2 * torch.randn(outputs)
    yield f"{name}.1.running_mean", 0.2 * torch.randn(outputs)
    yield f"{name}.1.running_var", 0.5 + torch.rand(outputs)
    yield f"{name}.1.num_batches_tracked", torch.tensor(7)


def _linear(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, Tensor]]:
    yield f"{name}.weight", 1.5 * torch.randn(outputs, inputs) / inputs**0.5
    yield f"{name}.bias", 0.2 * torch.randn(outputs)
