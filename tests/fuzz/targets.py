"""What is fuzzed: a function of bytes for each, which returns, or raises what a user is told in one line."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from safetensors import SafetensorError

from fastast_hf.audio import load_audio
from fastast_hf.audio.quiet import c_output_dropped
from fastast_hf.loading.bundled import SPEECH_COMMANDS
from fastast_hf.loading.checkpoint import front_end_of, load_classifier
from fastast_hf.model.configuration_fastast import FastASTConfig
from fastast_hf.model.feature_extraction_fastast import FastASTFeatureExtractor
from fastast_hf.serving.handler import checked, decoded
from fastast_hf.tagging.results_file import Output, read_file
from fastast_hf.training.arguments import AugmentationArguments, ScheduleArguments
from fastast_hf.training.recipes import RecipeParser, RunArguments, parse_with_recipe

# What the commands turn into one line, and what the endpoint's handler and the server do.
TOLD = (ValueError, OSError, ImportError)
_FOLDER = Path(tempfile.mkdtemp(prefix="fastast-fuzz-"))
_WORDS = b" :,-[]{}\"'\n0123456789.eE+truefalsnl&*!%@#\\\x00\xff"


def audio(data: bytes) -> None:
    """An audio file by the `Tagger`'s reader and by the handler's."""
    with suppress(*TOLD):
        samples = load_audio(data)
        assert samples.dtype == np.float32 and samples.ndim == 1
    with suppress(ValueError), c_output_dropped():
        assert np.isfinite(decoded(data, 16000)).all()


def checkpoint(data: bytes) -> None:
    """A checkpoint's json, by the first byte: of the model, the front end, or the index of the weights."""
    folder = _FOLDER / "checkpoint"
    if not folder.is_dir():
        shutil.copytree(SPEECH_COMMANDS, folder, ignore=shutil.ignore_patterns("results", "README.md"))
    names = ("config.json", "preprocessor_config.json", "model.safetensors.index.json")
    for name in names:
        (folder / name).unlink(missing_ok=True)
        if (SPEECH_COMMANDS / name).is_file():
            shutil.copy(SPEECH_COMMANDS / name, folder / name)
    name = names[data[0] % len(names)] if data else names[0]
    (folder / name).write_bytes(data[1:])
    weights, hidden = folder / "model.safetensors", folder / "hidden.safetensors"
    if name == names[2]:
        weights.rename(hidden)
    try:
        with suppress(*TOLD, SafetensorError):
            front_end_of(load_classifier(folder).config, folder)
    finally:
        if hidden.is_file():
            hidden.rename(weights)


def results(data: bytes) -> None:
    """A results file and its settings, read and gone on with."""
    folder = _FOLDER / "results"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    first, _, rest = data.partition(b"\x1e")
    for kind in (".csv", ".jsonl"):
        path = folder / f"out{kind}"
        path.write_bytes(first)
        Path(f"{path}.settings.json").write_bytes(rest)
        with suppress(*TOLD):
            assert all(isinstance(record.name, str) for record in read_file(path)[1])
        with suppress(*TOLD), Output(path) as output:
            output.begin({"r": 8}, resume=True)
            output.merge([])


@cache
def _parser() -> RecipeParser:
    return RecipeParser((AugmentationArguments, ScheduleArguments, RunArguments))


def recipe(data: bytes) -> None:
    """A recipe's file."""
    path = _FOLDER / "recipe.yaml"
    path.write_bytes(data)
    with redirect_stderr(io.StringIO()):
        try:
            parse_with_recipe(_parser(), ["--recipe", str(path)])
        except SystemExit as stop:
            assert stop.code == 2
        except TOLD:
            pass


def handler(data: bytes) -> None:
    """A request's body of JSON, as an endpoint gives it to the handler."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return  # which the server and the endpoint tell
    if isinstance(body, dict):
        extractor, config = _model()
        with suppress(ValueError):
            checked(body.get("parameters") or {}, extractor, config)
        with suppress(ValueError):
            decoded(body.get("inputs"), 16000)


@cache
def _model() -> tuple[FastASTFeatureExtractor, FastASTConfig]:
    return FastASTFeatureExtractor(max_length=128), FastASTConfig(max_length=128, num_hidden_layers=2)


def _sounds() -> Iterator[bytes]:
    for kind, subtype in (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)):
        made = io.BytesIO()
        soundfile.write(made, np.sin(np.arange(900) / 7), 16000, format=kind, subtype=subtype)
        yield made.getvalue()


def _jsons() -> Iterator[bytes]:
    yield b"\0" + (SPEECH_COMMANDS / "config.json").read_bytes()
    yield b"\1" + (SPEECH_COMMANDS / "preprocessor_config.json").read_bytes()
    yield (
        b"\2" + json.dumps({"metadata": {}, "weight_map": {"classifier.dense.weight": "hidden.safetensors"}}).encode()
    )


def _bodies() -> Iterator[bytes]:
    sound = base64.b64encode(next(_sounds())).decode()
    asked: dict[str, Any] = {"top_k": 3, "tome_r": [1, 2], "window": 0.5, "hop": "0.25", "activation": "sigmoid"}
    yield json.dumps({"inputs": sound, "parameters": asked}).encode()
    yield json.dumps({"inputs": sound[:40], "parameters": {"threshold": 0.5, "tome_r": 4}}).encode()


# Each with small inputs to begin with, and pieces that inputs of its kind are made of.
TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], Iterator[bytes]], bytes]] = {
    "audio": (audio, _sounds, b"RIFFWAVEfmt dataLISTfLaCOggSID3\xff\xfb\x00\x01\x7f\x80"),
    "checkpoint": (checkpoint, _jsons, _WORDS),
    "results": (
        results,
        lambda: iter(
            (
                b'file,label_1,score_1,error\na.wav,yes,0.5,\n\x1e{"r": 8}\n',
                b'{"file": "a.wav", "labels": [{"label": "yes", "score": 0.5}]}\n\x1e{"r": 8}\n',
            )
        ),
        _WORDS,
    ),
    "recipe": (
        recipe,
        lambda: iter(
            (
                yaml.safe_dump({"mixup": 0.5, "roll": True, "decay": None, "time_mask": 48}).encode(),
                b"extends: esc50\nmixup: 0\n",
            )
        ),
        _WORDS,
    ),
    "handler": (handler, _bodies, _WORDS),
}


def clean() -> None:
    """Remove what the targets have written."""
    shutil.rmtree(_FOLDER, ignore_errors=True)


assert os.environ.get("HF_HUB_OFFLINE") == "1", "set HF_HUB_OFFLINE=1: no made-up name may be asked of the Hub"
