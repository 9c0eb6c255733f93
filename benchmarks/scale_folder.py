"""A folder of many files through the Tagger: memory and files a second, for each number of workers.

Each number of workers has a process of its own, so that its memory is its own, and so have reading alone and computing
alone, which tell how much of the one is done within the other. Files are in stereo at 44.1 kHz and compressed, so that
reading them is work: it decodes, averages channels and resamples. `scale.py folder` starts these processes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import soundfile
import torch
from transformers.utils import logging
from writing import circumstances

from fastast_hf.audio import load_audio
from fastast_hf.benchmarking.rounds import interleaved_rounds
from fastast_hf.loading.bundled import SPEECH_COMMANDS
from fastast_hf.tagging.tagger import Tagger

WORKERS = (0, 1, 2, 4)
RATE = 44100
DISTINCT_FILES = 200  # 30 MB; the others are further names of these
SAMPLES = 20  # of memory, on the way through the files
READING, COMPUTING = "reading", "computing"


def measure_folder(num_files: int, rounds: int = 1) -> dict[str, Any]:
    """Write a temporary folder of 1-s files of noise, and go through it in every way, in interleaved rounds.

    Files are in the system's cache when they are read, as they were just written: reading is decoding and resampling.
    """
    ways = [READING, COMPUTING, *map(str, WORKERS)]
    with TemporaryDirectory(prefix="fastast-scale-") as name:
        folder = Path(name)
        size = write_clips(folder, num_files)
        print(f"{num_files} files, {size / 1e6:.0f} MB on disk, in {folder} while this runs", flush=True)
        passes = [partial(_told, folder, way, num_files) for way in ways]
        finished = list(interleaved_rounds(passes, rounds, warm_up=0))
    seconds = np.array([[one["seconds"] for one in passed] for passed in finished])  # (rounds, ways)
    speeds = dict(zip(ways, np.median(num_files / seconds, axis=0).tolist(), strict=True))
    kept = dict(zip(ways, np.median(seconds[:, 1:2] / seconds, axis=0).tolist(), strict=True))
    runs = []
    for workers, passed in zip(WORKERS, finished[0][2:], strict=True):
        samples = passed["samples"]
        runs.append(
            {
                "workers": workers,
                "files_per_sec": speeds[str(workers)],
                # Of the speed of computing alone, in the same round: 1 where reading takes no time of its own.
                "of_computing_alone": kept[str(workers)],
                "peak_mb_at_10_percent": next(one for one in samples if 10 * one["files"] >= num_files)["peak_mb"],
                "peak_mb_at_100_percent": samples[-1]["peak_mb"],
                "samples": samples,
            }
        )
    return {
        "model": SPEECH_COMMANDS.name,
        "files": num_files,
        "distinct_files": min(num_files, DISTINCT_FILES),
        "megabytes_on_disk": size / 1e6,
        "reading_alone_files_per_sec": speeds[READING],
        "computing_alone_files_per_sec": speeds[COMPUTING],
        "in_turns_files_per_sec": 1 / (1 / speeds[READING] + 1 / speeds[COMPUTING]),
        "runs": runs,
        "rounds": rounds,
        **circumstances(),
    }


def _told(folder: Path, way: str, num_files: int) -> dict[str, Any]:
    """One pass, and a line about it."""
    done = in_new_process(folder, way)
    name = f"{way} alone" if way in (READING, COMPUTING) else f"workers: {way}"
    peak = done["samples"][-1]["peak_mb"]
    print(f"{name:<16}  {num_files / done['seconds']:8.1f} files a second  {peak:6.0f} MB", flush=True)
    return done


def write_clips(folder: Path, num_files: int) -> int:
    """Write flac files of 1 s of noise, and further names of them up to `num_files`; returns their bytes."""
    random = np.random.default_rng(0)
    size = 0
    for index in range(num_files):
        file = folder / f"{index:06d}.flac"
        if index < DISTINCT_FILES:
            soundfile.write(file, random.normal(scale=0.1, size=(RATE, 2)).clip(-1, 1), RATE, subtype="PCM_16")
            size += file.stat().st_size
        else:
            file.hardlink_to(folder / f"{index % DISTINCT_FILES:06d}.flac")
    return size


def in_new_process(folder: Path, way: str) -> dict[str, Any]:
    """[`go_through`] in a process of its own."""
    command = [sys.executable, __file__, str(folder), way, str(torch.get_num_threads())]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def go_through(folder: Path, way: str) -> dict[str, Any]:
    """Go through all files in one way.

    Args:
        folder: Of the files.
        way: `"reading"` alone, `"computing"` alone, on clips in memory, or the number of the Tagger's workers.

    Returns:
        The seconds that it took, the first files not counted, and this process' memory on the way.
    """
    files = sorted(folder.glob("*.flac"))
    done: Iterable[Any]
    if way == READING:
        load_audio(files[0])
        done = (load_audio(file) for file in files)
    else:
        tagger = Tagger(device="cpu")
        sources: Iterable[Any] = files
        if way == COMPUTING:
            rate = tagger.feature_extractor.sampling_rate
            clips = [(load_audio(file, rate), rate) for file in files[:DISTINCT_FILES]]
            sources = islice(cycle(clips), len(files))
        workers = 0 if way == COMPUTING else int(way)
        tagger(files[: tagger.batch_size], progress=False, workers=workers)
        done = tagger.stream(sources, progress=False, workers=workers)
    start = perf_counter()
    samples = list(_memory_on_the_way(done, len(files)))
    return {"seconds": perf_counter() - start, "samples": samples}


def _memory_on_the_way(done: Iterable[Any], num_files: int) -> Iterator[dict[str, float]]:
    """Memory before the first file, at each twentieth of them, and after the last."""
    every = max(1, num_files // SAMPLES)
    yield {"files": 0, **memory()}
    for count, _ in enumerate(done, 1):
        if count % every == 0 or count == num_files:
            yield {"files": count, **memory()}


def memory() -> dict[str, float]:
    """Resident memory of this process in MB, 10^6 bytes: now, and the most so far (Linux)."""
    status = Path("/proc/self/status").read_text()
    now, peak = (int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    return {"mb": now, "peak_mb": peak}


if __name__ == "__main__":
    logging.disable_progress_bar()  # of weights being loaded
    torch.set_num_threads(int(sys.argv[3]))
    print(json.dumps(go_through(Path(sys.argv[1]), sys.argv[2])))
