"""`fastast serve` in a process of its own, sounds to send to it, and what they are alone."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from conftest import TINY, randomise
from running_scripts import TIMEOUT, environment

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification

FORMATS = ("WAV", "FLAC", "OGG", "MP3")


@dataclass
class Served:
    """A server that runs.

    Attributes:
        url: Where it answers.
        process: Its process, or the parent of its workers.
    """

    url: str
    process: subprocess.Popen[str]


@contextmanager
def served(*options: object) -> Iterator[Served]:
    """A server at a free port; it is killed at the end, if it still runs."""
    command = [sys.executable, "-m", "fastast_hf", "serve", "--port", "0", *map(str, options)]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("serving Tagger("), process.communicate(timeout=TIMEOUT)
            yield Served(line.partition(" at ")[2].split(" ")[0], process)
        finally:
            process.kill()


def tiny_checkpoint(folder: Path) -> Path:
    """A FastAST of five labels that takes 1.3 s, and merges 4 tokens in each of three layers."""
    randomise(FastASTForAudioClassification(FastASTConfig(**TINY, tome_r=4))).save_pretrained(folder)
    FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(folder)
    return folder


@cache
def sound(number: int, seconds: float | None = None, form: str | None = None) -> bytes:
    """An audio file: no two numbers have the same; lengths and formats change with them."""
    seconds = 0.2 + 0.37 * (number % 9) if seconds is None else seconds
    rate = (16000, 22050, 44100)[number % 3]
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(number).standard_normal(len(times))
    samples = 0.3 * np.sin(2 * np.pi * (200 + 37 * number) * times) + 0.05 * noise
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form or FORMATS[number % len(FORMATS)])
    return file.getvalue()
