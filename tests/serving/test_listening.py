"""`WS /listen`: sound in blocks of any length, results as they are known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import tiny_checkpoint
from starlette.testclient import TestClient, WebSocketDenialResponse

from fastast_hf import Tagger
from fastast_hf.serving.app import make_app
from fastast_hf.serving.service import Limits, Service


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    app = make_app(Service(Tagger(folder), Limits(queue=1, timeout=2.0)), ["secret"])
    with TestClient(app, headers={"Authorization": "Bearer secret"}) as opened:
        yield opened


def heard(client: TestClient, asked: str, blocks: list[bytes]) -> list[dict[str, Any]]:
    """All results."""
    results = []
    with client.websocket_connect(f"/listen{asked}") as socket:
        for block in blocks:
            socket.send_bytes(block)
        socket.send_text("end")
        while (message := socket.receive())["type"] == "websocket.send":
            results.append(json.loads(message["text"]))
    assert message["code"] == 1000
    return results


SAMPLES = (8000 * np.sin(np.arange(50000) ** 1.3 / 40)).astype("<i2")
STEREO = np.stack([SAMPLES, SAMPLES // 2], axis=1)
SOUNDS = [
    ("?window=1&hop=0.5", SAMPLES, 1, 16000, {"window": 1.0, "hop": 0.5}),
    ("?pcm=f32le&rate=22050&channels=2&hop=0.7", (STEREO / 32768).astype("<f4"), 2, 22050, {"hop": 0.7}),
    ("", SAMPLES, 1, 16000, {"hop": 0.5}),
]


@pytest.mark.parametrize(("asked", "samples", "channels", "rate", "settings"), SOUNDS, ids=[s[0] for s in SOUNDS])
def test_the_results_are_the_taggers_timeline(
    asked: str, samples: Any, channels: int, rate: int, settings: Any, client: TestClient, folder: Path
) -> None:
    tagger = Tagger(folder)
    expected = list(tagger.timeline((samples, rate), **settings))
    for most in (300, 70000):  # samples of a message
        blocks = [samples[start : start + most].tobytes() for start in range(0, len(samples), most)]
        results = heard(client, asked, blocks)
        assert [result["time"] for result in results] == pytest.approx([moment.time for moment in expected])
        for result, moment in zip(results, expected, strict=True):
            given = {label["label"]: label["score"] for label in result["labels"]}
            assert given == pytest.approx(
                dict(zip(tagger.label_names(), moment.scores.tolist(), strict=True)), abs=1e-5
            )


REFUSED = [
    ("?rate=1", 400, "rate is '1': give a whole number from 1000 to 768000"),
    ("?pcm=mp3", 400, "pcm is 'mp3': give one of s16le, f32le"),
    ("?window=9", 400, "window is 9 s: the model takes 0.025 to 1.295 s"),
    ("?hop=1.2&window=1", 400, "hop is 1.2 s"),
    ("?path=x", 400, "unknown parameters: path"),
]


@pytest.mark.parametrize(("asked", "status", "said"), REFUSED)
def test_what_cannot_be_done_is_refused_before_it_begins(
    asked: str, status: int, said: str, client: TestClient
) -> None:
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(f"/listen{asked}"):
        pass
    assert refused.value.status_code == status and said in refused.value.json()["error"]


def test_a_key_and_a_place_are_needed(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("/listen", headers={"Authorization": "Bearer no"}),
    ):
        pass
    assert refused.value.status_code == 401
    with client.websocket_connect("/listen"):
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/listen"):
            pass
        assert refused.value.status_code == 503 and refused.value.headers["Retry-After"] == "1"
    assert len(heard(client, "", [SAMPLES.tobytes()])) == 5  # who has left gives the place back


@pytest.mark.parametrize(
    ("asked", "block", "code", "said"),
    [
        ("", b"123", 1007, "a part of a sample"),
        ("?pcm=f32le", np.full(9, np.nan, "<f4").tobytes(), 1007, "the sound: "),
        ("", b"", 1001, "no sound for 2 s"),
    ],
)
def test_what_goes_wrong_on_the_way_is_said_before_the_end(
    asked: str, block: bytes, code: int, said: str, client: TestClient
) -> None:
    with client.websocket_connect(f"/listen{asked}") as socket:
        socket.send_bytes(block)
        assert said in socket.receive_json()["error"]
        assert socket.receive()["code"] == code
