"""Memory does not depend on how long a recording is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from running_scripts import environment

# A timeline of a recording, by the bundled checkpoint or by a model that costs nothing.
SCRIPT = """
import re, sys
from pathlib import Path
import torch
from fastast_hf import Tagger
torch.set_num_threads(1)
tagger = Tagger(device="cpu", batch_size=16)
if sys.argv[3] == "none":
    tagger.scores_of_frames = lambda frames: frames.mean(dim=(1, 2))[:, None] + torch.zeros(12)
timeline = tagger.timeline(sys.argv[1], window=1.0, hop=float(sys.argv[2]))
for moment in timeline:
    seconds = moment.end
timeline.plot()
print(seconds, re.search("VmHWM: *(.*) kB", Path("/proc/self/status").read_text().replace("\\t", " "))[1])
"""


def peak_memory(path: Path, seconds: float, hop: float, model: str) -> float:
    """Of a process that makes a timeline, in kB."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), str(hop), model],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    heard, memory = map(float, done.stdout.split())
    assert heard == seconds
    return memory


def write_flac(path: Path, seconds: int, rate: int, channels: int) -> Path:
    """A quiet minute over and over."""
    minute = np.random.default_rng(0).integers(-1, 2, (60 * rate, channels)).astype(np.int16)
    with soundfile.SoundFile(path, "w", rate, channels, "PCM_16") as file:
        for _ in range(seconds // 60):
            file.write(minute)
    return path


told = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by Linux' /proc")


@pytest.mark.slow
@told
def test_a_day_takes_the_memory_of_a_minute(tmp_path: Path) -> None:
    """Decoded, resampled, cut and drawn; a model would take hours."""
    minute, hour, day = (
        peak_memory(write_flac(tmp_path / "a.flac", seconds, 22050, 1), seconds, 0.5, "none")
        for seconds in (60, 3600, 86_400)
    )
    assert hour < 1.05 * minute and day < 1.05 * minute


@pytest.mark.slow
@told
def test_an_hour_of_stereo_through_a_model_takes_the_memory_of_a_minute(tmp_path: Path) -> None:
    minute, hour = (
        peak_memory(write_flac(tmp_path / "a.flac", seconds, 44100, 2), seconds, 1.0, "bundled")
        for seconds in (60, 3600)
    )
    assert hour < 1.05 * minute
