"""The endpoint's handler, from a folder as it lies in a repository."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fastast_hf import FastASTForAudioClassification, Tagger
from fastast_hf.hub.handler import EndpointHandler
from fastast_hf.hub.publish import model_files


def encoded(seconds: float = 1.2, rate: int = 16000, form: str = "WAV", channels: int = 1) -> bytes:
    times = np.arange(round(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * (300 + 200 * times) * times)
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone] * channels, axis=1), rate, format=form)
    return file.getvalue()


@pytest.fixture
def handler(checkpoint: Path, tmp_path: Path) -> EndpointHandler:
    folder = tmp_path / "repository"
    folder.mkdir()
    for name, content in model_files(checkpoint, "me/tiny").items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return EndpointHandler(str(folder))


SOUNDS = [("WAV", 16000, 1), ("FLAC", 44100, 2), ("OGG", 48000, 1), ("MP3", 22050, 1)]


@pytest.mark.parametrize(("form", "rate", "channels"), SOUNDS)
def test_bytes_and_base64_of_any_format_give_the_taggers_labels(
    form: str, rate: int, channels: int, handler: EndpointHandler, checkpoint: Path
) -> None:
    sound = encoded(rate=rate, form=form, channels=channels)
    answer = handler({"inputs": sound})
    assert handler({"inputs": base64.b64encode(sound).decode()}) == answer
    assert handler({"inputs": "data:audio/wav;base64," + base64.b64encode(sound).decode()}) == answer
    samples, _ = soundfile.read(io.BytesIO(sound), dtype="float32", always_2d=True)
    expected = Tagger(str(checkpoint))((samples.mean(axis=1), rate))
    assert [label["label"] for label in answer] == [label["label"] for label in expected]
    assert [label["score"] for label in answer] == pytest.approx([label["score"] for label in expected], abs=1e-5)
    assert json.loads(json.dumps(answer)) == answer


def test_parameters_choose_labels_r_and_windows(handler: EndpointHandler) -> None:
    sound = encoded(seconds=4.0)
    whole = handler({"inputs": sound})
    assert handler({"inputs": sound, "parameters": {"top_k": 1}}) == whole[:1]
    merged = handler({"inputs": sound, "parameters": {"tome_r": 12}})
    assert merged != whole and {label["label"] for label in merged} == {label["label"] for label in whole}
    assert handler({"inputs": sound, "parameters": {"window": 1.0, "hop": 0.5}}) != whole


def test_windows_cover_the_recording(handler: EndpointHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    extractor = handler.extractor

    def listening(clips: list[np.ndarray], **kwargs: Any) -> Any:
        seen.extend(len(clip) for clip in clips)
        return extractor(clips, **kwargs)

    monkeypatch.setattr(handler, "extractor", listening)
    listening.sampling_rate, listening.max_length = extractor.sampling_rate, extractor.max_length  # type: ignore[attr-defined]
    handler({"inputs": encoded(seconds=2.5), "parameters": {"window": 1.0, "hop": 1.0}})
    assert seen == [16000, 16000, 8000]


REFUSED = [
    ({"inputs": b"no sound"}, "no audio file that can be read"),
    ({"inputs": "%%%"}, "not base64"),
    ({"inputs": 7}, "inputs is int"),
    ({"inputs": None}, "inputs is NoneType"),
    ({"inputs": b""}, "give the bytes of an audio file"),
    ({"inputs": encoded(0.0)}, "holds no samples"),
    ({"parameters": {"r": 3}}, "unknown parameters: r; give some of top_k, tome_r, window, hop"),
    ({"parameters": {"top_k": 0}}, "top_k is 0"),
    ({"parameters": {"tome_r": -1}}, "-1"),
    ({"parameters": {"tome_r": "many"}}, "many"),
    ({"parameters": {"window": 100}}, "window is 100 s and the model takes 1.28 s at most"),
    ({"parameters": {"hop": -1}}, "hop is -1: give seconds above 0"),
    ({"parameters": [1]}, "parameters is list: give an object with some of top_k"),
]


@pytest.mark.parametrize(("request_", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_done_is_said_in_json(request_: dict[str, Any], said: str, handler: EndpointHandler) -> None:
    answer = handler({"inputs": encoded()} | request_)
    assert list(answer) == ["error"] and said in answer["error"] and "Traceback" not in answer["error"]


def test_a_failure_within_is_no_stack_trace(handler: EndpointHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret path /home/me")

    monkeypatch.setattr(FastASTForAudioClassification, "forward", broken)
    assert handler({"inputs": encoded()}) == {"error": "the model failed on this input (RuntimeError)"}
