"""A classifier and its front end, from a checkpoint or a model in memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import ASTConfig, AutoModelForAudioClassification, PreTrainedConfig, PreTrainedModel
from transformers.utils import FEATURE_EXTRACTOR_NAME, PROCESSOR_NAME

from ..errors import one_line, weights_readable
from ..model.configuration_fastast import FastASTConfig
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from ..model.modeling_fastast import FastASTForAudioClassification
from .saved_weights import sizes_of_checkpoint

logger = logging.getLogger(__name__)

LARGER_BY = 4  # what a model may be larger than its weights, and its clips longer than its positions


def load_classifier(model: str | os.PathLike[str]) -> FastASTForAudioClassification:
    """Load a checkpoint, checking that its weights are those that its config.json describes.

    Raises:
        ValueError: It is no AST, its config.json is wrong, or weights are missing, left over, of another shape or not
            finite.
        OSError: There is no such checkpoint.
    """
    try:
        with weights_readable(model):
            check_size(model, FastASTConfig.from_pretrained(model))
            loaded, info = FastASTForAudioClassification.from_pretrained(
                os.fspath(model), output_loading_info=True, ignore_mismatched_sizes=True
            )
    except OSError as error:
        if str(model) in str(error):
            raise
        # Off line, transformers does not name it.
        raise OSError(f"{model}: no such folder here, and from the Hub: {error}") from error
    except (AttributeError, IndexError, KeyError, TypeError) as error:  # which transformers makes of a wrong field
        raise ValueError(
            f"the config.json of {model} is wrong ({one_line(error)}): fetch it again from where it comes from"
        ) from error
    check_weights(model, loaded, info)
    return loaded


def check_size(checkpoint: str | os.PathLike[str], config: PreTrainedConfig) -> None:
    """Refuse a config.json of a far larger model than the saved weights are: transformers would allocate it first.

    Raises:
        ValueError: It is one, or the weights' index can't be read.
        OSError: There are no weights.
    """
    saved = sizes_of_checkpoint(checkpoint)
    layers = getattr(config, "num_hidden_layers", 0)
    described = f"{layers:,} layers"
    if layers <= len(saved):  # a layer has more tensors than one
        try:
            with torch.device("meta"):
                model = AutoModelForAudioClassification.from_config(config)
        except RuntimeError as error:  # more than torch can count
            described = one_line(error)
        else:
            if (parameters := model.num_parameters()) <= LARGER_BY * sum(saved):
                return
            described = f"{parameters:,} parameters"
    raise ValueError(
        f"the weights of {checkpoint} do not fit its config.json: that describes a model of {described}, and "
        f"{sum(saved):,} parameters are saved; fetch both again from the same place"
    )


def check_weights(model: Any, loaded: PreTrainedModel, info: Mapping[str, Any]) -> None:
    """Refuse weights that a checkpoint's config.json does not describe, and weights that are not finite.

    Args:
        model: The checkpoint's name.
        loaded: The model that transformers made of it.
        info: What `from_pretrained(…, output_loading_info=True, ignore_mismatched_sizes=True)` returned with it.

    Raises:
        ValueError: There is such a weight, or one is missing.
    """
    for name, given, wanted in sorted(info["mismatched_keys"]):
        raise ValueError(
            f"the weights of {model} do not fit its config.json: {name} has the shape {tuple(given)} instead of "
            f"{tuple(wanted)}; fetch both again from the same place"
        )
    if missing := sorted(info["missing_keys"]):
        raise ValueError(
            f"{model} lacks {len(missing)} weights, {missing[0]} among them: give a whole checkpoint, trained to "
            "classify"
        )
    extra = sorted(info["unexpected_keys"])
    if inner := [name for name in extra if "layers." in name]:
        raise ValueError(
            f"the weights of {model} do not fit its config.json: num_hidden_layers is "
            f"{getattr(loaded.config, 'num_hidden_layers', 'not in it')}, which leaves {len(inner)} weights over, "
            f"{inner[0]} among them; fetch both again from the same place"
        )
    if extra:
        logger.warning("%s has weights that its model does not use, which are left out: %s", model, ", ".join(extra))
    check_finite(model, loaded)


def check_finite(model: Any, loaded: PreTrainedModel) -> None:
    """Raise a ValueError where a weight of the checkpoint `model`, or a running mean of it, is not finite."""
    for name, weight in loaded.state_dict().items():
        if not weight.isfinite().all():
            raise ValueError(f"the weights of {model} are damaged: {name} is not finite; fetch them again")


def labels_in_order(config: PreTrainedConfig) -> list[str]:
    """The labels of a model by their index.

    Raises:
        ValueError: An index has none.
    """
    id2label = config.id2label
    if missing := sorted(set(range(len(id2label))) - set(id2label)):
        raise ValueError(f"id2label has {len(id2label)} labels, but none for class {missing[0]}: count from 0")
    return [str(id2label[index]) for index in range(len(id2label))]


def front_end_of(config: ASTConfig, checkpoint: str | os.PathLike[str] | None = None) -> FastASTFeatureExtractor:
    """The front end of a model: the one saved beside its weights, as transformers' pipelines take it.

    Args:
        config: Of the model. A length that was changed since it was saved holds for the front end, too.
        checkpoint: What the model was just loaded from, which must have a front end. None for a model in memory,
            which has its checkpoint's; without a checkpoint, or one with a front end, it gets AudioSet's statistics.

    Raises:
        OSError: There is none, its file is wrong, the checkpoint is gone, or the Hub can't be reached.
        ValueError: It makes another number of mel bins, or far more frames, than the model takes.
    """
    place = config.name_or_path if checkpoint is None else os.fspath(checkpoint)
    new = FastASTFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length)
    if not place:  # which would mean the current folder
        return new
    try:
        saved = FastASTFeatureExtractor.from_pretrained(place)
        stored_length: Any = FastASTConfig.get_config_dict(place)[0].get("max_length", FastASTConfig.max_length)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        lacks = _lacks_front_end(place)
        if checkpoint is None and lacks:
            return new
        reason = "there is none" if lacks else one_line(error)
        raise OSError(
            f"the front end of {place} can't be loaded ({reason}): fetch or save its "
            f"{FEATURE_EXTRACTOR_NAME} anew, or give a feature_extractor"
        ) from error
    if saved.num_mel_bins != config.num_mel_bins:
        raise ValueError(
            f"{place}: num_mel_bins is {saved.num_mel_bins} in {FEATURE_EXTRACTOR_NAME} and {config.num_mel_bins} in "
            "config.json: fetch both again from the same place"
        )
    if saved.max_length > LARGER_BY * stored_length:
        raise ValueError(
            f"{place}: max_length is {saved.max_length} in {FEATURE_EXTRACTOR_NAME} and {stored_length} in "
            "config.json: fetch both again from the same place"
        )
    if config.max_length != stored_length:
        saved.max_length = config.max_length
    return saved


def _lacks_front_end(place: str) -> bool:
    """Whether a checkpoint is known to have no front end, once it was asked for."""
    if Path(place).is_dir():
        return not any((Path(place) / name).is_file() for name in (FEATURE_EXTRACTOR_NAME, PROCESSOR_NAME))
    try:
        return try_to_load_from_cache(place, FEATURE_EXTRACTOR_NAME) is _CACHED_NO_EXIST
    except HFValidationError:  # the path of a folder that is gone
        return False
