"""Teachers as they were released: PSLA's, PaSST's and EfficientAT's files of weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...loading.pickled_weights import read_weights
from ...model.feature_extraction_fastast import FastASTFeatureExtractor
from .efficientat import efficientat_from_checkpoint
from .passt_checkpoint import passt_from_checkpoint
from .passt_features import PasstFeatureExtractor
from .psla import cnn_from_psla, psla_feature_extractor


def is_released(checkpoint: str) -> bool:
    """Whether it names a file of weights, where other checkpoints are folders or Hub ids."""
    return Path(checkpoint).suffix in (".pt", ".pth")


def load_released(checkpoint: str, label_names: Sequence[str] | None = None) -> tuple[Any, FastASTFeatureExtractor]:
    """A released teacher and its front end; only tensors are read, no code.

    Args:
        checkpoint: A `.pt` or `.pth` file of PSLA, PaSST or EfficientAT.
        label_names: What it knows, in its order: AudioSet's of `class_labels_indices.csv`. The file does not say.

    Raises:
        OSError: No such file.
        ValueError: It is of something else, or has another number of labels.
    """
    weights = read_weights(checkpoint)
    labels: dict[str, Any] = {}
    if label_names is not None:
        labels["id2label"] = dict(enumerate(label_names))
        labels["label2id"] = {name: index for index, name in enumerate(label_names)}
    if any(name.removeprefix("module.") == "v.pos_embed" for name in weights):
        raise ValueError(
            f"{checkpoint} is of AST's or SSAST's authors: make a checkpoint of it by `fastast convert {checkpoint} "
            "FOLDER`, and give that folder"
        )
    if "features.0.0.weight" in weights:
        return efficientat_from_checkpoint(checkpoint, **labels), PasstFeatureExtractor()
    if "freq_new_pos_embed" in weights:
        return passt_from_checkpoint(checkpoint, **labels), PasstFeatureExtractor()
    return cnn_from_psla(checkpoint, **labels), psla_feature_extractor()
