"""Commands that are run for events."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..tagging.timelines.events import Event

AT_ONCE = 8


class EventCommands:
    """Runs a command for each event, without waiting for it.

    The command is split into words as a shell does, and run without one. What is known of the event is in its
    environment, never in its words: a label can't become a part of a command.

    Args:
        command: The words.

    Attributes:
        quiet: Whether what the commands print is dropped; else it goes to stderr.

    Raises:
        ValueError: There is no such program.
    """

    def __init__(self, command: str) -> None:
        self.words, self.quiet = shlex.split(command), False
        if not self.words or shutil.which(self.words[0]) is None:
            raise ValueError(f"--exec is {command!r}: give a program that can be run, and its arguments")
        self._running: list[subprocess.Popen[bytes]] = []
        self._failed = self._left_out = 0

    def __call__(self, event: Event) -> None:
        """Run it for an event."""
        self._look()
        if len(self._running) >= AT_ONCE:
            self._left_out += 1
            return
        about = {f"FASTAST_{name.upper()}": str(value) for name, value in event._asdict().items()}
        output = subprocess.DEVNULL if self.quiet else sys.stderr
        try:
            self._running.append(
                subprocess.Popen(
                    self.words, env=os.environ | about, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
            )
        except OSError:
            self._failed += 1

    def close(self) -> None:
        """Wait for those that run."""
        for process in self._running:
            process.wait()
        self._look()

    def troubles(self) -> list[str]:
        """What went wrong, counted."""
        counts = ((self._failed, "commands failed"), (self._left_out, f"not run, since {AT_ONCE} others ran"))
        return [f"{count} {what}" for count, what in counts if count]

    def _look(self) -> None:
        self._failed += sum(bool(process.poll()) for process in self._running)
        self._running = [process for process in self._running if process.poll() is None]
