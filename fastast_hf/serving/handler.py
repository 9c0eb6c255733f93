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
            rate, config = self.extractor.sampling_rate, self.model.config
            parameters = checked(data.get("parameters") or {}, self.extractor, config)
            waveform = decoded(data.get("inputs"), rate)
            clips = [clip for _, clip in cut(waveform, parameters["window"], parameters["hop"], rate)]
            scores = scores_of(self._logits(clips, parameters["tome_r"]), parameters["activation"], config)
            return best_labels(pooled(scores, config), parameters, config)
        except ValueError as error:
            raise ValueError(one_line(error)) from None
        except Exception as error:  # how it came about is nothing to send to a stranger
            raise failure(error) from None

    @torch.inference_mode()
    def _logits(self, clips: list[np.ndarray], tome_r: int | list[int] | None) -> torch.Tensor:
        kwargs = {} if tome_r is None else {"tome_r": tome_r}
        logits = []
        for start in range(0, len(clips), BATCH):
            inputs = self.extractor(
                clips[start : start + BATCH],
                sampling_rate=self.extractor.sampling_rate,
                return_tensors="pt",
                device=self.model.device,
            )
            logits.append(self.model(**inputs, **kwargs).logits.float().cpu())
        return torch.cat(logits)


def checked(given: Any, extractor: Any, config: Any, known: tuple[str, ...] = PARAMETERS) -> dict[str, Any]:
    """What a request asks for, with what holds for the rest; window and hop in samples.

    Raises:
        ValueError: What is wrong with it.
    """
    if not isinstance(given, dict):
        raise ValueError(f"parameters is {type(given).__name__}: give an object with some of {', '.join(known)}")
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"unknown parameters: {', '.join(unknown)}; give some of {', '.join(known)}")
    given = {name: _number(value) for name, value in given.items() if value is not None}
    rate, longest = extractor.sampling_rate, extractor.samples_of(extractor.max_length)
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
        threshold = getattr(config, "thresholds", None)
        if threshold is None:
            raise ValueError("threshold is 'auto', and this model has no thresholds: give a score from 0 to 1")
    elif threshold is not None and (
        isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1
    ):
        raise ValueError(f"threshold is {_shown(threshold)}: give a score from 0 to 1, or 'auto'")
    asked = {"top_k": top_k, "tome_r": tome_r, "activation": activation, "threshold": threshold}
    return {**asked, "window": window, "hop": hop}


def cut(waveform: np.ndarray, window: int, hop: int, rate: int) -> list[tuple[int, np.ndarray]]:
    """Windows of a recording, each with the place of its first sample; the last one ends where the recording does.

    Raises:
        ValueError: They would be too many.
    """
    starts = range(0, max(1, len(waveform) - window + 1), hop)
    if len(starts) >= MOST_WINDOWS:
        raise ValueError(
            f"a window every {hop / rate:g} s makes more than {MOST_WINDOWS} of this recording: give a longer hop, or "
            "a shorter recording"
        )
    tail = [len(waveform) - window] if starts[-1] + window < len(waveform) else []
    return [(start, waveform[start : start + window]) for start in (*starts, *tail)]


def scores_of(logits: torch.Tensor, activation: str, config: Any) -> torch.Tensor:
    """Logits (B, labels) to scores; `"auto"` goes by the checkpoint, and takes sigmoids for AudioSet's labels."""
    problem = config.problem_type
    if activation == "auto" and problem == "regression":
        return logits
    alone = problem == "multi_label_classification" or (problem is None and logits.shape[1] == AUDIOSET_LABELS)
    sigmoid = alone if activation == "auto" else activation == "sigmoid"
    return logits.sigmoid() if sigmoid else logits.softmax(dim=-1)


def pooled(scores: torch.Tensor, config: Any) -> torch.Tensor:
    """One score (labels,) of those (windows, labels) of a recording's windows, as the checkpoint's training did."""
    if most := {"max": 1, "top3": 3}.get(getattr(config, "window_pool", "mean")):
        scores = scores.topk(min(most, len(scores)), dim=0).values
    return scores.mean(dim=0)


def best_labels(scores: torch.Tensor, parameters: dict[str, Any], config: Any) -> list[dict[str, Any]]:
    """The labels of the highest scores (labels,) that were asked for, the likeliest first.

    Raises:
        ValueError: A score is NaN or infinite.
    """
    if not scores.isfinite().all():
        raise ValueError("the scores are not finite: the samples are too large by far, scale them to [-1, 1]")
    if parameters["threshold"] is not None:
        scores = scores.masked_fill(scores < torch.tensor(parameters["threshold"]), -torch.inf)
    best = scores.topk(min(parameters["top_k"], len(scores)))
    pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [{"label": config.id2label[index], "score": score} for score, index in pairs if score > -torch.inf]


def one_line(error: Exception) -> str:
    """What a stranger is told of a request that is wrong."""
    return " ".join(str(error).split())


def failure(error: Exception) -> RuntimeError:
    """What a stranger is told of a failure that is not theirs; it goes to the log."""
    logger.error("the model failed", exc_info=error)
    return RuntimeError(f"the model failed on this input ({type(error).__name__})")


def decoded(inputs: Any, rate: int, most_seconds: float = MOST_SECONDS_HEARD) -> np.ndarray:
    """An audio file's bytes, base64 of them, or an open file, as mono float32 at `rate`; `most_seconds` at most.

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
            samples = np.concatenate([np.zeros(0, np.float32), *_blocks(file, inputs, rate, most_seconds)])
    except (soundfile.LibsndfileError, TypeError):  # TypeError: what it would take for headerless samples
        raise ValueError("inputs is no audio file that can be read: give wav, flac, ogg or mp3") from None
    if len(samples) < SHORTEST * rate:
        raise ValueError(f"inputs is a sound of {len(samples) / rate:g} s: give {SHORTEST:g} s or more")
    return samples


class _Stream(soundfile.SoundFile):
    """A file read from front to back: between reads soundfile seeks, which fails where a file is damaged."""

    def seekable(self) -> bool:
        return False


def _blocks(
    file: soundfile.SoundFile, held: bytes | bytearray, wanted: int, most_seconds: float
) -> Iterator[np.ndarray]:
    """Mono samples at the rate `wanted`, resampled as they are decoded; nothing is decoded beyond the bounds."""
    rate, done = file.samplerate, 0
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise ValueError(f"inputs has a rate of {rate} Hz: give {LEAST_RATE} to {MOST_RATE} Hz")
    if file.channels > MOST_CHANNELS:
        raise ValueError(f"inputs has {file.channels} channels: give {MOST_CHANNELS} at most")
    most = min(round(most_seconds * rate), MOST_SAMPLES // file.channels)
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
        with np.errstate(invalid="ignore", over="ignore"):  # which is told below
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
