"""Interrupt commands, and look what a restart makes of it: `make faults`.

Each job runs once without a fault. Then it is killed (SIGKILL) at random moments, and meets: a full disk (no file can
grow beyond half of the largest one that it writes), a folder that takes no file, an input that is gone, a clock that
was set back by a day between a kill and the restart, and too little memory. After each fault it runs again without
one. It must end with the same result, or say in a line what to do, without a traceback.

A table is printed; the exit code is 1 where something did not hold. It needs Linux, and no network.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from jobs import Job, make
from local_hub import local_hub
from running_scripts import TIMEOUT, environment

DAY = 86400
SAME, TOLD, OTHER, TRACEBACK = "same", "told", "another result", "traceback"
GOOD = (SAME, TOLD)


class Whole(NamedTuple):
    """A run without a fault."""

    result: Any
    seconds: float
    memory: int  # bytes of address space, at most
    largest: int  # bytes of a file


class Ended(NamedTuple):
    """A run that has ended."""

    code: int
    error: str
    seconds: float
    memory: int


def start(job: Job, out: Path, again: bool, limit: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """Begin a job, or go on with it."""
    words = [*job.words(out), *(job.again if again else ())]
    return subprocess.Popen(
        words,
        env=environment() | job.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
        start_new_session=True,
    )


def wait(process: subprocess.Popen[str]) -> Ended:
    """Until it ends; how much memory it reserves is looked at meanwhile."""
    begun, memory = time.monotonic(), 0
    with ThreadPoolExecutor(1) as reader:
        error = reader.submit(process.communicate, timeout=TIMEOUT)  # else a long error would fill the pipe
        while not error.done():
            with suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
                memory = max([memory, *(int(row.split()[1]) * 1024 for row in status.splitlines() if "VmPeak" in row)])
            time.sleep(0.02)
    return Ended(process.returncode, error.result()[1], time.monotonic() - begun, memory)


def outcome(job: Job, whole: Whole, ended: Ended, out: Path) -> str:
    """What became of a job that was run again."""
    if "Traceback" in ended.error:
        return TRACEBACK
    if ended.code != 0:
        return TOLD if ended.error.strip() else f"code {ended.code} without a word"
    return SAME if job.result(out) == whole.result else OTHER


def run_whole(job: Job, out: Path) -> Whole:
    """A job without a fault; it must end well."""
    job.before()
    ended = wait(start(job, out, again=False))
    if ended.code:
        raise SystemExit(f"{job.name}: without any fault it ends with {ended.code}: {ended.error.strip()[-2000:]}")
    sizes = [file.stat().st_size for file in out.rglob("*") if file.is_file()]
    return Whole(job.result(out), ended.seconds, ended.memory, max(sizes, default=0))


def run_again(job: Job, whole: Whole, out: Path) -> str:
    """Go on after a fault. Where nothing was begun yet, there is nothing to go on with: then it begins."""
    ended = wait(start(job, out, again=any(out.iterdir())))
    if ended.code and job.again and "Traceback" not in ended.error:  # told that there is nothing to resume
        ended = wait(start(job, out, again=False))
    return outcome(job, whole, ended, out)


def kill(job: Job, out: Path, moment: float) -> None:
    """Kill it, and all that it has started, after so many seconds."""
    process = start(job, out, again=False)
    time.sleep(moment)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def set_back(out: Path) -> None:
    """As if the clock had been a day ahead when these files were written."""
    ahead = time.time() + DAY
    for path in out.rglob("*"):
        os.utime(path, (ahead, ahead))


@contextmanager
def unwritable(out: Path) -> Iterator[None]:
    """A folder that takes no new file: read-only, or for root, who may do anything, one with a file in its place."""
    shutil.rmtree(out)
    if os.geteuid() == 0:
        out.write_text("a file")
    else:
        out.mkdir(mode=0o555)
    try:
        yield
    finally:
        out.unlink() if out.is_file() else out.rmdir()
        out.mkdir()


@contextmanager
def without_inputs(job: Job) -> Iterator[None]:
    """Its input has gone."""
    away = job.inputs.with_name(f"{job.inputs.name}-away")
    job.inputs.rename(away)
    try:
        yield
    finally:
        away.rename(job.inputs)


def limited(kind: int, size: int) -> Callable[[], None]:
    """For a process of its own: a bound on its files or its memory."""
    return lambda: resource.setrlimit(kind, (size, size))


def told(ended: Ended) -> str:
    """What a run with a fault has said of it."""
    if "Traceback" in ended.error:
        return TRACEBACK
    return TOLD if ended.code and ended.error.strip() else f"code {ended.code} without a word"


def faults(job: Job, whole: Whole, out: Path, chance: random.Random, kills: int) -> Iterator[tuple[str, str]]:
    """Each fault by its name, with what became of it and of the restart."""

    def fresh() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        job.before()

    for _ in range(kills):
        fresh()
        kill(job, out, chance.uniform(0, whole.seconds))
        yield "killed", run_again(job, whole, out)
    fresh()
    kill(job, out, chance.uniform(0.5, 1) * whole.seconds)
    set_back(out)
    yield "clock set back", run_again(job, whole, out)
    if whole.largest:
        fresh()
        full = wait(start(job, out, False, limited(resource.RLIMIT_FSIZE, max(1, whole.largest // 2))))
        yield "disk full", told(full)
        yield "disk full", run_again(job, whole, out)
        fresh()
        with unwritable(out):
            ended = wait(start(job, out, again=False))
        yield "not writable", told(ended)
        yield "not writable", run_again(job, whole, out)
    fresh()
    with without_inputs(job):
        ended = wait(start(job, out, again=False))
    yield "input gone", told(ended)
    fresh()
    ended = wait(start(job, out, False, limited(resource.RLIMIT_AS, whole.memory * 9 // 10)))
    yield "memory full", SAME if ended.code == 0 else told(ended)
    yield "memory full", run_again(job, whole, out)


def main() -> int:
    """Run the jobs and print the table."""
    parser = argparse.ArgumentParser(description="Interrupt commands, and look what a restart makes of it.")
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="by the first letters of their names (default: all)")
    parser.add_argument("--kills", type=int, default=20, help="of each job, at random moments")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="fastast-faults-") as folder, local_hub() as hub:
        chance = random.Random(args.seed)
        print(f"{'job':16} {'fault':16} outcomes", flush=True)
        for job in make(Path(folder), hub):
            if args.jobs and not job.name.startswith(tuple(args.jobs)):
                continue
            out = Path(folder) / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            whole = run_whole(job, out)
            found: dict[str, Counter[str]] = {}
            for fault, what in faults(job, whole, out, chance, args.kills):
                found.setdefault(fault, Counter())[what] += 1
            for fault, counts in found.items():
                print(f"{job.name:16} {fault:16} {', '.join(f'{n} {what}' for what, n in counts.items())}", flush=True)
                bad += sum(n for what, n in counts.items() if what not in GOOD)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
