"""FastAST for ONNX Runtime: one file with merging, labels and front end's settings inside."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import ASTPreTrainedModel

from ..loading.checkpoint import front_end_of, load_classifier
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from ..model.modeling_fastast import FastASTForAudioClassification
from .runtime import CONFIG_KEY, FEATURE_EXTRACTOR_KEY, SUFFIX, needs

# What says where a checkpoint's code and files are, which the file has no use for.
_LEFT_OUT = ("auto_map", "_name_or_path", "processor_class")


def export_onnx(
    model: str | os.PathLike[str] | ASTPreTrainedModel,
    path: str | os.PathLike[str],
    *,
    tome_r: int | Sequence[int] | None = None,
    tome_schedule: str | None = None,
    num_frames: int | None = None,
    int8: bool = False,
    feature_extractor: FastASTFeatureExtractor | None = None,
) -> FastASTForAudioClassification:
    """Write a model as one ONNX file, which [`Tagger`] and ONNX Runtime take.

    The batch stays open; the length of the clips and the tokens to merge are fixed. The float32 file's logits are the
    model's within 1e-4. In the int8 file, a quarter of the size, the layers' weights are rounded per output channel
    and their activations per token, as they come; patches, attention, matching, merging and the head stay in float32.
    On 30 spoken commands that moves the bundled checkpoint's logits, of up to 6, by at most 0.1 and no first label;
    with more merging, more: where rounding has other tokens merged, the rest of the layers see other tokens.

    Args:
        model: Any AST or FastAST classifier: local, of the Hub, or in memory, which stays as it is.
        path: The file, `….onnx`; one of an earlier export is replaced.
        tome_r: Tokens to merge in each layer; None for the model's own.
        tome_schedule: How `tome_r` is spread over the layers; None for the model's own.
        num_frames: Length of the clips in frames of 10 ms; None for the front end's.
        int8: Whether the layers multiply 8-bit integers.
        feature_extractor: None for the checkpoint's. Where it makes a frame mask, the file takes one.

    Returns:
        The model as it was exported, with `tome_r` and length set.

    Raises:
        ImportError: The package onnx is not installed.
        OSError: No such checkpoint, or the file can't be written.
        TypeError: A model in memory that is no AST classifier.
        ValueError: A checkpoint that is no AST classifier, a wrong setting, or a file that is not named `….onnx`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from fastast_hf.loading.bundled import SPEECH_COMMANDS
        >>> with TemporaryDirectory() as folder:
        ...     export_onnx(SPEECH_COMMANDS, f"{folder}/model.onnx", tome_r=8).config.tome_r
        8
    """
    path = Path(path)
    if path.suffix.lower() != SUFFIX:
        raise ValueError(f"{path} does not end in {SUFFIX}, by which it is told from a checkpoint: name it so")
    if path.parent.is_file():
        raise OSError(f"{path.parent} is a file, and {path.name} can't be in it: give a folder")
    needs("onnx")
    from .graph import build_graph

    if isinstance(model, ASTPreTrainedModel):
        extractor = feature_extractor or front_end_of(model.config)
        fast = FastASTForAudioClassification.from_ast(model)
    else:
        fast = load_classifier(model)
        extractor = feature_extractor or front_end_of(fast.config, model)
    if tome_r is not None or tome_schedule is not None:
        fast.set_tome_r(fast.config.tome_r if tome_r is None else tome_r, tome_schedule)
    num_frames = extractor.max_length if num_frames is None else num_frames
    if num_frames != fast.config.max_length:
        fast.set_max_length(num_frames)

    proto = build_graph(fast, int8=int8, frame_mask=extractor.return_attention_mask)
    front_end = {**extractor.to_dict(), "max_length": fast.config.max_length}
    for key, settings in ((CONFIG_KEY, fast.config.to_diff_dict()), (FEATURE_EXTRACTOR_KEY, front_end)):
        proto.metadata_props.add(key=key, value=_to_json(settings))
    content, partial = proto.SerializeToString(), path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)  # which is the file of before up to here, should the disk be full
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return fast


def _to_json(settings: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in settings.items() if key not in _LEFT_OUT}, ensure_ascii=False)
