"""AST models with random weights, which take as long as trained ones."""

from __future__ import annotations

import torch

from fastast_hf import FastASTConfig, FastASTForAudioClassification

# Hidden size, heads, MLP; of twelve layers all.
SIZES = {"tiny": (192, 3, 768), "small": (384, 6, 1536), "base": (768, 12, 3072)}


def random_ast(size: str = "base") -> FastASTForAudioClassification:
    """A model of one of `SIZES` for AudioSet's 527 labels."""
    hidden, heads, mlp = SIZES[size]
    torch.manual_seed(0)
    config = FastASTConfig(num_labels=527, hidden_size=hidden, num_attention_heads=heads, intermediate_size=mlp)
    return FastASTForAudioClassification(config).eval()
