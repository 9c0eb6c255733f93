"""A classifier and its front end, from a checkpoint or a model in memory."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import ASTConfig
from transformers.utils import FEATURE_EXTRACTOR_NAME, PROCESSOR_NAME

from ..errors import one_line, weights_readable
from ..model.configuration_fastast import FastASTConfig
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from ..model.modeling_fastast import FastASTForAudioClassification


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


def front_end_of(config: ASTConfig, checkpoint: str | os.PathLike[str] | None = None) -> FastASTFeatureExtractor:
    """The front end that a model hears through: the one saved beside its weights, as transformers' pipelines take it.

    Args:
        config: Of the model. Where its length was changed since it was saved, the front end follows it.
        checkpoint: What the model was just loaded from, which has to have a front end. None for a model in memory,
            which has that of the checkpoint that it came from; where it came from none, or that one has no front end,
            it gets one with AudioSet's statistics.

    Raises:
        OSError: There is none, its file is damaged, the checkpoint is gone, or the Hub can't be reached.
    """
    place = config.name_or_path if checkpoint is None else os.fspath(checkpoint)
    new = FastASTFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length)
    if not place:  # which would mean the current folder
        return new
    try:
        saved = FastASTFeatureExtractor.from_pretrained(place)
        stored_length = FastASTConfig.get_config_dict(place)[0].get("max_length", FastASTConfig.max_length)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if checkpoint is None and _lacks_front_end(place):
            return new
        raise OSError(
            f"the front end of {place} can't be had ({one_line(error)}): fetch or save its {FEATURE_EXTRACTOR_NAME} "
            "anew, or give a feature_extractor"
        ) from error
    if config.max_length != stored_length:
        saved.max_length = config.max_length
    return saved


def _lacks_front_end(place: str) -> bool:
    """Whether a checkpoint is there and has none, as far as is known once it was asked for."""
    if Path(place).is_dir():
        return not any((Path(place) / name).is_file() for name in (FEATURE_EXTRACTOR_NAME, PROCESSOR_NAME))
    try:
        return try_to_load_from_cache(place, FEATURE_EXTRACTOR_NAME) is _CACHED_NO_EXIST
    except HFValidationError:  # the path of a folder that is gone
        return False
