"""What the regression guard measures: FastAST's ratios to stock AST on the CPU, from interleaved rounds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from layer_parts import Setting, overhead
from random_models import random_ast

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification, Tagger
from fastast_hf.benchmarking.candidates import candidates_for, for_length, noise_clips, stock_ast
from fastast_hf.benchmarking.rounds import interleaved_rounds, timed
from fastast_hf.loading.bundled import SPEECH_COMMANDS
from fastast_hf.loading.checkpoint import load_classifier
from fastast_hf.loading.devices import half_precision
from fastast_hf.merging.complexity import complexity
from fastast_hf.model.token_merging import merges_per_layer
from fastast_hf.onnx.export import export_onnx
from fastast_hf.onnx.runtime import OnnxModel, needs
from fastast_hf.tagging.int8 import int8_works, to_int8

CPU = torch.device("cpu")


class CannotMeasureError(Exception):
    """This machine lacks what a check needs; the message says what."""


@cache
def ast_base(frames: int) -> FastASTForAudioClassification:
    """AST-base with random weights, which all lengths share."""
    if frames == FastASTConfig.max_length:
        return random_ast()
    return for_length(ast_base(FastASTConfig.max_length), frames)


@cache
def bundled() -> FastASTForAudioClassification:
    """The checkpoint that comes with the package."""
    return load_classifier(SPEECH_COMMANDS).eval()


@torch.inference_mode()
def median_ratio(stock: Callable[[], Any], fast: Callable[[], Any], rounds: int) -> float:
    """Time of the one over time of the other, within a round."""
    runs = [partial(timed, run, CPU) for run in (stock, fast)]
    return float(
        np.median([stock_time / time for (stock_time, _), (time, _) in interleaved_rounds(runs, rounds, warm_up=1)])
    )


def speedup(
    model: FastASTForAudioClassification, batch_size: int, merges: list[int], rounds: int, dtype: str = "float32"
) -> float:
    """Of a model in a dtype over stock AST (sdpa, float32) with the same weights, on noise of its own length."""
    clips = noise(model, batch_size)
    return median_ratio(partial(stock_ast(model), clips), partial(in_dtype(model, dtype), clips, merges), rounds)


def noise(model: FastASTForAudioClassification, batch_size: int) -> torch.Tensor:
    """Spectrograms (B, frames, mel bins) of the model's own length."""
    shape = (batch_size, model.config.max_length, model.config.num_mel_bins)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def in_dtype(model: FastASTForAudioClassification, dtype: str) -> Callable[[torch.Tensor, list[int]], Any]:
    """A model that computes in a dtype, called with spectrograms in float32 and the merges of each layer."""
    if dtype == "int8":
        if not int8_works():
            raise CannotMeasureError("no int8 on this machine")
        model = to_int8(model)
    elif dtype == "bfloat16":
        if half_precision(CPU) != torch.bfloat16:
            raise CannotMeasureError("this processor is not fast in bfloat16")
        model = copy.deepcopy(model).bfloat16()
    return lambda clips, merges: model(clips.to(model.dtype), tome_r=merges)


def base_speedup(
    frames: int, batch_size: int, r: int, dtype: str = "float32", schedule: str = "constant", *, rounds: int
) -> float:
    """Of AST-base."""
    model = ast_base(frames)
    merges = merges_per_layer(r, model.config.num_hidden_layers, schedule)
    return speedup(model, batch_size, merges, rounds, dtype)


def onnx_speedup(frames: int, r: int, *, rounds: int) -> float:
    """Of AST-base exported in float32 over stock AST in torch, one clip at a time."""
    try:
        for package in ("onnx", "onnxruntime"):
            needs(package)
    except ImportError as error:
        raise CannotMeasureError(str(error)) from error
    model = ast_base(frames)
    with TemporaryDirectory() as folder:
        export_onnx(model, f"{folder}/model.onnx", tome_r=r, tome_schedule="constant")
        exported, clips = OnnxModel(f"{folder}/model.onnx"), noise(model, 1)
        return median_ratio(partial(stock_ast(model), clips), partial(exported, clips), rounds)


def preset_speedup(num_files: int, seconds: float, *, rounds: int) -> float:
    """Of AST-base by the preset `fast` over transformers' pipeline with stock AST, one file after the other."""
    try:
        from end_to_end import by_pipeline, pipeline_of, write_clips
    except (ImportError, OSError, RuntimeError) as error:
        raise CannotMeasureError("ASTFeatureExtractor can't be imported") from error
    if not int8_works():
        raise CannotMeasureError("no int8 on this machine")
    model = ast_base(FastASTConfig.max_length)
    length = model.config.max_length
    stock = pipeline_of(stock_ast(model), length)
    extractor = FastASTFeatureExtractor(max_length=length)
    fast = Tagger(model, preset="fast", top_k=None, device="cpu", feature_extractor=extractor)
    with TemporaryDirectory() as folder:
        files = write_clips(Path(folder), num_files, seconds)
        return median_ratio(partial(by_pipeline, stock, 1, files), partial(fast, files, progress=False), rounds)


def base_efficiency(frames: int, batch_size: int, r: int, *, rounds: int) -> float:
    """Of AST-base: its speed-up over what the MACs allow."""
    limit = complexity(ast_base(frames).config, r, "constant").speedup
    return base_speedup(frames, batch_size, r, rounds=rounds) / limit


def bundled_speedup(*, rounds: int) -> float:
    """Of the bundled checkpoint at its own r, one clip at a time."""
    return speedup(bundled(), 1, bundled().config.merges_per_layer(), rounds)


def front_end_speedup(batch_size: int, frames: int, *, rounds: int) -> float:
    """Of FastASTFeatureExtractor over ASTFeatureExtractor."""
    _, stock, fast = candidates_for(bundled(), frames, [0], ["constant"], "sdpa")
    if stock.front_end is None or fast.front_end is None:
        raise CannotMeasureError("ASTFeatureExtractor can't be imported")
    clips = noise_clips(batch_size, frames)
    return median_ratio(partial(stock.front_end, clips), partial(fast.front_end, clips), rounds)


def merging_share(tokens: int, *, rounds: int) -> float:
    """Of a float32 layer's time, for one clip."""
    return overhead(Setting("float32", tokens, batch_size=1), CPU, rounds).share
