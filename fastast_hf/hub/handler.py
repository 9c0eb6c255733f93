"""Inference Endpoints: a sound in, labels out. It stands in the checkpoint's repository and needs no other file.

A request is the bytes of an audio file, or JSON: `{"inputs": BASE64, "parameters": {"top_k": 5, "tome_r": 20,
"window": 10.0, "hop": 5.0}}`; window and hop are seconds. The answer is a list of labels with scores, or `{"error"}`.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

BATCH = 16
HOP_SECONDS = 0.01  # from one frame of a spectrogram to the next
PARAMETERS = ("top_k", "tome_r", "window", "hop")


class EndpointHandler:
    """What an endpoint calls.

    Args:
        path: The checkpoint's folder.
    """

    def __init__(self, path: str = "") -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = AutoModelForAudioClassification.from_pretrained(path, trust_remote_code=True).to(device).eval()
        self.extractor = AutoFeatureExtractor.from_pretrained(path, trust_remote_code=True)

    def __call__(self, data: dict[str, Any]) -> list[dict[str, Any]] | dict[str, str]:
        """Labels of one sound, the likeliest first; or what is wrong with the request."""
        try:
            parameters = self._parameters(data.get("parameters") or {})
            return self._classify(decoded(data.get("inputs"), self.extractor.sampling_rate), **parameters)
        except (ValueError, TypeError) as error:
            return {"error": " ".join(str(error).split())}
        except Exception as error:  # a stack trace is nothing to send to a stranger
            return {"error": f"the model failed on this input ({type(error).__name__})"}

    def _parameters(self, given: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(given, dict):
            raise ValueError(
                f"parameters is {type(given).__name__}: give an object with some of {', '.join(PARAMETERS)}"
            )
        if unknown := sorted(set(given) - set(PARAMETERS)):
            raise ValueError(f"unknown parameters: {', '.join(unknown)}; give some of {', '.join(PARAMETERS)}")
        own = self.extractor.max_length * HOP_SECONDS
        window = _positive("window", given.get("window", own))
        top_k = given.get("top_k", 5)
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"top_k is {top_k!r}: give a whole number from 1")
        if window > own:
            raise ValueError(f"window is {window:g} s and the model takes {own:g} s at most")
        hop = _positive("hop", given.get("hop", window))
        return {"top_k": top_k, "tome_r": given.get("tome_r"), "window": window, "hop": hop}

    @torch.inference_mode()
    def _classify(
        self, waveform: np.ndarray, top_k: int, tome_r: int | list[int] | None, window: float, hop: float
    ) -> list[dict[str, Any]]:
        rate = self.extractor.sampling_rate
        length, step = round(window * rate), max(round(hop * rate), 1)
        count = max(math.ceil((len(waveform) - length) / step) + 1, 1)
        clips = [waveform[index * step : index * step + length] for index in range(count)]
        kwargs = {} if tome_r is None else {"tome_r": tome_r}
        scores = []
        for start in range(0, count, BATCH):
            inputs = self.extractor(clips[start : start + BATCH], sampling_rate=rate, return_tensors="pt")
            logits = self.model(inputs["input_values"].to(self.model.device), **kwargs).logits.float()
            several = self.model.config.problem_type == "multi_label_classification"
            scores.append(logits.sigmoid() if several else logits.softmax(dim=-1))
        mean = torch.cat(scores).mean(dim=0)
        best = mean.topk(min(top_k, len(mean)))
        names = self.model.config.id2label
        return [{"label": names[int(i)], "score": float(s)} for s, i in zip(best.values, best.indices, strict=True)]


def decoded(inputs: Any, rate: int) -> np.ndarray:
    """Bytes of an audio file, or base64 of them, as mono float32 at `rate`."""
    if isinstance(inputs, str):
        try:
            inputs = base64.b64decode(inputs.rpartition("base64,")[2], validate=True)
        except binascii.Error as error:
            raise ValueError("inputs is a text that is not base64: give the bytes of an audio file") from error
    if isinstance(inputs, (bytes, bytearray)) and not inputs:
        raise ValueError("inputs is empty: give the bytes of an audio file, or base64 of them")
    if not isinstance(inputs, (bytes, bytearray)):
        raise ValueError(f"inputs is {type(inputs).__name__}: give the bytes of an audio file, or base64 of them")
    try:
        samples, own_rate = soundfile.read(io.BytesIO(inputs), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError("inputs is no audio file that can be read: give wav, flac, ogg or mp3") from error
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError("inputs holds no samples, or some that are no numbers: give a sound")
    return soxr.resample(samples.mean(axis=1), own_rate, rate)


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}: give seconds above 0")
    return float(value)
