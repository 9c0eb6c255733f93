"""What is put into a pickle to see that it is not run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


class Touch:
    """Unpickled carelessly, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.path,)
