"""Inference Endpoints: a sound in, labels out. It stands in the checkpoint's repository and needs no other file.

A request is the bytes of an audio file, with parameters in the address (`?top_k=3&hop=0.5`), or JSON: `{"inputs":
BASE64, "parameters": {"top_k": 5, "tome_r": 20, "window": 10.0, "hop": 5.0, "activation": "sigmoid", "threshold":
0.5}}`. Window and hop are seconds; the rest means what it does to `Tagger`. The answer is a list of labels and scores.
What is wrong is raised in one line, which the endpoint sends as `{"error": …}` with status 400: as an answer with
status 200, clients would take it for labels.
"""

from __future__ import annotations

import base64
import io
import logging
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

logger = logging.getLogger(__name__)

BATCH = 8  # windows at once
MOST_WINDOWS = 4096  # of one recording
SHORTEST = 0.025  # seconds: one frame of a spectrogram
MOST_SECONDS = 86400  # of a window or hop: a day
MOST_BYTES = 2**28  # of a request's sound
LEAST_RATE, MOST_RATE = 1000, 768000  # Hz: with others a header is broken, and a second of it may be gigabytes
MOST_CHANNELS = 64
MOST_SECONDS_HEARD = 3600  # of a recording: a small FLAC of silence can be days
MOST_SAMPLES = 2**30  # to decode, of all channels: at 655350 Hz, a FLAC of silence has them in a megabyte or so
BLOCK = 4096  # frames per read
PARAMETERS = ("top_k", "tome_r", "window", "hop", "activation", "threshold")
ACTIVATIONS = ("auto", "softmax", "sigmoid")
AUDIOSET_LABELS = 527


