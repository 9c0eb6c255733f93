"""Windows of many requests in batches through one model."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from torch import Tensor

Compute = Callable[[Hashable, list[np.ndarray]], Sequence[Tensor]]


class Batcher:
    """Batches what waits while the model computes, so that nobody waits for a batch to fill.

    A batch takes one window of each request in turn, until it is full: a long recording does not hold up short ones.
    Windows share a batch only where their keys are equal.

    Args:
        compute: A key and at most `size` windows to a row for each. It runs in a thread, one call at a time.
        size: Windows of a batch.
        observe: Is told the size of each batch.
    """

    def __init__(self, compute: Compute, size: int, observe: Callable[[int], Any] = lambda _: None) -> None:
        self._compute, self._size, self._observe = compute, size, observe
        self._jobs: deque[_Job] = deque()
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fastast-model")

    async def rows(self, key: Hashable, windows: Sequence[np.ndarray]) -> list[Tensor]:
        """A row for each window; the task that waits for them may be cancelled.

        Raises:
            Exception: What `compute` raised.
        """
        job = _Job(key, windows)
        self._jobs.append(job)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await job.result

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the model's thread, between batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _work(self) -> None:
        while batch := self._next():
            try:
                rows = await self.run(functools.partial(self._compute, batch[0][0].key, [w for _, _, w in batch]))
            except Exception as error:
                for job, _, _ in batch:
                    job.fail(error)
                continue
            self._observe(len(batch))
            for (job, place, _), row in zip(batch, rows, strict=True):
                job.put(place, row)

    def _next(self) -> list[tuple[_Job, int, np.ndarray]]:
        """Windows of the job that has waited longest and of others with its key; the jobs then wait at the end."""
        jobs = [job for job in self._jobs if not job.result.done()]
        taking = [job for job in jobs if job.key == jobs[0].key]
        batch: list[tuple[_Job, int, np.ndarray]] = []
        while len(batch) < self._size and (taking := [job for job in taking if job.waiting]):
            batch.extend((job, *job.waiting.popleft()) for job in taking[: self._size - len(batch)])
        served = {id(job) for job, _, _ in batch}
        rest = [job for job in jobs if job.waiting]
        self._jobs = deque(sorted(rest, key=lambda job: id(job) in served))
        return batch


class _Job:
    """The windows of a request that wait, and the rows that are known."""

    def __init__(self, key: Hashable, windows: Sequence[np.ndarray]) -> None:
        self.key, self.waiting = key, deque(enumerate(windows))
        self.result: asyncio.Future[list[Tensor]] = asyncio.get_running_loop().create_future()
        self._rows: list[Any] = [None] * len(windows)
        self._missing = len(windows)

    def put(self, place: int, row: Tensor) -> None:
        self._rows[place] = row
        self._missing -= 1
        if not self._missing and not self.result.done():
            self.result.set_result(self._rows)

    def fail(self, error: Exception) -> None:
        if not self.result.done():
            self.result.set_exception(error)
