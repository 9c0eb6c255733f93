"""Memory, threads and open files of this process over time, and the slope of memory with its interval."""

from __future__ import annotations

import gc
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MIB = 2**20
MOST_GROWTH = 0.02  # of the memory over the whole of the second half: less is called flat
NEEDED = 6  # measurements for an interval


def slope(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Least squares: the slope of y over x, and the half width of its 95 % interval (normal, for many points).

    Example:
        >>> slope([(0, 1.0), (1, 3.0), (2, 5.0)])
        (2.0, 0.0)
    """
    xs, ys = zip(*points, strict=True)
    own, _ = statistics.linear_regression(xs, ys)
    middle_x, middle_y = statistics.fmean(xs), statistics.fmean(ys)
    spread = sum((x - middle_x) ** 2 for x in xs)
    rest = sum((y - middle_y - own * (x - middle_x)) ** 2 for x, y in points)
    return own, 1.96 * math.sqrt(rest / max(1, len(points) - 2) / spread)


@dataclass
class Measured:
    """What was measured of one process, at a number of units of work each time.

    Attributes:
        process: Its id.
        rows: Units done, bytes of memory, threads, open files.
    """

    process: int = field(default_factory=os.getpid)
    rows: list[tuple[float, int, int, int]] = field(default_factory=list)

    def add(self, done: float) -> None:
        """Measure now."""
        if self.process == os.getpid():
            gc.collect()
        place = Path(f"/proc/{self.process}")
        status = dict(line.split(":", 1) for line in (place / "status").read_text(encoding="utf-8").splitlines())
        memory, threads = int(status["VmRSS"].split()[0]) * 1024, int(status["Threads"])
        self.rows.append((done, memory, threads, len(list((place / "fd").iterdir()))))

    def verdict(self) -> tuple[bool, str]:
        """Whether all is constant in the second half, by when caches are filled, and a line that says by how much.

        Memory is flat where the interval of its slope has 0 in it, or what it grows in the second half is less than
        `MOST_GROWTH`. Threads and open files must end as they were.
        """
        late = self.rows[len(self.rows) // 2 :]
        if len(late) < NEEDED:
            raise ValueError(f"{len(self.rows)} measurements: give at least {2 * NEEDED}, by a longer run")
        own, half = slope([(done, memory) for done, memory, *_ in late])
        units, memory = late[-1][0] - late[0][0], statistics.fmean(row[1] for row in late)
        flat = own - half <= 0 or own * units / memory < MOST_GROWTH
        same = late[0][2:] == late[-1][2:]
        threads, files = (f"{late[0][k]} to {late[-1][k]}" for k in (2, 3))
        return flat and same, (
            f"{memory / MIB:.0f} MiB, {own / 1024 * 1000:+.1f} ± {half / 1024 * 1000:.1f} KiB per 1000; threads "
            f"{threads}, open files {files}: {'flat' if flat and same else 'NOT FLAT'}"
        )
