"""The trials of a search in a file, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

TRIALS_FILE = "tuning-trials.jsonl"
Plan = list[tuple[int, float]]  # places of the ways to search in, and MAC ratios


class Record:
    """The plans and trials of runs on the same model and clips. Each is added to the file at once.

    Args:
        folder: Of the file; None for no file.
        of: The model and seed.
        windows: The clips. Lines of other clips in the file count for nothing, and stay.

    Attributes:
        known: The KL divergence of each way's lists.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, of: str, windows: Sequence[np.ndarray]) -> None:
        self.known: dict[tuple[str, tuple[int, ...]], float] = {}
        self._plans: dict[str, Plan] = {}
        self._file = None if folder is None else Path(folder, TRIALS_FILE)
        sounds = hashlib.sha256(b"".join(hashlib.sha256(window.tobytes()).digest() for window in windows))
        self._of = f"{of} {sounds.hexdigest()[:16]}"
        if self._file is None or not self._file.exists():
            return
        for line in self._file.read_text(encoding="utf-8").splitlines():
            try:
                own = json.loads(line)
            except ValueError:  # cut off when the run was killed
                continue
            if own["of"] == self._of and "plan" in own:
                self._plans[json.dumps(own["asked"])] = [(int(way), float(ratio)) for way, ratio in own["plan"]]
            elif own["of"] == self._of:
                self.known[own["way"], tuple(own["merges"])] = own["kl"]
        if self.known:
            logger.warning("%s has %d trials on these clips, which are not made again", self._file, len(self.known))

    def plan_for(self, asked: Any, make: Callable[[], Plan]) -> Plan:
        """The plan for what is asked: that of an earlier run, for clocks never tell the same twice, or a new one."""
        key = json.dumps(asked)
        if key not in self._plans:
            self._plans[key] = make()
            self._write({"asked": asked, "plan": self._plans[key]})
        return self._plans[key]

    def keep(self, way: str, merges: list[int], kl: float) -> None:
        """Add a trial."""
        self.known[way, tuple(merges)] = kl
        self._write({"way": way, "merges": merges, "kl": kl})

    def _write(self, entry: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write("\n" * self._cut_off() + json.dumps({"of": self._of, **entry}) + "\n")

    def _cut_off(self) -> bool:
        """Whether the file's last line has no end."""
        assert self._file is not None
        return self._file.exists() and self._file.read_bytes()[-1:] not in (b"", b"\n")
