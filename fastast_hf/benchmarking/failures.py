"""What a benchmark goes on without: a candidate that its device has too little memory for, and a compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic

import torch

from .rounds import Result

# Of inductor on a CPU, and of Triton on a GPU; whatever wraps them has their words in its own.
NO_COMPILER = ("No working C++ compiler", "Failed to find C compiler")


class UnlessOutOfMemory(Generic[Result]):
    """A run that gives None, and is not tried again, once its device has too little memory for it.

    Example:
        >>> UnlessOutOfMemory(lambda: "logits")()
        'logits'
    """

    def __init__(self, run: Callable[[], Result]) -> None:
        self._run = run
        self._failed = False

    def __call__(self) -> Result | None:
        """Run."""
        if self._failed:
            return None
        try:
            return self._run()
        except torch.OutOfMemoryError:
            self._failed = True
        torch.cuda.empty_cache()  # not before the error is gone, which holds on to the tensors of its frames
        return None


@contextmanager
def compiler_wanted(instead: str) -> Iterator[None]:
    """Have what is compiled within say in one line that there is no compiler, and what else to do: `instead`.

    Raises:
        ValueError: There is none.

    Example:
        >>> with compiler_wanted("leave out --compile"):
        ...     raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")
        Traceback (most recent call last):
        ValueError: torch.compile finds no compiler here: install one (g++), or leave out --compile
    """
    try:
        yield
    except Exception as error:
        if not any(words in str(error) for words in NO_COMPILER):
            raise
        raise ValueError(f"torch.compile finds no compiler here: install one (g++), or {instead}") from error