class EndpointHandler:
    """What an endpoint calls.

    Args:
        path: The checkpoint's folder.
    """

    def __init__(self, path: str = "") -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = AutoModelForAudioClassification.from_pretrained(path, trust_remote_code=True).to(device).eval()
        self.extractor = AutoFeatureExtractor.from_pretrained(path, trust_remote_code=True)

    def __call__(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        """Labels of one sound, the likeliest first.

        Raises:
            ValueError: What is wrong with the request, in one line.
            RuntimeError: The model failed; why is in the endpoint's log.
        """
        try:
            parameters = self._parameters(data.get("parameters") or {})
            return self._classify(decoded(data.get("inputs"), self.extractor.sampling_rate), **parameters)
        except ValueError as error:
            raise ValueError(" ".join(str(error).split())) from None
        except Exception as error:  # how it came about is nothing to send to a stranger
            logger.exception("the model failed")
            raise RuntimeError(f"the model failed on this input ({type(error).__name__})") from None

    def _parameters(self, given: Any) -> dict[str, Any]:
        """What was asked for, checked; window and hop in samples."""
        if not isinstance(given, dict):
            raise ValueError(
                f"parameters is {type(given).__name__}: give an object with some of {', '.join(PARAMETERS)}"
            )
        if unknown := sorted(set(given) - set(PARAMETERS)):
            raise ValueError(f"unknown parameters: {', '.join(unknown)}; give some of {', '.join(PARAMETERS)}")
        given = {name: _number(value) for name, value in given.items() if value is not None}
        rate, longest = self.extractor.sampling_rate, self.extractor.samples_of(self.extractor.max_length)
        window = round(_seconds("window", given.get("window", longest / rate)) * rate)
        if not round(SHORTEST * rate) <= window <= longest:
            raise ValueError(f"window is {given['window']} s: the model takes {SHORTEST:g} to {longest / rate:g} s")
        hop = max(round(_seconds("hop", given["hop"]) * rate), 1) if "hop" in given else window
        top_k = given.get("top_k", 5)
        if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
            raise ValueError(f"top_k is {_shown(top_k)}: give a whole number from 1")
        tome_r = given.get("tome_r")
        for r in tome_r if isinstance(tome_r, list) else [] if tome_r is None else [tome_r]:
            if isinstance(r, bool) or not isinstance(r, int) or r < 0:
                raise ValueError(f"tome_r is {_shown(tome_r)}: give a whole number from 0, or a list of one per layer")
        activation, threshold = given.get("activation", "auto"), given.get("threshold")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {_shown(activation)}: give one of {', '.join(ACTIVATIONS)}")
        if threshold == "auto":
            threshold = getattr(self.model.config, "thresholds", None)
            if threshold is None:
                raise ValueError("threshold is 'auto', and this model has no thresholds: give a score from 0 to 1")
        elif threshold is not None and (
            isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1
        ):
            raise ValueError(f"threshold is {_shown(threshold)}: give a score from 0 to 1, or 'auto'")
        asked = {"top_k": top_k, "tome_r": tome_r, "activation": activation, "threshold": threshold}
        return {**asked, "window": window, "hop": hop}

    @torch.inference_mode()
    def _classify(
        self,
        waveform: np.ndarray,
        top_k: int,
        tome_r: int | list[int] | None,
        window: int,
        hop: int,
        activation: str,
        threshold: float | list[float] | None,
    ) -> list[dict[str, Any]]:
        starts = range(0, max(1, len(waveform) - window + 1), hop)
        if len(starts) >= MOST_WINDOWS:
            raise ValueError(
                f"a window every {hop / self.extractor.sampling_rate:g} s makes more than {MOST_WINDOWS} of this "
                "recording: give a longer hop, or a shorter recording"
            )
        # The last window ends where the recording does.
        tail = [len(waveform) - window] if starts[-1] + window < len(waveform) else []
        clips = [waveform[start : start + window] for start in (*starts, *tail)]
        kwargs = {} if tome_r is None else {"tome_r": tome_r}
        scores = []
        for start in range(0, len(clips), BATCH):
            inputs = self.extractor(
                clips[start : start + BATCH],
                sampling_rate=self.extractor.sampling_rate,
                return_tensors="pt",
                device=self.model.device,
            )
            scores.append(self._scores(self.model(**inputs, **kwargs).logits.float().cpu(), activation))
        counted = torch.cat(scores)
        if most := {"max": 1, "top3": 3}.get(getattr(self.model.config, "window_pool", "mean")):
            counted = counted.topk(min(most, len(counted)), dim=0).values
        mean = counted.mean(dim=0)
        if not mean.isfinite().all():
            raise ValueError("the scores are not finite: the samples are too large by far, scale them to [-1, 1]")
        if threshold is not None:
            mean = mean.masked_fill(mean < torch.tensor(threshold), -torch.inf)
        best = mean.topk(min(top_k, len(mean)))
        names = self.model.config.id2label
        pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return [{"label": names[index], "score": score} for score, index in pairs if score > -torch.inf]

    def _scores(self, logits: torch.Tensor, activation: str) -> torch.Tensor:
        """Logits (B, labels) to scores; `"auto"` goes by the checkpoint, and takes sigmoids for AudioSet's labels."""
        problem = self.model.config.problem_type
        if activation == "auto" and problem == "regression":
            return logits
        alone = problem == "multi_label_classification" or (problem is None and logits.shape[1] == AUDIOSET_LABELS)
        sigmoid = alone if activation == "auto" else activation == "sigmoid"
        return logits.sigmoid() if sigmoid else logits.softmax(dim=-1)


def decoded(inputs: Any, rate: int) -> np.ndarray:
    """An audio file's bytes, base64 of them, or an open file, as mono float32 at `rate`.

    A text is never a path or an address: a stranger's request opens nothing on this machine.
    """
    if hasattr(inputs, "read"):
        inputs = inputs.read(2 * MOST_BYTES)
    if hasattr(inputs, "__len__") and len(inputs) > MOST_BYTES * (1.4 if isinstance(inputs, str) else 1):
        raise ValueError(f"inputs is larger than {MOST_BYTES >> 20} MiB: give a shorter sound, or flac or mp3")
    if isinstance(inputs, str):
        try:
            inputs = base64.b64decode("".join(inputs.rpartition("base64,")[2].split()), validate=True)
        except ValueError:
            raise ValueError("inputs is a text that is not base64: give the bytes of an audio file") from None
    if isinstance(inputs, (bytes, bytearray)) and not inputs:
        raise ValueError("inputs is empty: give the bytes of an audio file, or base64 of them")
    if not isinstance(inputs, (bytes, bytearray)):
        raise ValueError(f"inputs is {type(inputs).__name__}: give the bytes of an audio file, or base64 of them")
    try:
        with _Stream(io.BytesIO(inputs)) as file:
            samples = np.concatenate([np.zeros(0, np.float32), *_blocks(file, inputs, rate)])
    except (soundfile.LibsndfileError, TypeError):  # TypeError: what it would take for headerless samples
        raise ValueError("inputs is no audio file that can be read: give wav, flac, ogg or mp3") from None
    if len(samples) < SHORTEST * rate:
        raise ValueError(f"inputs is a sound of {len(samples) / rate:g} s: give {SHORTEST:g} s or more")
    return samples


class _Stream(soundfile.SoundFile):
    """A file read from front to back: between reads soundfile seeks, which fails where a file is damaged."""

    def seekable(self) -> bool:
        return False


def _blocks(file: soundfile.SoundFile, held: bytes | bytearray, wanted: int) -> Iterator[np.ndarray]:
    """Mono samples at the rate `wanted`, resampled as they are decoded; nothing is decoded beyond the bounds."""
    rate, done = file.samplerate, 0
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise ValueError(f"inputs has a rate of {rate} Hz: give {LEAST_RATE} to {MOST_RATE} Hz")
    if file.channels > MOST_CHANNELS:
        raise ValueError(f"inputs has {file.channels} channels: give {MOST_CHANNELS} at most")
    most = min(MOST_SECONDS_HEARD * rate, MOST_SAMPLES // file.channels)
    # Only these state a length, and a FLAC from a pipe has the largest integer there is.
    states_length = file.format == "FLAC" or (file.format == "MP3" and re.search(b"Xing|Info", held[:65536]))
    stated = file.frames if states_length and file.frames < 2**62 else 0
    too_long = ValueError(
        f"inputs is longer than {most // rate} s, the most at {rate} Hz with {file.channels} channels: give a part "
        "of it, or a lower rate"
    )
    if stated > most:
        raise too_long
    stream = None if rate == wanted else soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ")
    while True:
        try:  # what stands behind a FLAC's samples (a tag, say) is no FLAC
            size = min(BLOCK, stated - done) if stated and file.format == "FLAC" else BLOCK
            block = file.read(size, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            if not done:
                raise
            break
        if not len(block):
            break
        done += len(block)
        if done > most:
            raise too_long
        mono = block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise ValueError("inputs holds samples that are no numbers: give a sound")
        yield mono if stream is None else stream.resample_chunk(mono)
    if not done:
        raise ValueError("inputs holds no samples: give a sound")
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
    if done < stated / 2:
        raise ValueError(f"inputs is cut off: {done / rate:.2f} s of {stated / rate:.2f} s can be read; send it again")


def _number(value: Any) -> Any:
    """The number that a text holds, for in an address all is text; whatever else is given, as it is."""
    for kind in (int, float) if isinstance(value, str) else ():
        try:
            return kind(value)
        except ValueError:
            pass
    return value


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MOST_SECONDS:
        raise ValueError(f"{name} is {_shown(value)}: give seconds above 0, {MOST_SECONDS} at most")
    return float(value)


def _shown(value: Any) -> str:
    """What was given, as far as it fits into a line."""
    try:
        text = repr(value)
    except ValueError:  # of a whole number with thousands of digits
        return "a number with thousands of digits"
    return text if len(text) <= 40 else f"{text[:40]}…"
