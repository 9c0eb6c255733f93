"""A server that is full, slow or broken, without a network: what its clients are told."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import sound, tiny_checkpoint

from fastast_hf import Tagger
from fastast_hf.serving.app import make_app
from fastast_hf.serving.service import Limits, Service


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Tagger:
    return Tagger(tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny"))


def client_of(service: Service) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(make_app(service), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://server")


def test_a_full_queue_answers_503_and_when_to_try_again(tagger: Tagger) -> None:
    go = threading.Event()

    async def filled() -> None:
        service = Service(tagger, Limits(queue=2))
        waiting = asyncio.create_task(service.batcher.run(go.wait))
        async with client_of(service) as client:
            taken = [asyncio.create_task(client.post("/classify", content=sound(n))) for n in range(2)]
            while not service.full:
                await asyncio.sleep(0.01)
            for method, path in (("POST", "/classify"), ("POST", "/embed"), ("GET", "/ready")):
                answer = await client.request(method, path, content=sound(3))
                assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
                assert answer.json() == {"error": "too many requests are waiting: try again in a second"}
            assert (await client.get("/health")).is_success
            go.set()
            assert [answer.status_code for answer in await asyncio.gather(*taken)] == [200, 200]
            assert (await client.post("/classify", content=sound(3))).is_success
        await waiting

    asyncio.run(filled())


def test_an_answer_that_takes_too_long_is_504_and_gives_its_place_back(tagger: Tagger) -> None:
    go = threading.Event()

    async def slow() -> None:
        service = Service(tagger, Limits(queue=1, timeout=0.2))
        waiting = asyncio.create_task(service.batcher.run(go.wait))
        async with client_of(service) as client:
            answer = await client.post("/classify", content=sound(1))
            assert answer.status_code == 504 and "no answer within 0.2 s" in answer.text
            go.set()
            await waiting
        assert not service.full

    asyncio.run(slow())


@pytest.mark.parametrize("broken", ["run", "input_frames"])
def test_a_failure_within_says_nothing_of_the_machine(
    broken: str, tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("secret path /home/me")

    monkeypatch.setattr(tagger, broken, fail)

    async def failing() -> None:
        async with client_of(Service(tagger, Limits())) as client:
            answer = await client.post("/classify", content=sound(1))
            assert answer.status_code == 500
            assert answer.json() == {"error": "the model failed on this input (OSError)"}

    asyncio.run(failing())


def test_bodies_under_way_share_a_bound(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastast_hf.serving.bodies.MOST_HELD", 100_000)

    async def loaded() -> None:
        async def endless() -> Any:
            while not done.is_set():
                yield bytes(60_000 - sent["bytes"])
                sent["bytes"] = 60_000
                await asyncio.sleep(0.01)

        done, sent = asyncio.Event(), {"bytes": 0}
        async with client_of(Service(tagger, Limits())) as client:
            first = asyncio.create_task(client.post("/classify", content=endless()))
            while not sent["bytes"]:
                await asyncio.sleep(0.01)
            assert (await client.post("/classify", content=bytes(60_000))).status_code == 503
            done.set()
            assert (await first).status_code == 400
            assert (await client.post("/classify", content=bytes(60_000))).status_code == 400

    asyncio.run(loaded())


def test_an_exported_file_gives_labels_and_no_vectors(tagger: Tagger, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from fastast_hf.onnx.export import export_onnx

    export_onnx(str(tagger.model.config.name_or_path), tmp_path / "tiny.onnx")
    exported = Tagger(tmp_path / "tiny.onnx")

    async def asked() -> None:
        async with client_of(Service(exported, Limits())) as client:
            answer = await client.post("/classify", content=sound(1))
            assert answer.json()[0]["label"] == exported(sound(1))[0]["label"]
            for path, parameters in (("/embed", {}), ("/classify", {"tome_r": 3})):
                answer = await client.post(path, content=sound(1), params=parameters)
                assert answer.status_code == 400, answer.text
            assert (await client.get("/info")).json()["model"] == "tiny.onnx"

    asyncio.run(asked())
