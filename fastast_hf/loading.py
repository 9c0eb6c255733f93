"""A classifier and its front end, from a checkpoint or a model in memory."""

from __future__ import annotations

import os

from transformers import ASTConfig

from .errors import weights_readable
from .feature_extraction_fastast import FastASTFeatureExtractor
from .modeling_fastast import FastASTForAudioClassification


def load_classifier(model: str | os.PathLike[str]) -> FastASTForAudioClassification:
    """Load a checkpoint, checking that it is a classifier whose every weight is in the file.

    Raises:
        ValueError: It is no AST, or weights are missing or of another shape.
        OSError: There is no such checkpoint.
    """
    try:
        with weights_readable(model):
            loaded, info = FastASTForAudioClassification.from_pretrained(os.fspath(model), output_loading_info=True)
    except OSError as error:
        if str(model) in str(error):
            raise
        # Off line, transformers does not name it.
        raise OSError(f"{model}: no such folder here, and from the Hub: {error}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ValueError(
            f"{model} lacks {len(missing)} weights, {missing[0]} among them: give a checkpoint trained to classify"
        )
    return loaded


def extractor_of(config: ASTConfig) -> FastASTFeatureExtractor:
    """The front end of the checkpoint that a model in memory was loaded from, else one with AudioSet's statistics."""
    if config.name_or_path:  # an empty one would mean the current folder
        try:
            return FastASTFeatureExtractor.from_pretrained(config.name_or_path, max_length=config.max_length)
        except (OSError, ValueError):
            pass
    return FastASTFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length)
