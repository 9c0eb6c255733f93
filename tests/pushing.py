"""What tests of pushing share: a checkpoint that changes, what it says, and a repository's history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from local_hub import LocalHub

from fastast_hf import FastASTForAudioClassification as Model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.linspace(-1, 1, 128 * 48).reshape(1, 128, 48)).logits


def commits(hub: LocalHub) -> list[str]:
    return [commit.title for commit in hub.repository("me/tiny").branches["main"]]


def change(checkpoint: Path, seed: int = 1, **saving: str) -> torch.Tensor:
    """Other weights in the folder, and their logits."""
    for file in checkpoint.glob("model*"):
        file.unlink()
    model = Model(Model.config_class.from_pretrained(checkpoint))
    torch.manual_seed(seed)
    for weight in model.parameters():
        weight.data.normal_(0, 0.3)
    model.save_pretrained(checkpoint, **saving)
    return logits(Model.from_pretrained(checkpoint))
