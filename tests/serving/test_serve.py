"""`fastast serve` as its clients see it: a process, and HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import InferenceClient, constants
from running_scripts import ROOT
from served import Served, served, sound, tiny_checkpoint

from fastast_hf import Tagger
from fastast_hf.serving.handler import EndpointHandler

LIMITS = ("--max-bytes", 400_000, "--max-seconds", 20, "--timeout", 300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    with served("--model", folder, *LIMITS) as running:
        yield running


KEY = {"Authorization": "Bearer first"}


@pytest.fixture(scope="module")
def guarded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that asks for a key, and waits for requests not long."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("first\nsecond\n")
    with served("--model", folder, "--api-key-file", keys, "--timeout", 5) as running:
        yield running


@pytest.fixture(scope="module")
def handler(folder: Path) -> EndpointHandler:
    return EndpointHandler(str(folder))


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as opened:
        yield opened


def as_json(body: bytes, **parameters: Any) -> dict[str, Any]:
    return {"inputs": base64.b64encode(body).decode(), "parameters": parameters}


def check_close(answer: Any, expected: Any) -> None:
    """The same labels in the same order, with the same scores but for rounding."""
    assert [label["label"] for label in answer] == [label["label"] for label in expected]
    assert [label["score"] for label in answer] == pytest.approx([label["score"] for label in expected], abs=1e-5)


PARAMETERS: list[dict[str, Any]] = [
    {},
    {"top_k": 2, "tome_r": 0},
    {"tome_r": [8, 0, 2], "activation": "sigmoid"},
    {"threshold": 0.3},
]


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_bytes_a_form_and_json_get_what_the_endpoint_answers(
    parameters: dict[str, Any], client: httpx.Client, handler: EndpointHandler
) -> None:
    body = sound(7)
    expected = handler({"inputs": body, "parameters": parameters})
    check_close(client.post("/classify", json=as_json(body, **parameters)).json(), expected)
    if not isinstance(parameters.get("tome_r"), list):
        check_close(client.post("/classify", content=body, params=parameters).json(), expected)
        form = client.post("/classify", files={"inputs": ("x.wav", body)}, data=parameters)
        check_close(form.json(), expected)


def test_the_hubs_client_reads_labels(
    server: Served, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    (tmp_path / "a.wav").write_bytes(sound(3))
    expected = Tagger(folder)(sound(3))
    for top_k in (None, 2):  # as bytes, and as JSON
        labels = InferenceClient(model=f"{server.url}/classify").audio_classification(tmp_path / "a.wav", top_k=top_k)
        check_close([vars(label) for label in labels], expected[:top_k])


def test_with_a_window_or_hop_the_answer_is_the_taggers_timeline(client: httpx.Client, folder: Path) -> None:
    body = sound(8, 3.3)
    tagger = Tagger(folder)
    for asked in ({"window": 1.0, "hop": 0.5}, {"hop": 1.1}, {"window": 0.8}, {"window": 1.29}):
        answer = client.post("/classify", content=body, params=asked).json()
        expected = list(tagger.timeline(body, **asked))
        times = [[moment[name] for name in ("time", "start", "end")] for moment in answer]
        assert times == [pytest.approx([moment.time, moment.start, moment.end]) for moment in expected]
        for moment, known in zip(answer, expected, strict=True):
            given = {label["label"]: label["score"] for label in moment["labels"]}
            scores = dict(zip(tagger.label_names(), known.scores.tolist(), strict=True))
            assert given == pytest.approx(scores, abs=1e-5)


def test_embed_gives_the_mean_of_what_the_head_sees(client: httpx.Client, folder: Path) -> None:
    tagger, body = Tagger(folder), sound(5, 3.0)
    encoder = tagger.model.audio_spectrogram_transformer
    for tome_r in (None, 0):
        vectors = tagger.run(list(tagger.windows(body)), lambda inputs: encoder(**inputs).pooler_output, tome_r)
        answer = client.post("/embed", json=as_json(body, **({} if tome_r is None else {"tome_r": tome_r}))).json()
        assert len(vectors) == 3
        assert answer == pytest.approx((sum(vectors) / 3).tolist(), abs=1e-5)


BROKEN = b"RIFF no sound"
JSON = {"Content-Type": "application/json"}
REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"content": BROKEN}, 400, "inputs is no audio file that can be read"),
    ({"content": b""}, 400, "inputs is empty"),
    ({"content": bytes(400_001)}, 413, "the request is larger than 400000 bytes"),
    ({"content": (bytes(1000) for _ in range(401))}, 413, "the request is larger than 400000 bytes"),
    ({"content": sound(1, 21.0, "OGG")}, 400, "inputs is longer than 20 s"),
    ({"content": sound(1), "params": {"top_k": 0}}, 400, "top_k is 0: give a whole number from 1"),
    ({"content": sound(1), "params": {"r": 3}}, 400, "unknown parameters: r"),
    ({"content": sound(1), "params": {"window": 1, "hop": 1.2}}, 400, "hop is 1.2 s: give at most the window's 1 s"),
    ({"json": as_json(sound(1), tome_r=[1])}, 400, "tome_r"),
    ({"json": {"inputs": "/etc/passwd"}}, 400, "inputs is"),
    ({"json": {"inputs": "http://127.0.0.1/x.wav"}}, 400, "not base64"),
    ({"json": {"inputs": {"path": "/etc/passwd"}}}, 400, "inputs is dict"),
    ({"json": {"inputs": as_json(sound(1))["inputs"], "parameters": 3}}, 400, "parameters is int"),
    ({"json": [1]}, 400, "the body is no JSON object"),
    ({"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400, "the body is no JSON"),
    (
        {"content": b'{"inputs": ' + b"1" * 9999 + b"}", "headers": {"Content-Type": "application/json"}},
        400,
        "no JSON",
    ),
    ({"files": {"file": BROKEN}}, 400, "unknown parameters: file"),
    ({"files": [("inputs", BROKEN), ("other", BROKEN)]}, 400, "the form cannot be read"),
    ({"content": BROKEN, "headers": {"Content-Type": "multipart/form-data"}}, 400, "the form cannot be read"),
]


@pytest.mark.parametrize(("request_", "status", "said"), REFUSED, ids=[said[:40] for _, _, said in REFUSED])
def test_what_cannot_be_done_is_said_in_a_line(
    request_: dict[str, Any], status: int, said: str, client: httpx.Client
) -> None:
    answer = client.post("/classify", **request_)
    assert answer.status_code == status, answer.text
    (line,) = answer.json().values()
    assert said in line
    assert "\n" not in line and "Traceback" not in line and "site-packages" not in line


def test_other_addresses_and_methods_are_refused_in_the_same_form(client: httpx.Client) -> None:
    assert client.get("/nowhere").json() == {"error": "Not Found"}
    assert client.get("/classify").status_code == 405
    assert client.post("/embed", content=sound(1), params={"top_k": 1}).json()["error"].startswith("unknown param")


async def many(url: str, expected: dict[int, Any], clients: int, rounds: int) -> int:
    """Clients that send sounds of all kinds, bad ones among them, and check each answer; how many were answered."""
    answered = 0

    async def client(first: int) -> None:
        nonlocal answered
        async with httpx.AsyncClient(timeout=300) as session:
            for number in (first + clients * turn for turn in range(rounds)):
                which, body = number % len(expected), sound(number % len(expected))
                if number % 5 == 4:
                    answer = await session.post(url, content=body[: 20 + number % 20])
                    assert answer.status_code == 400, answer.text
                else:
                    send = {"json": as_json(body)} if number % 2 else {"files": {"inputs": body}}
                    answer = await session.post(url, **send)
                    assert answer.status_code == 200, answer.text
                    check_close(answer.json(), expected[which])
                answered += 1

    await asyncio.gather(*map(client, range(clients)))
    return answered


def test_64_clients_at_once_get_each_their_own_answer(server: Served, folder: Path) -> None:
    tagger = Tagger(folder)
    expected = {number: tagger(sound(number)) for number in range(24)}
    assert asyncio.run(many(f"{server.url}/classify", expected, 64, 3)) == 64 * 3


@pytest.mark.slow
def test_64_clients_for_minutes_get_their_own_answers_and_memory_stays_flat(server: Served, folder: Path) -> None:
    tagger = Tagger(folder)
    expected = {number: tagger(sound(number)) for number in range(96)}

    def resident() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    asyncio.run(many(f"{server.url}/classify", expected, 64, 10))
    before = resident()
    asyncio.run(many(f"{server.url}/classify", expected, 64, 150))
    assert resident() < 1.1 * before


async def drip(url: str, clients: int) -> None:
    """Send the beginnings of requests, then those of another client; the slow ones are told so in the end."""
    host, port = url.rpartition("//")[2].split(":")
    head = "POST /classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer first\r\nContent-Length: 100000\r\n\r\nRIFF"
    slow = [await asyncio.open_connection(host, int(port)) for _ in range(clients)]
    for _, writer in slow:
        writer.write(head.encode())
        await writer.drain()
    async with httpx.AsyncClient(timeout=30, headers=KEY) as session:
        for number in range(3):
            answer = await session.post(f"{url}/classify", content=sound(number))
            assert answer.status_code == 200
            for _, writer in slow:
                writer.write(b"x")
    for reader, writer in slow:
        assert b" 408 " in await reader.readline()
        writer.close()


@pytest.mark.parametrize("clients", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_clients_whose_bytes_drip_do_not_stop_others(clients: int, guarded: Served) -> None:
    asyncio.run(drip(guarded.url, clients))


def test_metrics_count_requests_batches_and_the_queue(client: httpx.Client) -> None:
    client.post("/classify", content=sound(1))
    client.post("/classify", content=BROKEN)
    text = client.get("/metrics").text
    for name in (
        'fastast_requests_total{path="/classify",status="200"}',
        'fastast_requests_total{path="/classify",status="400"}',
        'fastast_request_seconds_count{path="/classify"}',
        "fastast_batch_windows_count",
        "process_resident_memory_bytes",
    ):
        assert float(re.search(rf"^{re.escape(name)} (.+)$", text, re.MULTILINE)[1]) > 0, name
    assert "\nfastast_queue 0.0\n" in text and "\nfastast_queue_most 128.0\n" in text


def test_info_says_what_is_served_and_no_path(client: httpx.Client, folder: Path) -> None:
    info = client.get("/info").json()
    assert info["model"] == "tiny" and len(info["labels"]) == 5 and str(folder) not in json.dumps(info)
    assert info["merging"] == {"tome_r": [4, 4, 4], "tokens": [50, 46, 42]}
    assert info["limits"]["max_bytes"] == 400_000 and info["limits"]["queue"] == 128
    assert client.get("/health").status_code == client.get("/ready").status_code == 200


def test_with_a_file_of_keys_one_of_them_is_asked_for(guarded: Served) -> None:
    with httpx.Client(base_url=guarded.url, timeout=60) as client:
        for key in (None, "wrong", "firstsecond", "é"):
            headers = {"Authorization": f"Bearer {key}".encode()} if key else {}
            for method, path in (("POST", "/classify"), ("POST", "/embed"), ("GET", "/info"), ("GET", "/metrics")):
                answer = client.request(method, path, headers=headers)
                assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
        for key in ("first", "second"):
            assert client.post("/classify", content=sound(1), headers={"Authorization": f"Bearer {key}"}).is_success
        assert client.get("/health").is_success and client.get("/ready").is_success and client.get("/docs").is_success


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_sends_a_file_in_its_ways(server: Served, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "dog.wav").write_bytes(sound(2, 2.0, "WAV"))
    expected = Tagger(folder)(tmp_path / "dog.wav")
    for ways in (["--data-binary", "@dog.wav"], ["-F", "inputs=@dog.wav"], ["-T", "dog.wav", "-X", "POST"]):
        address = f"{server.url}/classify"
        done = subprocess.run(["curl", "-sS", *ways, address], cwd=tmp_path, capture_output=True, check=True)
        check_close(json.loads(done.stdout), expected)
    (tmp_path / "long.wav").write_bytes(bytes(3_000_000))
    status = ["curl", "-sS", "-o", "said", "-w", "%{http_code}", "--data-binary", "@long.wav", address]
    assert subprocess.run(status, cwd=tmp_path, capture_output=True, check=True).stdout == b"413"


def blocks(language: str) -> list[str]:
    """Of the page."""
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_pages_curl_lines_are_answered(server: Served, guarded: Served, tmp_path: Path) -> None:
    (tmp_path / "dog.wav").write_bytes(sound(2, 2.0, "WAV"))
    (tmp_path / "keys").write_text("first\n")
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("curl ")]
    assert len(lines) > 5
    for line in lines:
        url = guarded.url if "keys" in line else server.url
        command = line.replace("http://127.0.0.1:8000", url).replace("curl ", "curl -sS --fail-with-body ")
        done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and json.loads(done.stdout), (line, done)


def test_the_pages_clients_get_labels(server: Served, folder: Path, tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(block, names)
    (tmp_path / "dog.wav").write_bytes(sound(2, 2.0, "WAV"))
    expected = Tagger(folder, top_k=2)(tmp_path / "dog.wav")
    check_close(names["Client"](server.url).classify(tmp_path / "dog.wav", top_k=2), expected)
    heard = list(names["listen"]([bytes(8000)] * 10, server.url.replace("http", "ws")))
    assert [len(moment["labels"]) for moment in heard] == [1] * len(heard) and len(heard) == 4


def test_the_page_of_docs_tries_requests_without_a_network(server: Served, browser: Any, tmp_path: Path) -> None:
    (tmp_path / "dog.wav").write_bytes(sound(2, 1.0, "WAV"))
    browser.get(f"{server.url}/docs")
    browser.implicitly_wait(30)
    browser.find_element("css selector", "#operations-default-classify_classify_post .opblock-summary").click()
    browser.find_element("css selector", ".try-out__btn").click()
    browser.find_element("css selector", "input[type=file]").send_keys(str(tmp_path / "dog.wav"))
    browser.find_element("css selector", "button.execute").click()
    answer = browser.find_element("css selector", ".live-responses-table .response-col_description pre").text
    assert '"label"' in answer and '"score"' in answer
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert loaded and all(name.startswith((server.url, "data:")) for name in loaded)
