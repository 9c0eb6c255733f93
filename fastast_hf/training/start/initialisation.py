"""The weights of a transformer from nothing, drawn so that a few thousand clips can teach it."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

Model = TypeVar("Model", bound=nn.Module)

TABLES = 0.02  # standard deviation of tokens and positions, as in AST


def initialised(model: Model) -> Model:
    """Draw the weights of an AST or PaSST anew, in place.

    Transformers' normal distribution of 0.02 is made for hidden sizes around 1000: a smaller model starts to learn
    sooner, or at all, from Glorot and Bengio's (2010, equation 16), and from patches projected at unit variance.

    Returns:
        The same model.

    Example:
        >>> from fastast_hf import FastASTConfig, FastASTForAudioClassification
        >>> config = FastASTConfig(hidden_size=24, num_attention_heads=3, num_hidden_layers=1)
        >>> head = initialised(FastASTForAudioClassification(config)).classifier.dense.weight
        >>> bool(head.abs().max() <= (6 / (24 + 2)) ** 0.5)
        True
    """
    for name, parameter in model.named_parameters():
        if name.endswith("patch_embeddings.projection.weight"):
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        elif parameter.dim() == 2:
            nn.init.xavier_uniform_(parameter)
        elif parameter.dim() > 2:
            nn.init.normal_(parameter, std=TABLES)
    return model
