"""Run for long, and see whether memory, threads and open files stay as they are: `make soak`.

By default: 24 hours of sound live at full speed, 100,000 small files, a server for 30 minutes under load, 1,000
taggers made and dropped, 10,000 calls at random r and length. `--share 0.01` runs a hundredth of each. A line is
printed for each part; the exit code is 1 where something grew. It needs Linux, and no network.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import soundfile
from measuring import Measured
from served import served, sound

from fastast_hf import Tagger

RATE = 16000
TIMES = 60  # that it is measured, at most
AT_ONCE = 8  # requests to the server


def noise(chance: np.random.Generator, samples: int) -> np.ndarray:
    return (0.1 * chance.standard_normal(samples)).astype(np.float32)


def steps(count: int) -> range:
    """The numbers of units after which to measure."""
    return range(0, count + 1, max(1, count // TIMES))


def live(share: float, folder: Path) -> tuple[Measured, str]:
    """Sound of a day, as fast as it is computed; a unit is a second of it."""
    seconds, chance, measured = max(120, round(86400 * share)), np.random.default_rng(0), Measured()
    minute = noise(chance, 60 * RATE)
    blocks = (minute[start : start + 1600] for _ in range(seconds // 60) for start in range(0, len(minute), 1600))
    wanted = iter(steps(seconds))
    due = next(wanted)
    for moment in Tagger(tome_r=8).listen(blocks, RATE, window=1, hop=1):
        if moment.time >= due:
            measured.add(moment.time)
            due = next(wanted, seconds * 2)
    return measured, f"{seconds} s of sound"


def files(share: float, folder: Path) -> tuple[Measured, str]:
    """Small files; a unit is one."""
    count, chance, measured = max(240, round(100_000 * share)), np.random.default_rng(0), Measured()
    soundfile.write(folder / "0.wav", noise(chance, RATE // 4), RATE)
    for index in range(1, count):
        os.link(folder / "0.wav", folder / f"{index}.wav")
    places = set(steps(count))
    for index, _ in enumerate(Tagger(tome_r=8).stream((folder / f"{k}.wav" for k in range(count)), progress=False)):
        if index in places:
            measured.add(index)
    return measured, f"{count} files"


def taggers(share: float, folder: Path) -> tuple[Measured, str]:
    """Taggers made, called once and dropped; a unit is one."""
    count, measured, clip = max(24, round(1000 * share)), Measured(), noise(np.random.default_rng(0), RATE)
    places = set(steps(count))
    for index in range(count):
        Tagger(tome_r=index % 9)((clip, RATE))
        if index in places:
            measured.add(index)
    return measured, f"{count} taggers"


def calls(share: float, folder: Path) -> tuple[Measured, str]:
    """Calls at a random r and length; a unit is one."""
    count, chance, measured = max(240, round(10_000 * share)), np.random.default_rng(0), Measured()
    tagger = Tagger(native_length=True)
    places = set(steps(count))
    for index in range(count):
        tagger.scores([noise(chance, int(chance.integers(400, 20_000)))], tome_r=int(chance.integers(0, 30)))
        if index in places:
            measured.add(index)
    return measured, f"{count} calls"


def server(share: float, folder: Path) -> tuple[Measured, str]:
    """A server that several clients keep busy; a unit is a request."""
    seconds = max(20.0, 1800 * share)
    pool, http = ThreadPoolExecutor(AT_ONCE), httpx.Client(timeout=60)
    with pool, http as client, served() as running:
        measured, ends, done = Measured(running.process.pid), time.monotonic() + seconds, 0
        due = time.monotonic()

        url = f"{running.url}/classify"

        def ask(number: int) -> int:
            return client.post(url, content=sound(number % 18), params={"tome_r": number % 5}).status_code

        while time.monotonic() < ends:
            codes = set(pool.map(ask, range(done, done + AT_ONCE)))
            if codes != {200}:
                raise SystemExit(f"the server answered with {codes}")
            done += AT_ONCE
            if time.monotonic() >= due:
                measured.add(done)
                due += seconds / TIMES
        return measured, f"{done} requests in {seconds:.0f} s"


PARTS: dict[str, Callable[[float, Path], tuple[Measured, str]]] = {
    "live": live,
    "files": files,
    "server": server,
    "taggers": taggers,
    "calls": calls,
}


def main() -> int:
    """Run the parts and print their lines."""
    parser = argparse.ArgumentParser(description="Run for long, and see whether anything grows.")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--share", type=float, default=1.0, help="of what is run by default")
    args = parser.parse_args()
    grew = 0
    for name in args.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="fastast-soak-") as folder:
            measured, what = PARTS[name](args.share, Path(folder))
        flat, line = measured.verdict()
        print(f"{name}: {what}; {line}", flush=True)
        grew += not flat
    return int(grew > 0)


if __name__ == "__main__":
    sys.exit(main())
