"""The endpoint's handler, from a folder as it lies in a repository."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
import soundfile
from huggingface_hub import InferenceClient, constants
from huggingface_hub.errors import HfHubHTTPError

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification, Tagger
from fastast_hf.hub.contents import model_files
from fastast_hf.serving.handler import EndpointHandler, decoded


def encoded(
    seconds: float = 1.2, rate: int = 16000, form: str = "WAV", channels: int = 1, loudness: float = 0.3
) -> bytes:
    times = np.arange(round(seconds * rate)) / rate
    tone = loudness * np.sin(2 * np.pi * (300 + 200 * times) * times)
    file = io.BytesIO()
    kind = "FLOAT" if loudness > 1 else None
    soundfile.write(file, np.stack([tone] * channels, axis=1), rate, format=form, subtype=kind)
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
    assert [label["score"] for label in answer] == pytest.approx([label["score"] for label in expected], abs=1e-6)
    assert json.loads(json.dumps(answer)) == answer


def test_parameters_choose_labels_r_and_windows(handler: EndpointHandler) -> None:
    sound = encoded(seconds=4.0)
    whole = handler({"inputs": sound})
    assert handler({"inputs": sound, "parameters": {"top_k": 1}}) == whole[:1]
    merged = handler({"inputs": sound, "parameters": {"tome_r": 12}})
    assert merged != whole and {label["label"] for label in merged} == {label["label"] for label in whole}
    assert handler({"inputs": sound, "parameters": {"window": 1.0, "hop": 0.5}}) != whole


@pytest.mark.parametrize("problem", [None, "single_label_classification", "multi_label_classification", "regression"])
@pytest.mark.parametrize("settings", [{}, {"activation": "sigmoid"}, {"activation": "sigmoid", "threshold": 0.4}])
def test_activation_and_threshold_mean_what_they_do_to_the_tagger(
    problem: str | None, settings: dict[str, Any], handler: EndpointHandler
) -> None:
    sound = encoded()
    handler.model.config.problem_type = problem
    tagger = Tagger(handler.model, feature_extractor=handler.extractor, **settings)
    expected = tagger({"bytes": sound, "path": "sound.wav"})
    assert handler({"inputs": sound, "parameters": settings}) == expected


def test_the_models_own_thresholds_hold_for_each_label(handler: EndpointHandler) -> None:
    handler.model.config.thresholds = [1.0, 0.0]
    asked = {"activation": "sigmoid", "threshold": "auto"}
    assert [label["label"] for label in handler({"inputs": encoded(), "parameters": asked})] == ["rain"]


LONGEST = 20720  # samples of the 128 frames that the checkpoint takes
LENGTHS = [400, 16000, LONGEST - 1, LONGEST, LONGEST + 1, LONGEST + 399, 20481, 40961, 41060, 2 * LONGEST + 1, 48000]


@pytest.mark.parametrize("length", LENGTHS)
def test_recordings_of_any_length_get_the_taggers_scores(
    length: int, handler: EndpointHandler, checkpoint: Path
) -> None:
    sound = encoded(seconds=length / 16000)
    samples, _ = soundfile.read(io.BytesIO(sound), dtype="float32")
    assert len(samples) == length
    assert handler({"inputs": sound}) == Tagger(str(checkpoint))((samples, 16000))


# Samples, window and hop in seconds, and where the windows begin.
WINDOWS = [
    (40000, {"window": 1.0, "hop": 1.0}, [0, 16000, 24000]),
    (40000, {"window": 1.0, "hop": 0.5}, [0, 8000, 16000, 24000]),
    (40000, {"window": 1.0}, [0, 16000, 24000]),
    (16001, {"window": "1.0", "hop": "1"}, [0, 1]),
    (16000, {"window": 1}, [0]),
    (400, {"window": 1}, [0]),
    (40000, {"hop": 1.2}, [0, 19200, 40000 - LONGEST]),
]


@pytest.mark.parametrize(("length", "parameters", "starts"), WINDOWS)
def test_windows_cover_the_recording_and_the_last_ends_with_it(
    length: int,
    parameters: dict[str, Any],
    starts: list[int],
    handler: EndpointHandler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[np.ndarray] = []
    extract = FastASTFeatureExtractor.__call__

    def listening(self: Any, clips: list[np.ndarray], **kwargs: Any) -> Any:
        heard.extend(clips)
        return extract(self, clips, **kwargs)

    monkeypatch.setattr(type(handler.extractor), "__call__", listening)
    sound = encoded(seconds=length / 16000)
    samples, _ = soundfile.read(io.BytesIO(sound), dtype="float32")
    handler({"inputs": sound, "parameters": parameters})
    size = min(length, round(float(parameters.get("window", LONGEST / 16000)) * 16000))
    assert len(heard) == len(starts)
    for clip, start in zip(heard, starts, strict=True):
        assert np.array_equal(clip, samples[start : start + size])


@pytest.mark.parametrize("r", [10**30, 10**400, [10**400, 4, 0]])
def test_an_r_beyond_all_tokens_merges_as_many_as_can_be(r: int | list[int], handler: EndpointHandler) -> None:
    most = [10**6, 4, 0] if isinstance(r, list) else 10**6
    sound = encoded()
    assert handler({"inputs": sound, "parameters": {"tome_r": r, "top_k": 10**400}}) == handler(
        {"inputs": sound, "parameters": {"tome_r": most}}
    )


def test_parameters_may_be_text_as_in_an_address_or_null(handler: EndpointHandler) -> None:
    sound = encoded(seconds=4.0)
    numbers = {"top_k": 1, "tome_r": 12, "window": 1.0, "hop": 0.5}
    texts = {"top_k": "1", "tome_r": "12", "window": "1.0", "hop": "5e-1"}
    assert handler({"inputs": sound, "parameters": texts}) == handler({"inputs": sound, "parameters": numbers})
    assert handler({"inputs": sound, "parameters": {"top_k": None, "hop": None}}) == handler({"inputs": sound})


def test_more_bytes_than_a_request_may_have_are_not_decoded(
    handler: EndpointHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastast_hf.serving.handler.MOST_BYTES", 2**20)
    monkeypatch.setattr("fastast_hf.serving.handler._Stream", None)  # it is not opened
    for large in (b"x" * (2**20 + 1), "x" * (2**21), io.BytesIO(b"x" * 2**21)):
        with pytest.raises(ValueError, match="inputs is larger than 1 MiB"):
            handler({"inputs": large})


@pytest.mark.parametrize(("rate", "channels", "most"), [(16000, 1, 3600), (192000, 8, 699), (655350, 1, 1638)])
def test_a_flac_bomb_is_refused_before_it_is_decoded(
    rate: int, channels: int, most: int, handler: EndpointHandler
) -> None:
    bomb = bytearray(encoded(0.1, rate, "FLAC", channels))
    stated = int.from_bytes(bomb[18:26], "big")
    bomb[18:26] = (stated >> 36 << 36 | (most + 1) * rate).to_bytes(8, "big")  # the length in its header
    with pytest.raises(ValueError, match=f"inputs is longer than {most} s, the most at {rate} Hz"):
        handler({"inputs": bytes(bomb)})


def test_decoding_stops_at_the_most_samples_of_all_channels(
    handler: EndpointHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastast_hf.serving.handler.MOST_SAMPLES", 2 * 16000)
    assert handler({"inputs": encoded(1.0, channels=2)})
    with pytest.raises(ValueError, match="inputs is longer than 0 s, the most at 16000 Hz with 4 channels"):
        handler({"inputs": encoded(1.0, channels=4)})


def test_of_a_high_rate_only_the_models_samples_are_held() -> None:
    bomb = encoded(10.0, 655350, "FLAC", loudness=0.0)
    assert len(bomb) < 2**15
    tracemalloc.start()
    samples = decoded(bomb, 16000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert samples.shape == (160000,) and peak < 2**22  # of the 26 MB that the file decodes to


TAGGED = encoded(seconds=1.2, form="FLAC") + b"TAG" + bytes(125)
DAMAGED = {"a tag behind it": TAGGED, "cut off": encoded(seconds=1.2, form="FLAC")[:-2000]}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_file_that_is_tagged_or_cut_off_gets_the_taggers_scores(
    case: str, handler: EndpointHandler, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.flac").write_bytes(DAMAGED[case])
    assert handler({"inputs": DAMAGED[case]}) == Tagger(str(checkpoint))(str(tmp_path / "a.flac"))


def test_an_open_file_and_base64_in_lines_are_read(handler: EndpointHandler, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encoded())
    with (tmp_path / "a.wav").open("rb") as file:
        assert handler({"inputs": file}) == handler({"inputs": encoded()})
    assert handler({"inputs": base64.encodebytes(encoded()).decode()}) == handler({"inputs": encoded()})


def test_a_text_is_no_path_or_address(
    handler: EndpointHandler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("clip.wav", "clip"):  # base64 could be called `clip`
        Path(name).write_bytes(encoded())
        with pytest.raises(ValueError, match=r"not base64|no audio file that can be read"):
            handler({"inputs": name})
    with pytest.raises(ValueError, match="not base64"):
        handler({"inputs": "http://127.0.0.1/clip.wav"})


REFUSED = [
    ({"inputs": b"no sound"}, "no audio file that can be read"),
    ({"inputs": "%%%"}, "not base64"),
    ({"inputs": "é"}, "not base64"),
    ({"inputs": 7}, "inputs is int"),
    ({"inputs": None}, "inputs is NoneType"),
    ({"inputs": b""}, "give the bytes of an audio file"),
    ({"inputs": encoded(0.0)}, "holds no samples"),
    ({"inputs": encoded(20.0, rate=999)}, "inputs has a rate of 999 Hz: give 1000 to 768000 Hz"),
    ({"inputs": encoded(20.0, rate=1)}, "inputs has a rate of 1 Hz: give 1000 to 768000 Hz"),
    ({"inputs": encoded(0.1, rate=800_000)}, "inputs has a rate of 800000 Hz"),
    ({"inputs": encoded(0.1, channels=65)}, "inputs has 65 channels: give 64 at most"),
    ({"inputs": encoded(3601.0, rate=1000, form="FLAC", loudness=0.0)}, "inputs is longer than 3600 s"),
    ({"inputs": encoded(3601.0, rate=1000)}, "inputs is longer than 3600 s"),
    ({"inputs": encoded(5.0, form="FLAC")[:9000]}, "inputs is cut off:"),
    ({"inputs": encoded(399 / 16000)}, "inputs is a sound of 0.0249375 s: give 0.025 s or more"),
    ({"inputs": encoded(loudness=1e38)}, "the scores are not finite"),
    ({"parameters": {"r": 3}}, "unknown parameters: r; give some of top_k, tome_r, window, hop, activation, "),
    ({"parameters": {"top_k": 0}}, "top_k is 0"),
    ({"parameters": {"top_k": "2.5"}}, "top_k is 2.5: give a whole number from 1"),
    ({"parameters": {"tome_r": -1}}, "tome_r is -1: give a whole number from 0"),
    ({"parameters": {"tome_r": "many"}}, "tome_r is 'many': give a whole number from 0"),
    ({"parameters": {"tome_r": "8.0"}}, "tome_r is 8.0: give a whole number from 0, or a list of one per layer"),
    ({"parameters": {"tome_r": [8, 1.5, 0]}}, "tome_r is [8, 1.5, 0]: give a whole number"),
    ({"parameters": {"tome_r": True}}, "tome_r is True: give a whole number"),
    ({"parameters": {"tome_r": [8]}}, "tome_r"),  # for three layers
    ({"parameters": {"activation": "relu"}}, "activation is 'relu': give one of auto, softmax, sigmoid"),
    ({"parameters": {"threshold": "2"}}, "threshold is 2: give a score from 0 to 1, or 'auto'"),
    ({"parameters": {"threshold": [0.5]}}, "threshold is [0.5]: give a score"),
    ({"parameters": {"threshold": "auto"}}, "this model has no thresholds: give a score"),
    ({"parameters": {"window": 1e308}}, "window is 1e+308: give seconds above 0, 86400 at most"),
    ({"parameters": {"hop": 10**400}}, f"hop is {10**39}…: give seconds above 0, 86400 at most"),
    ({"parameters": {"hop": -(10**5000)}}, ": give seconds above 0, 86400 at most"),
    ({"parameters": {"window": "1" + "0" * 400}}, "…: give seconds above 0, 86400 at most"),
    ({"parameters": {"window": 100}}, "window is 100 s: the model takes 0.025 to 1.295 s"),
    ({"parameters": {"window": 0.001}}, "window is 0.001 s: the model takes 0.025 to 1.295 s"),
    ({"parameters": {"window": "nan"}}, "window is nan: give seconds above 0"),
    ({"parameters": {"hop": -1}}, "hop is -1: give seconds above 0"),
    ({"parameters": {"hop": "soon"}}, "hop is 'soon': give seconds above 0"),
    ({"inputs": encoded(3.0), "parameters": {"hop": 1e-9}}, "makes more than 4096 of this recording"),
    ({"parameters": [1]}, "parameters is list: give an object with some of top_k"),
]


@pytest.mark.parametrize(("request_", "said"), REFUSED, ids=[said[:60] for _, said in REFUSED])
def test_what_cannot_be_done_is_raised_in_one_line(
    request_: dict[str, Any], said: str, handler: EndpointHandler
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        handler({"inputs": encoded()} | request_)
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is None and raised.value.__suppress_context__


def test_a_failure_within_says_nothing_of_the_machine(
    handler: EndpointHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("secret path /home/me")

    monkeypatch.setattr(FastASTForAudioClassification, "forward", broken)
    with pytest.raises(RuntimeError, match=r"^the model failed on this input \(OSError\)$") as raised:
        handler({"inputs": encoded()})
    assert raised.value.__suppress_context__


@pytest.fixture
def endpoint(handler: EndpointHandler) -> Iterator[str]:
    """A server that calls the handler as Inference Endpoints do: what it raises is their 400."""

    class Request(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            data = json.loads(body) if self.headers["Content-Type"] == "application/json" else {"inputs": body}
            if query := dict(parse_qsl(urlsplit(self.path).query)):
                data.setdefault("parameters", query)
            try:
                status, answer = 200, handler(data)
            except Exception as error:
                status, answer = 400, {"error": str(error)}  # type: ignore[assignment]
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_hubs_client_reads_labels_and_errors(
    endpoint: str, handler: EndpointHandler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    sound, text = tmp_path / "a.wav", tmp_path / "b.wav"
    sound.write_bytes(encoded())
    text.write_bytes(b"no sound")
    client = InferenceClient(model=endpoint)
    for top_k in (None, 1):  # as bytes, and as JSON
        labels = client.audio_classification(sound, top_k=top_k)
        expected = handler({"inputs": encoded(), "parameters": {"top_k": top_k}})
        assert [(label.label, label.score) for label in labels] == [(e["label"], e["score"]) for e in expected]
        with pytest.raises(HfHubHTTPError, match="no audio file that can be read") as raised:
            client.audio_classification(text, top_k=top_k)
        assert raised.value.response.status_code == 400
    client = InferenceClient(model=f"{endpoint}?top_k=1&window=1.0")
    assert len(client.audio_classification(sound)) == 1
