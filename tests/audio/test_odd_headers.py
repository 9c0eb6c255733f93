"""Wav headers with numbers that no recording has: samples, or one line."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from fastast_hf.audio import AudioError, load_audio
from fastast_hf.audio.pipes import sound_in_bytes


def wav(channels: int, rate: int, bits: int, stated: int) -> bytes:
    """A file of 1600 samples whose `fmt ` chunk and length say something else."""
    samples = (np.sin(np.arange(1600) / 5) * 9000).astype("<i2").tobytes()
    fmt = struct.pack("<HHIIHH", 1, channels, rate, 0, 2 * channels % 2**16, bits)
    head = b"RIFF" + struct.pack("<I", 36 + len(samples)) + b"WAVEfmt " + struct.pack("<I", 16) + fmt
    return head + b"data" + struct.pack("<I", stated) + samples


@pytest.mark.parametrize("channels", [0, 1, 1025, 65535])
@pytest.mark.parametrize("rate", [0, 1, 16000, 2**31 - 1, 2**31, 2**32 - 1])
def test_odd_numbers_are_samples_or_one_line(channels: int, rate: int) -> None:
    for bits, stated in ((16, 3200), (16, 0), (16, 2**32 - 1), (0, 3200), (65535, 3200)):
        sound = wav(channels, rate, bits, stated)
        if (channels, rate, bits) == (1, 16000, 16):
            assert len(load_audio(sound)) == 1600
            continue
        with pytest.raises(AudioError):
            load_audio(sound)
        try:
            blocks = list(sound_in_bytes(io.BytesIO(sound).read, "pipe")[1])
        except AudioError:
            continue
        assert sum(map(len, blocks)) == 1600 // max(1, channels)
