"""The processes that a launcher (accelerate, torchrun) has started for one command: shares, and the wait for all.

They talk through gloo whatever they compute on: it needs torch alone, and waits for the slowest as long as it takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

Value = TypeVar("Value")

LONGEST_WAIT = timedelta(days=30)  # for the process with the slowest share; one that fails is noticed at once


class Processes:
    """This process among those of its launcher, or alone. A context, within which they are connected.

    Attributes:
        rank: Of this process, from 0.
        count: How many there are.
    """

    def __init__(self) -> None:
        self.rank, self.count, self._group = 0, 1, None
        if "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
            self.rank, self.count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])

    def __enter__(self) -> Processes:
        """Connect them.

        Raises:
            OSError: They can't be.
        """
        if self.count > 1:
            from torch import distributed

            if not distributed.is_available():
                raise OSError("this torch is built without torch.distributed: start one process")
            try:
                distributed.init_process_group("gloo")
                self._group = distributed.new_group(timeout=LONGEST_WAIT)
            except RuntimeError as error:
                raise OSError(f"the {self.count} processes can't be connected: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._group is not None:
            from torch import distributed

            distributed.destroy_process_group()

    def device(self) -> str | None:
        """A GPU of this process's own where there are several, in turn where there are fewer than processes."""
        import torch

        if self.count == 1 or not torch.cuda.is_available():
            return None
        return f"cuda:{int(os.environ.get('LOCAL_RANK', self.rank)) % torch.cuda.device_count()}"

    def of_first(self, compute: Callable[[], Value]) -> Value:
        """What the first process computes, in all of them.

        Raises:
            OSError: It failed, or another process did; in the first, its own error is raised.
        """
        value: Value | None = None
        error: Exception | None = None
        if self.rank == 0:
            try:
                value = compute()
            except Exception as raised:  # once the others know
                error = raised
        succeeded: bool
        first: Any
        first, succeeded = self.gather((value, error is None))[0]
        if error is not None:
            raise error
        if not succeeded:
            raise OSError("the first process has stopped: see its line")
        return first

    def gather(self, value: Value) -> list[Value]:
        """The values of all processes by rank, once all have given theirs.

        Raises:
            OSError: One of them is gone.
        """
        if self._group is None:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.count
        try:
            distributed.all_gather_object(values, value, group=self._group)
        except RuntimeError as error:
            raise OSError("another process has stopped: see its line, then go on with --resume") from error
        return values
