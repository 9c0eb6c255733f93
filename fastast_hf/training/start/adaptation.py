"""How much of a model is trained: its head, its upper layers, low-rank adapters, or all of it, at rates by layer."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from torch import nn

TARGETS = ["q_proj", "v_proj"]  # of LoRA, Hu et al. 2022, §4.2


@dataclass
class AdaptationArguments:
    """How much of a checkpoint to train. Where clips are few, less is often better."""

    freeze: bool = field(default=False, metadata={"help": "train the head alone"})
    freeze_layers: int | None = field(
        default=None, metadata={"help": "train neither the embeddings nor the first N layers"}
    )
    layer_decay: float | None = field(
        default=None, metadata={"help": "multiply the learning rate by X with each layer further from the head"}
    )
    lora_r: int | None = field(
        default=None,
        metadata={"help": "train the head and adapters of rank N (LoRA); they are merged into the saved model"},
    )

    def __post_init__(self) -> None:
        if self.freeze_layers is not None and self.freeze_layers < 0:
            raise ValueError(f"freeze_layers is {self.freeze_layers}: give the number of layers, 0 or more")
        if self.lora_r is not None and self.lora_r < 1:
            raise ValueError(f"lora_r is {self.lora_r}: give the rank of the adapters, 1 or more")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay is {self.layer_decay}: give a factor above 0, at most 1, such as 0.75")
        others = [name for name in ("freeze_layers", "layer_decay", "lora_r") if getattr(self, name) is not None]
        if self.freeze and others:
            raise ValueError(f"--freeze trains the head alone: leave out --{others[0].replace('_', '-')}")


def adapt(model: Any, settings: AdaptationArguments, trained_before: bool) -> None:
    """Freeze what is not trained, and put adapters in, in place.

    Args:
        model: A FastAST classifier.
        settings: What to train.
        trained_before: Whether its weights come from a checkpoint.

    Raises:
        ValueError: The model is new, or has fewer layers than are to be frozen.
        ImportError: peft is not installed.
    """
    layers, kept = model.config.num_hidden_layers, settings.freeze_layers or 0
    if (settings.freeze or kept or settings.lora_r) and not trained_before:
        raise ValueError("a new model has learnt nothing that could be kept as it is: give --model, a checkpoint")
    if kept > layers:
        raise ValueError(f"freeze_layers is {kept}, and the model has {layers} layers: give {layers} or fewer")
    encoder = model.audio_spectrogram_transformer
    if settings.freeze:
        encoder.requires_grad_(False)
    elif settings.freeze_layers is not None:
        encoder.embeddings.requires_grad_(False)
        encoder.layers[:kept].requires_grad_(False)
    if settings.lora_r is not None:
        from peft import LoraConfig, LoraModel

        config = LoraConfig(
            r=settings.lora_r,
            lora_alpha=settings.lora_r,
            target_modules=TARGETS,
            layers_to_transform=list(range(kept, layers)),
        )
        LoraModel(model, config, "default")  # which changes the model itself, and freezes all but the adapters
        model.classifier.requires_grad_(True)


def learning_rate_scale(name: str, layers: int, decay: float) -> float:
    """What the learning rate of a parameter is multiplied by: `decay` once for each layer that it is below the head.

    As in BEiT (Bao et al. 2022, appendix): the head has the whole rate, the last layer `decay` times it, and the
    embeddings the least.

    Example:
        >>> [learning_rate_scale(name, 2, 0.5) for name in ("classifier.dense.bias", "ast.layers.0.mlp.fc1.bias")]
        [1.0, 0.25]
    """
    layer = re.search(r"\.layers\.(\d+)\.", name)
    below = layers - int(layer[1]) if layer else layers + 1 if ".embeddings." in name else 0
    return decay**below


def frozen_parts(model: nn.Module) -> list[nn.Module]:
    """The largest parts of which nothing is trained."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return [model]
    return [part for child in model.children() for part in frozen_parts(child) if any(True for _ in part.parameters())]
