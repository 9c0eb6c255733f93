"""A layer of AST-base timed as a whole and part by part: attention, match, merge, MLP."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastast_hf import FastASTConfig, FastASTForAudioClassification
from fastast_hf.benchmarking.rounds import interleaved_rounds, synchronize
from fastast_hf.model.layer_fastast import FastASTLayer
from fastast_hf.model.token_merging import MergePlan, attention_bias, capped_merges, match_tokens, merge_tokens
from fastast_hf.tagging.int8 import to_int8

R = 40
LARGEST_SIZE = 3  # of the tokens that come in
# A GPU is given its work ahead of time, as a model of many layers gives it.
PASSES = {"cpu": 1, "cuda": 20}


@dataclass(frozen=True)
class Setting:
    """What comes into a layer, and what the layer computes in."""

    dtype: str
    tokens: int
    batch_size: int


@dataclass(frozen=True)
class Overhead(Setting):
    """Medians over rounds, in milliseconds of one pass; `share` is that of match and merge in the layer."""

    tome_r: int
    attention_ms: float
    match_ms: float
    merge_ms: float
    mlp_ms: float
    layer_ms: float
    share: float


class Clock:
    """Readings of the time at points of a device's work."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._readings: list[Any] = []

    def read(self) -> None:
        """Take the time: on a GPU, when it gets here."""
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))  # not that of the first GPU
            self._readings.append(event)
        else:
            self._readings.append(perf_counter())

    def seconds(self) -> list[float]:
        """From each reading to the next."""
        synchronize(self._device)
        pairs = zip(self._readings[:-1], self._readings[1:], strict=True)
        if self._device.type == "cuda":
            return [start.elapsed_time(end) / 1000 for start, end in pairs]
        return [end - start for start, end in pairs]


@dataclass(frozen=True)
class LayerWork:
    """A layer and what comes into it."""

    layer: FastASTLayer
    hidden_states: Tensor
    token_size: Tensor
    key_bias: Tensor
    r: int

    def whole(self) -> None:
        """The layer, as a model calls it where no clip is padded."""
        self.layer(self.hidden_states, self.token_size, self.key_bias, self.r, padded=False)

    def parts(self, clock: Clock) -> None:
        """What the layer does, with the clock read before, after and between attention, match, merge and MLP."""
        clock.read()
        hidden_states, keys = self.layer.attend(self.hidden_states, self.key_bias, True)
        clock.read()
        plan = self.match(keys)
        clock.read()
        hidden_states, _ = merge_tokens(hidden_states, self.token_size, plan)
        clock.read()
        del keys
        self.layer.feed_forward(hidden_states, True)
        clock.read()

    def match(self, keys: Tensor) -> MergePlan:
        """From the keys to who is merged into whom."""
        return match_tokens(keys.sum(dim=1), self.r)


def layer_work(setting: Setting, device: torch.device) -> LayerWork:
    """A layer of AST-base with random weights, and noise for it."""
    torch.manual_seed(0)
    model: Any = FastASTForAudioClassification(FastASTConfig(num_hidden_layers=1)).eval()
    model = to_int8(model) if setting.dtype == "int8" else model.to(device, getattr(torch, setting.dtype))
    shape = (setting.batch_size, setting.tokens)
    hidden_states = torch.randn(*shape, model.config.hidden_size, device=device, dtype=model.dtype)
    token_size = torch.randint(1, LARGEST_SIZE + 1, shape, device=device).float()
    return LayerWork(
        layer=model.audio_spectrogram_transformer.layers[0],
        hidden_states=hidden_states,
        token_size=token_size,
        key_bias=attention_bias(token_size),
        r=capped_merges(setting.tokens, R),
    )


@torch.inference_mode()
def overhead(setting: Setting, device: torch.device, rounds: int) -> Overhead:
    """Time a layer and its parts in interleaved rounds."""
    work = layer_work(setting, device)
    runs = [partial(_seconds_of_whole, work), partial(_seconds_of_parts, work)]
    times = np.array([[*whole, *parts] for whole, parts in interleaved_rounds(runs, rounds)])
    layer, attention, match, merge, mlp = 1000 * np.median(times, axis=0)
    return Overhead(
        **asdict(setting),
        tome_r=work.r,
        attention_ms=attention,
        match_ms=match,
        merge_ms=merge,
        mlp_ms=mlp,
        layer_ms=layer,
        share=float(np.median((times[:, 2] + times[:, 3]) / times[:, 0])),
    )


def _seconds_of_whole(work: LayerWork) -> list[float]:
    """The layer's seconds, as the one item of a list."""
    device = work.hidden_states.device
    passes, clock = PASSES[device.type], Clock(device)
    synchronize(device)
    clock.read()
    for _ in range(passes):
        work.whole()
    clock.read()
    return [clock.seconds()[0] / passes]


def _seconds_of_parts(work: LayerWork) -> list[float]:
    """Seconds of attention, match, merge and MLP."""
    device = work.hidden_states.device
    clocks = [Clock(device) for _ in range(PASSES[device.type])]
    synchronize(device)
    for clock in clocks:
        work.parts(clock)
    return np.mean([clock.seconds() for clock in clocks], axis=0).tolist()
