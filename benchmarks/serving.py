"""Load `fastast serve` on this machine: latency, throughput beside `Tagger` on the same files, memory, start-up.

    python benchmarks/serving.py                          # the bundled checkpoint, clips of 0.5 to 5 s
    python benchmarks/serving.py --model ID --preset fast --clients 1 8 64
    python benchmarks/serving.py --url http://127.0.0.1:8000/classify   # a server that runs already

Each client sends its next clip when it has the answer to the last one. Clients and server share the machine, as do the
clients' own costs. The throughput of `Tagger` is that of one call with all files, in this process, right after. Needs
Linux for the memory.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import soundfile
from writing import write_rows

from fastast_hf import Tagger
from fastast_hf.benchmarking.rounds import check_at_least
from fastast_hf.cli.tables import format_table

RESULTS = Path(__file__).parent / "results" / "serving"
RATE = 16000
SECONDS = (0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Row:
    """So many clients at once."""

    clients: int
    requests: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    per_sec: float
    of_tagger: float
    memory_mb: float | None


def write_clips(folder: Path, count: int) -> list[Path]:
    """Wav files of noise, of all lengths in turn."""
    random = np.random.default_rng(0)
    files = []
    for number in range(count):
        files.append(folder / f"{number}.wav")
        soundfile.write(files[-1], 0.1 * random.standard_normal(int(SECONDS[number % len(SECONDS)] * RATE)), RATE)
    return files


@contextmanager
def server(options: Sequence[str]) -> Iterator[tuple[str, float, int]]:
    """A server of its own: its address, the seconds until it was ready, and its process."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "fastast_hf", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().partition(" at ")[2].split(" ")[0]
            httpx.get(f"{address}/ready", timeout=600).raise_for_status()
            yield f"{address}/classify", time.perf_counter() - begun, process.pid
        finally:
            process.terminate()


async def load(url: str, bodies: Sequence[bytes], clients: int) -> tuple[list[float], float]:
    """Seconds of each request, and of all together."""
    waiting, seconds = iter(bodies), []

    async def client() -> None:
        async with httpx.AsyncClient(timeout=600) as session:
            for body in waiting:
                begun = time.perf_counter()
                answer = await session.post(url, content=body, headers={"Content-Type": "audio/wav"})
                answer.raise_for_status()
                seconds.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return seconds, time.perf_counter() - begun


def memory_mb(pid: int | None) -> float | None:
    """The highest that a process has had in memory."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="ID", help="default: the bundled checkpoint")
    parser.add_argument("--preset", default="exact")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64], metavar="N")
    parser.add_argument("--requests", type=int, default=512, metavar="N", help="of each number of clients")
    parser.add_argument("--url", help="of a server that runs; nothing is started")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args(arguments)
    try:
        check_at_least(1, clients=min(args.clients), requests=args.requests)
    except ValueError as error:
        parser.error(str(error))
    options = ["--preset", args.preset, *(["--model", args.model] if args.model else [])]
    tagger = Tagger(args.model, preset=args.preset)
    with TemporaryDirectory() as folder:
        files = write_clips(Path(folder), args.requests)
        bodies = [file.read_bytes() for file in files]
        tagger(files[:8])
        rows: list[Row] = []
        begun = time.perf_counter()
        tagger(files, progress=False)
        alone = len(files) / (time.perf_counter() - begun)
        with contextmanager(lambda: iter([(args.url, 0.0, None)]))() if args.url else server(options) as started:
            url, start_up, pid = started
            asyncio.run(load(url, bodies[:16], 1))  # warm
            for clients in args.clients:
                seconds, whole = asyncio.run(load(url, bodies, clients))
                p50, p95, p99 = 1000 * np.percentile(seconds, [50, 95, 99])
                rate = len(bodies) / whole
                rows.append(Row(clients, len(bodies), p50, p95, p99, rate, rate / alone, memory_mb(pid)))
    header = ["clients", "p50 ms", "p95 ms", "p99 ms", "a second", "of Tagger", "memory MB"]
    lines = [
        [
            str(row.clients),
            *(f"{number:.0f}" for number in (row.p50_ms, row.p95_ms, row.p99_ms)),
            f"{row.per_sec:.1f}",
            f"{row.of_tagger:.2f}",
            f"{row.memory_mb or 0:.0f}",
        ]
        for row in rows
    ]
    print(format_table(header, lines, align="rrrrrrr"))
    print(f"ready after {start_up:.1f} s; Tagger alone: {alone:.1f} a second")
    file = args.output / f"{Path(args.model).name if args.model else 'bundled'}-{args.preset}.json"
    write_rows(file, rows, start_up_seconds=start_up, tagger_per_sec=alone, clip_seconds=SECONDS)
    print(file)


if __name__ == "__main__":
    main()
