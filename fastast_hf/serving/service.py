"""Requests to answers: decoded in threads, computed in batches, never more at once than there is room for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastapi import HTTPException, Request
from torch import Tensor

from ..onnx.runtime import OnnxModel
from ..tagging.tagger import Tagger
from . import handler
from .batching import Batcher
from .bodies import BUSY, Bodies, parsed
from .metrics import Metrics


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        queue: Requests that are decoded, wait or are computed at once; more are answered with 503.
        max_bytes: Of a request's body.
        max_seconds: Of a recording.
        timeout: Seconds for a request to arrive, and for it to be answered after that.
    """

    queue: int = 128
    max_bytes: int = 2**25
    max_seconds: float = 600.0
    timeout: float = 60.0


class Service:
    """Answers requests with a tagger's model; [`handler`] says what they may ask and what the answers are.

    Args:
        tagger: Model, front end, merging and batch size.
        limits: See there.
    """

    def __init__(self, tagger: Tagger, limits: Limits) -> None:
        self.tagger, self.limits, self.config = tagger, limits, tagger.model.config
        self.metrics = Metrics(limits.queue)
        self.batcher = Batcher(self._compute, tagger.batch_size, self.metrics.batch.observe)
        self._bodies = Bodies(limits.max_bytes, limits.timeout)
        self._decoders = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="fastast-decode")
        self._taken = 0

    @property
    def full(self) -> bool:
        """Whether the next request would be one too many."""
        return self._taken >= self.limits.queue

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the queue.

        Raises:
            HTTPException: There is none (503).
        """
        if self.full:
            raise HTTPException(503, BUSY, {"Retry-After": "1"})
        self._taken += 1
        self.metrics.queue.inc()
        try:
            yield
        finally:
            self._taken -= 1
            self.metrics.queue.dec()

    async def answer(self, request: Request, how: Callable[[np.ndarray, dict[str, Any]], Any], known: Any) -> Any:
        """What `how` makes of a request's samples and parameters.

        Raises:
            HTTPException: Why there is no answer.
        """
        async with self._bodies.read(request) as body, self.place():
            try:
                return await asyncio.wait_for(self._answer(request, body, how, known), self.limits.timeout)
            except asyncio.TimeoutError:
                raise HTTPException(504, f"no answer within {self.limits.timeout:g} s: give a shorter sound") from None
            except ValueError as error:
                raise HTTPException(400, handler.one_line(error)) from None
            except Exception as error:
                raise HTTPException(500, str(handler.failure(error))) from None

    async def _answer(self, request: Request, body: bytearray, how: Any, known: Any) -> Any:
        inputs, given = await parsed(request, body)
        extractor = self.tagger.feature_extractor
        parameters = handler.checked(given, extractor, self.config, known)
        parameters["timeline"] = not {"window", "hop"}.isdisjoint(given)
        samples = await asyncio.get_running_loop().run_in_executor(
            self._decoders, handler.decoded, inputs, extractor.sampling_rate, self.limits.max_seconds
        )
        return await how(samples, parameters)

    async def classify(self, samples: np.ndarray, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """Labels of a recording; with a window or hop, those of each window, with its time as [`Moment`] has it."""
        rate, window, hop = self.tagger.feature_extractor.sampling_rate, parameters["window"], parameters["hop"]
        if parameters["timeline"] and hop > window:
            raise ValueError(f"hop is {hop / rate:g} s: give at most the window's {window / rate:g} s")
        cut = handler.cut(samples, window, hop, rate)
        logits = await self._rows("labels", [window for _, window in cut], parameters)
        scores = handler.scores_of(logits, parameters["activation"], self.config)
        if not parameters["timeline"]:
            return handler.best_labels(handler.pooled(scores, self.config), parameters, self.config)
        middles = [(start + len(window) / 2) / rate for start, window in cut]
        ends = [middle + hop / 2 / rate for middle in middles[:-1]] + [len(samples) / rate]
        return [
            {
                "time": middle,
                "start": start,
                "end": end,
                "labels": handler.best_labels(row, parameters, self.config),
            }
            for middle, start, end, row in zip(middles, [0.0, *ends[:-1]], ends, scores, strict=True)
        ]

    async def embed(self, samples: np.ndarray, parameters: dict[str, Any]) -> list[float]:
        """A recording's vector, as [`Tagger.embed`] gives it."""
        rate = self.tagger.feature_extractor.sampling_rate
        cut = handler.cut(samples, parameters["window"], parameters["hop"], rate)
        vectors = await self._rows("vectors", [window for _, window in cut], parameters)
        if not vectors.isfinite().all():
            raise ValueError("the vector is not finite: the samples are too large by far, scale them to [-1, 1]")
        return vectors.mean(dim=0).tolist()

    async def _rows(self, kind: str, windows: Sequence[np.ndarray], parameters: dict[str, Any]) -> Tensor:
        tome_r = parameters["tome_r"]
        if isinstance(self.tagger.model, OnnxModel) and (kind != "labels" or tome_r is not None):
            raise ValueError("this model was exported: it gives labels alone, with the tome_r it was exported with")
        key = kind, tuple(tome_r) if isinstance(tome_r, list) else tome_r, self.tagger.input_frames(len(windows[0]))
        return torch.stack(await self.batcher.rows(key, windows))

    def _compute(self, key: Any, windows: list[np.ndarray]) -> list[Tensor]:
        kind, tome_r, _ = key
        model = self.tagger.model
        if kind == "labels":
            return self.tagger.run(windows, lambda inputs: model(**inputs).logits, tome_r)
        encoder = model.audio_spectrogram_transformer
        return self.tagger.run(windows, lambda inputs: encoder(**inputs).pooler_output, tome_r)

    def info(self) -> dict[str, Any]:
        """The model, its labels and merging, and the limits."""
        tagger, extractor = self.tagger, self.tagger.feature_extractor
        name = str(tagger.model.path if isinstance(tagger.model, OnnxModel) else self.config.name_or_path)
        return {
            "model": Path(name).name if Path(name).exists() else name,  # a folder's place is nobody's business
            "labels": tagger.label_names(),
            "sampling_rate": extractor.sampling_rate,
            "window": extractor.samples_of(extractor.max_length) / extractor.sampling_rate,
            "preset": tagger.preset,
            "dtype": tagger.dtype_name,
            "device": str(tagger.device),
            "merging": {
                "tome_r": tagger.merges(),
                "tokens": tagger.model.token_schedule(extractor.max_length, tagger.merges()),
            },
            "limits": {**vars(self.limits), "batch_size": tagger.batch_size},
        }
