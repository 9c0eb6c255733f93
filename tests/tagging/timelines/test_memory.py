"""Memory does not depend on how long a recording is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from running_scripts import environment

# Reads a recording as windows with a hop, and through a timeline with a model that costs nothing.
SCRIPT = """
import re, sys
from pathlib import Path
import torch
from fastast_hf import Tagger
torch.set_num_threads(1)
tagger = Tagger(device="cpu", batch_size=16)
tagger.scores_of_frames = lambda frames: frames.mean(dim=(1, 2))[:, None] + torch.zeros(12)
timeline = tagger.timeline(sys.argv[1], window=1.0, hop=float(sys.argv[2]))
for moment in timeline:
    seconds = moment.end
timeline.plot()
print(seconds, re.search("VmHWM: *(.*) kB", Path("/proc/self/status").read_text().replace("\\t", " "))[1])
"""


def peak_memory(path: Path, seconds: float, hop: float) -> float:
    """Of a process that makes a timeline, in kB."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), str(hop)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    heard, memory = map(float, done.stdout.split())
    assert heard == seconds
    return memory


def write_flac(path: Path, seconds: int) -> Path:
    """A quiet minute over and over."""
    minute = np.random.default_rng(0).integers(-1, 2, 60 * 16000).astype(np.int16)
    with soundfile.SoundFile(path, "w", 16000, 1, "PCM_16") as file:
        for _ in range(seconds // 60):
            file.write(minute)
    return path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by Linux' /proc")
def test_a_day_takes_the_memory_of_a_minute(tmp_path: Path) -> None:
    minute, hour, day = (
        peak_memory(write_flac(tmp_path / "a.flac", seconds), seconds, hop=0.5) for seconds in (60, 3600, 86_400)
    )
    assert hour < 1.05 * minute and day < 1.05 * minute
