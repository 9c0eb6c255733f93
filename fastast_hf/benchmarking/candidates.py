"""What a benchmark times: stock AST and FastAST with the same weights, their front ends, and clips for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import ASTForAudioClassification

from ..merging.complexity import SAMPLING_RATE
from ..merging.patching import stock_encoder
from ..model.feature_extraction_fastast import FastASTFeatureExtractor, frame_samples, hop_samples
from ..model.modeling_fastast import FastASTForAudioClassification
from ..model.token_merging import merges_per_layer

COMPILED = ", compiled"
STOCK_ATTENTION = ("eager", "sdpa")  # as the paper timed it, and as transformers runs it today: the baseline

Clips = list[np.ndarray]


@dataclass(frozen=True)
class Candidate:
    """What is timed: waveforms through `front_end` and then `forward`, which may be recorded CUDA graphs."""

    implementation: str
    attn: str
    tome_r: int | None
    schedule: str | None
    front_end_name: str | None
    front_end: Callable[[Clips], Tensor] | None
    forward: Callable[[Tensor], Any]
    in_graphs: bool = False

    @property
    def name(self) -> str:
        """As a line of text says it.

        Example:
            >>> Candidate("FastAST", "sdpa", 20, "constant", None, None, print).name
            'FastAST sdpa at r = 20 (constant)'
        """
        merging = "" if self.tome_r is None else f" at r = {self.tome_r} ({self.schedule})"
        return f"{self.implementation} {self.attn}{merging}"


def stock_ast(model: FastASTForAudioClassification, attn: str = "sdpa") -> ASTForAudioClassification:
    """Transformers' own AST with the weights of a FastAST model, which the two then share.

    Args:
        model: Stays as it is.
        attn: Attention implementation of the stock model.

    Example:
        >>> from fastast_hf import FastASTConfig
        >>> model = FastASTForAudioClassification(FastASTConfig(num_hidden_layers=2, hidden_size=24, max_length=64))
        >>> type(stock_ast(model)).__name__
        'ASTForAudioClassification'
    """
    config = stock_encoder(model.audio_spectrogram_transformer).config
    with torch.device("meta"):
        stock = ASTForAudioClassification(config)
    stock.load_state_dict(model.state_dict(keep_vars=True), assign=True)
    stock.set_attn_implementation(attn)
    return stock.train(model.training)


def candidates_for(
    model: FastASTForAudioClassification,
    num_frames: int,
    tome_r: Sequence[int],
    schedules: Sequence[str],
    attn: str,
    compile_mode: str | None = None,
) -> list[Candidate]:
    """Stock AST eager and sdpa, and FastAST at each r and schedule; r = 0, where schedules agree, once.

    With a `compile_mode` of torch.compile, all but the eager one stand there compiled as well.
    """
    fast = for_length(model, num_frames)
    fast.set_attn_implementation(attn)
    stock_name, stock_front_end = _stock_front_end(fast, num_frames)
    candidates = [
        Candidate("AST", stock_attn, None, None, stock_name, stock_front_end, stock_ast(fast, stock_attn))
        for stock_attn in STOCK_ATTENTION
    ]
    fast_front_end = fastast_front_end(fast, num_frames)
    settings = {(r, schedule if r else schedules[0]): None for r in tome_r for schedule in schedules}
    for r, schedule in settings:
        merges = merges_per_layer(r, fast.config.num_hidden_layers, schedule)
        forward: Callable[[Tensor], Any] = partial(fast.__call__, tome_r=merges)
        candidates.append(
            Candidate("FastAST", attn, r, schedule, FastASTFeatureExtractor.__name__, fast_front_end, forward)
        )
    if compile_mode is not None or attn == "flex_attention":
        # Each r, and for flex attention each layer's number of tokens, is the same function compiled anew; past the
        # limit it would go on uncompiled.
        limit = max(4, fast.config.num_hidden_layers) * len(candidates)
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, limit)
    if compile_mode is not None:
        candidates[2:2] = [_compiled(candidates[1], compile_mode)]
        candidates += [_compiled(candidate, compile_mode) for candidate in candidates[3:]]
    return candidates


def _compiled(candidate: Candidate, mode: str) -> Candidate:
    """It compiled for its one shape."""
    forward: Callable[[Tensor], Any] = torch.compile(candidate.forward, mode=mode, dynamic=False)
    return replace(candidate, attn=candidate.attn + COMPILED, forward=forward, in_graphs=mode != "default")


def for_length(model: FastASTForAudioClassification, num_frames: int) -> FastASTForAudioClassification:
    """A FastAST for clips of `num_frames` that shares all weights, but for the position table of another length."""
    fast = FastASTForAudioClassification.from_ast(model).eval()
    if fast.config.max_length != num_frames:
        fast.set_max_length(num_frames)
    return fast


def fastast_front_end(model: FastASTForAudioClassification, num_frames: int) -> Callable[[Clips], Tensor]:
    """FastAST's feature extractor: waveforms to the model's input, on its device and in its dtype."""
    extractor = FastASTFeatureExtractor(num_mel_bins=model.config.num_mel_bins, max_length=num_frames)

    def front_end(clips: Clips) -> Tensor:
        features = extractor(clips, sampling_rate=SAMPLING_RATE, return_tensors="pt", device=model.device)
        return features.input_values.to(model.dtype)

    return front_end


def _stock_front_end(
    model: FastASTForAudioClassification, num_frames: int
) -> tuple[str | None, Callable[[Clips], Tensor] | None]:
    """`ASTFeatureExtractor` and which of its two ways it takes; nothing where a broken torchaudio bars its import."""
    try:
        from transformers import ASTFeatureExtractor
    except (ImportError, OSError, RuntimeError):
        return None, None
    extractor = ASTFeatureExtractor(num_mel_bins=model.config.num_mel_bins, max_length=num_frames)
    way = "torchaudio" if transformers.utils.is_speech_available() else "numpy"

    def front_end(clips: Clips) -> Tensor:
        features = extractor(clips, sampling_rate=SAMPLING_RATE, return_tensors="pt")
        return features.input_values.to(model.device, model.dtype)

    return f"{ASTFeatureExtractor.__name__} ({way})", front_end


def noise_clips(batch_size: int, num_frames: int) -> Clips:
    """Waveforms of exactly so many frames."""
    num_samples = frame_samples(SAMPLING_RATE) + (num_frames - 1) * hop_samples(SAMPLING_RATE)
    noise = np.random.default_rng(0).normal(scale=0.1, size=(batch_size, num_samples))
    return list(noise.astype(np.float32))
