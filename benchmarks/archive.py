"""What a million clips of 10 s cost: CPU seconds of reading and of each model and preset, and what feeds a GPU.

    python benchmarks/archive.py                    # AST-base, small and tiny with random weights, every preset
    python benchmarks/archive.py --models tiny --rounds 1
    python benchmarks/archive.py --gpu OUT          # GPU hours and what feeds a GPU, from what benchmarks/gpu.sh wrote

CPU seconds are those that the process got, on all cores, so that other processes cost less precision than they would
by the clock. They still do cost some: run it alone. Nothing is read over a network here: bytes of a clip are given
instead, for the network's share.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import soundfile
from random_models import SIZES, random_ast
from writing import write_rows

from fastast_hf import Tagger
from fastast_hf.audio import load_audio
from fastast_hf.benchmarking.rounds import check_at_least, interleaved_rounds
from fastast_hf.cli.tables import format_table
from fastast_hf.tagging.presets import PRESETS

RESULTS = Path(__file__).parent / "results" / "archive"
SECONDS, MILLION, HOUR = 10, 1_000_000, 3600
FRAMES = 1024  # of gpu.sh's rows: 10.24 s
# Name: format, Hz, channels.
FILES = {
    "wav, 16 kHz": ("WAV", 16000, 1),
    "flac, 44.1 kHz stereo": ("FLAC", 44100, 2),
    "mp3, 44.1 kHz stereo": ("MP3", 44100, 2),
}


@dataclass(frozen=True)
class Row:
    """One way to read clips, or one model and preset.

    Attributes:
        what: Of the two.
        cpu_seconds: Of a clip.
        core_hours: Of a million clips.
        bytes: Of a clip's file; None for a model.
    """

    what: str
    cpu_seconds: float
    core_hours: float
    bytes: int | None = None


def encoded(kind: str, rate: int, channels: int) -> bytes:
    """A file of pink noise, which compresses about as recordings do."""
    random = np.random.default_rng(0)
    spectrum = np.fft.rfft(random.standard_normal((SECONDS * rate, channels)), axis=0)
    spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))[:, None]
    noise = np.fft.irfft(spectrum, axis=0)
    file = io.BytesIO()
    soundfile.write(file, 0.3 * noise / np.abs(noise).max(), rate, format=kind)
    return file.getvalue()


def cpu_seconds(run: Callable[[], Any], clips: int) -> float:
    """Of one clip."""
    begun = process_time()
    run()
    return (process_time() - begun) / clips


def measure(models: Sequence[str], clips: int, rounds: int) -> list[Row]:
    """Every way in every round; medians of the rounds."""
    files = {name: encoded(*about) for name, about in FILES.items()}
    samples = [(load_audio(files["wav, 16 kHz"]), 16000)] * clips
    runs = {name: partial(_read, content, clips) for name, content in files.items()}
    for size in models:
        model = random_ast(size)
        for preset in PRESETS:
            tagger = Tagger(model, preset=preset, batch_size=clips, device="cpu", activation="sigmoid")
            runs[f"{size}, {preset}"] = partial(tagger, samples, progress=False, workers=0)
    passes = [partial(cpu_seconds, run, clips) for run in runs.values()]
    medians = np.median(list(interleaved_rounds(passes, rounds, warm_up=1)), axis=0)
    return [
        Row(name, seconds, seconds * MILLION / HOUR, len(files[name]) if name in files else None)
        for name, seconds in zip(runs, medians.tolist(), strict=True)
    ]


def _read(content: bytes, clips: int) -> None:
    for _ in range(clips):
        load_audio(content)


def gpu_rows(folder: Path, reading: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    """GPU hours of a million clips, and the cores and Gbit/s that keep one GPU busy, by each format of files."""
    for file in sorted(folder.rglob("*.json")):
        for row in json.loads(file.read_text(encoding="utf-8")):
            per_sec = row.get("end_to_end_samples_per_sec")
            if row.get("frames") != FRAMES or not per_sec or not str(row["device"]).startswith("cuda"):
                continue
            name = f"{file.parent.name}: {row['implementation']} r={row['tome_r']}, batch {row['batch_size']}"
            for way in reading:
                cores, bits = per_sec * way["cpu_seconds"], 8 * per_sec * way["bytes"] / 1e9
                hours = MILLION / per_sec / HOUR
                yield [name, way["what"], f"{per_sec:.0f}", f"{hours:.2f}", f"{cores:.1f}", f"{bits:.2f}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write; or reckon."""
    about, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["base", "small", "tiny"], choices=tuple(SIZES))
    parser.add_argument("--clips", type=int, default=4, help="at once (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--gpu", type=Path, metavar="OUT", help="of benchmarks/gpu.sh: reckon with it instead")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder (default: results/archive)")
    args = parser.parse_args(arguments)
    try:
        check_at_least(1, clips=args.clips, rounds=args.rounds)
        if args.gpu is not None:
            measured = args.output / "cpu.json"
            if not measured.is_file():
                raise ValueError(f"{measured} is missing: run this without --gpu first")
            rows = json.loads(measured.read_text(encoding="utf-8"))["rows"]
            reckoned = list(gpu_rows(args.gpu, [row for row in rows if row["bytes"]]))
            if not reckoned:
                raise ValueError(f"{args.gpu} has no rows of {FRAMES} frames on a GPU: give what gpu.sh wrote")
            names = ["on the GPU", "files", "clips/s", "GPU hours a million", "cores that read", "Gbit/s"]
            print(format_table(names, reckoned, "llrrrr"))
            return
    except ValueError as error:
        parser.error(str(error))
    rows = measure(args.models, args.clips, args.rounds)
    table = [
        [r.what, f"{r.cpu_seconds:.4f}", f"{r.core_hours:.1f}", f"{r.bytes or '':,}" if r.bytes else ""] for r in rows
    ]
    print(format_table(["10-s clips", "CPU s a clip", "core hours a million", "bytes"], table, "lrrr"))
    write_rows(args.output / "cpu.json", rows, seconds=SECONDS, clips=args.clips, rounds=args.rounds)


if __name__ == "__main__":
    main(sys.argv[1:])
