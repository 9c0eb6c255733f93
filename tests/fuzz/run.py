"""Fuzz one target or all: `make fuzz`.

Each target runs in a process of its own with bounds on its memory and on the seconds of one input. Small seeds are
mutated at random; no coverage guides that. An input that raises what no user is told in one line, takes too long, or
kills the process is a find: it is written into `tests/fuzz/found/` and the exit code is 1. Turn each into a test.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import logging
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).parent
NAMES = ("audio", "checkpoint", "results", "recipe", "handler")
MOST_BYTES = 6 * 2**30  # of address space: libraries reserve far more than they use
MOST_SECONDS = 20  # for one input
MOST_FINDS = 20  # of one target, after which it stops


def mutated(seeds: list[bytes], pieces: bytes, chance: random.Random) -> bytes:
    """A seed with a few bytes or stretches changed, removed, repeated or exchanged with another's."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((1, 1, 2, 4, 16, 256)))
        kind = chance.randrange(6)
        if kind == 0:
            data[start:end] = chance.randbytes(end - start)
        elif kind == 1:
            del data[start:end]
        elif kind == 2:
            data[start:start] = data[start:end] * chance.choice((1, 2, 50))
        elif kind == 3:
            data[start:end] = bytes(chance.choices(pieces, k=max(1, end - start)))
        elif kind == 4:
            data[start:end] = chance.choice(
                (b"", b"-1", b"null", b"[]", b"{}", b"1e999", b"\x00", b"\xff\xff\xff\xff")
            )
        else:
            other = chance.choice(seeds)
            data[start:end] = other[start : start + chance.randrange(64)]
    return bytes(data[: 2**16])


class TooLong(BaseException):
    """An input took more than its seconds."""


def stop(*_: object) -> NoReturn:
    raise TooLong


def fuzz(name: str, seconds: float, seed: int) -> int:
    """Fuzz a target in this process, and print how many inputs were tried and found."""
    import resource

    import targets
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    signal.signal(signal.SIGALRM, stop)
    call, make_seeds, pieces = targets.TARGETS[name]
    seeds, last = list(make_seeds()), HERE / "found" / f"{name}.last"
    last.parent.mkdir(exist_ok=True)
    tried, found, ends = 0, {}, time.monotonic() + seconds

    def try_out(data: bytes) -> None:
        nonlocal tried
        tried += 1
        last.write_bytes(data)  # for what kills the process
        signal.alarm(MOST_SECONDS)
        try:
            call(data)
        except TooLong:
            found.setdefault("takes too long", data)
        except BaseException as error:
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "fastast_hf" in frame.filename]
            where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
            found.setdefault(f"{type(error).__name__}{where}: {str(error)[:80]}", data)
        finally:
            signal.alarm(0)

    chance = random.Random(seed)
    for data in seeds:
        try_out(data)
    while time.monotonic() < ends and len(found) < MOST_FINDS:
        try_out(mutated(seeds, pieces, chance))
    targets.clean()
    last.unlink()
    for reason, data in found.items():
        path = last.with_name(f"{name}-{hashlib.sha256(data).hexdigest()[:8]}")
        path.write_bytes(data)
        print(f"{name}: {' '.join(reason.split())} ({path.relative_to(HERE.parents[1])})")
    print(f"{name}: {tried} inputs, {len(found)} finds", flush=True)
    return bool(found)


def main() -> int:
    """Run the targets, each in a process that may die."""
    parser = argparse.ArgumentParser(description="Fuzz what comes from strangers.")
    parser.add_argument("targets", nargs="*", choices=[[], *NAMES], metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=float, default=600, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    parser.add_argument("--here", action="store_true", help="in this process, one target")
    args = parser.parse_args()
    if args.here:
        return fuzz(args.targets[0], args.seconds, args.seed)
    failed = 0
    for name in args.targets or NAMES:
        command = [sys.executable, __file__, name, "--here", "--seconds", str(args.seconds), "--seed", str(args.seed)]
        own = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        code = subprocess.run(command, env=os.environ | own, check=False).returncode
        if code not in (0, 1):
            print(f"{name}: the process ended with {code}; its last input is {HERE / 'found' / name}.last", flush=True)
        failed += code != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
