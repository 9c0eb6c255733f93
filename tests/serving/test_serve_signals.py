"""A server that is ended, or whose processes are killed, while requests are under way."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_scripts import TIMEOUT
from served import Served, served, sound, tiny_checkpoint

LONG = {"hop": 0.05, "top_k": 1}
UNDER_WAY = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny")


async def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def interrupted(running: Served, number: int, target: int | None = None) -> list[Any]:
    """The answers, or errors, to requests that are under way when a process gets a signal."""

    def queued() -> float:
        text = httpx.get(f"{running.url}/metrics", timeout=TIMEOUT).text
        return float(re.search(r"^fastast_queue (.+)$", text, re.MULTILINE)[1])

    async with httpx.AsyncClient(timeout=TIMEOUT, params=LONG) as client:
        bodies = [sound(which, 20.0, "FLAC") for which in range(UNDER_WAY)]
        tasks = [asyncio.create_task(client.post(f"{running.url}/classify", content=body)) for body in bodies]
        while await asyncio.to_thread(queued) < UNDER_WAY:
            assert not any(task.done() for task in tasks)
        os.kill(target or running.process.pid, number)
        return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_what_was_taken_is_answered_before_the_end(number: int, folder: Path) -> None:
    with served("--model", folder) as running:
        answers = asyncio.run(interrupted(running, number))
        assert [answer.status_code for answer in answers] == [200] * UNDER_WAY
        assert {len(answer.json()) for answer in answers} == {376}
        _, said = running.process.communicate(timeout=TIMEOUT)
        assert "Traceback" not in said
        assert running.process.returncode in (-signal.SIGTERM, 130)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{running.url}/health")


@pytest.mark.slow
def test_after_kill_9_clients_are_told_and_the_port_is_free(folder: Path) -> None:
    with served("--model", folder) as running:
        port = running.url.rpartition(":")[2]
        answers = asyncio.run(interrupted(running, signal.SIGKILL))
        assert all(isinstance(answer, httpx.TransportError) for answer in answers)
    with served("--model", folder, "--port", port) as again:
        assert again.url == running.url
        assert httpx.post(f"{again.url}/classify", content=sound(1), timeout=TIMEOUT).is_success


def workers_of(pid: int) -> set[int]:
    """The processes of a server that answer."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()}


def gone(pids: set[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


async def ready(running: Served, workers: int) -> None:
    """Wait until so many answer."""
    most = f"\nfastast_queue_most {128 * workers:.1f}\n"
    await until(lambda: most in httpx.get(f"{running.url}/metrics", timeout=TIMEOUT).text)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_a_worker_that_is_killed_is_replaced_and_the_others_go_on(folder: Path) -> None:
    async def killed(running: Served) -> None:
        pid = running.process.pid
        await ready(running, 2)
        first = workers_of(pid)
        assert len(first) == 2
        answers = await interrupted(running, signal.SIGKILL, min(first))
        lost = [answer for answer in answers if isinstance(answer, httpx.TransportError)]
        assert all(answer.status_code == 200 for answer in answers if answer not in lost)
        await until(lambda: len(workers_of(pid) - {min(first)}) == 2)
        await ready(running, 2)
        assert "\nfastast_queue 0.0\n" in httpx.get(f"{running.url}/metrics").text
        second = workers_of(pid)
        answers = await interrupted(running, signal.SIGTERM)
        assert [answer.status_code for answer in answers] == [200] * UNDER_WAY
        await until(lambda: running.process.poll() is not None and gone(first | second))

    with served("--model", folder, "--workers", 2) as running:
        asyncio.run(killed(running))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_workers_end_when_their_parent_is_killed(folder: Path) -> None:
    async def orphaned(running: Served) -> None:
        await ready(running, 2)
        workers = workers_of(running.process.pid)
        running.process.kill()
        await until(lambda: gone(workers))

    with served("--model", folder, "--workers", 2) as running:
        asyncio.run(orphaned(running))
