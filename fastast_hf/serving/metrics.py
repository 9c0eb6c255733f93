"""What Prometheus reads of a server."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

# Where the workers of one server leave their counts; prometheus_client reads it when it is imported.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """Requests, their seconds, batches and the queue; of all workers, where there are several."""

    def __init__(self, queue_most: int) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("fastast_requests", "Answered", ["path", "status"], registry=registry)
        self.seconds = Histogram("fastast_request_seconds", "From request to answer", ["path"], registry=registry)
        sizes = [2**power for power in range(9)]
        self.batch = Histogram("fastast_batch_windows", "Windows of a batch", buckets=sizes, registry=registry)
        gauge = partial(Gauge, multiprocess_mode="livesum", registry=registry)
        self.queue = gauge("fastast_queue", "Requests that are decoded, wait or are computed")
        gauge("fastast_queue_most", "With more of them, answers are 503").set(queue_most)
        ProcessCollector(registry=registry)

    def text(self) -> bytes:
        """In Prometheus' format."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        forget_the_dead(Path(os.environ[FOLDER]))
        of_all = CollectorRegistry()
        MultiProcessCollector(of_all)
        return generate_latest(of_all)


def forget_the_dead(folder: Path) -> None:
    """What workers that were killed had in their queues waits no longer."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker was faster
                mark_process_dead(pid)


class Metered:
    """An app whose requests are counted.

    Args:
        app: Answers them.
        metrics: Counts them.
        paths: The paths that are counted apart; strangers can ask for any number of others.
    """

    def __init__(self, app: Any, metrics: Metrics, paths: Collection[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, frozenset(paths)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path = scope["path"] if scope["path"] in self._paths else "other"
        begun, status = perf_counter(), 500

        async def sending(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(perf_counter() - begun)
