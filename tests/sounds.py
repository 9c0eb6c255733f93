"""Sounds to read, what is heard in them, and the one line that is said where nothing can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastast_hf.audio import AudioError, load_audio


def tone(hz: float = 440.0, rate: int = 16000, seconds: float = 0.5, amplitude: float = 0.5) -> np.ndarray:
    """A sine, float64 (n,)."""
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


def amplitude_at(hz: float, samples: np.ndarray, rate: int = 16000) -> float:
    """Amplitude of the sine at `hz` in the middle half of the samples, away from the edges of filters and codecs."""
    quarter = len(samples) // 4
    middle = samples[quarter:-quarter].astype(np.float64)
    window = np.hanning(len(middle))
    turns = np.exp(-2j * np.pi * hz * np.arange(len(middle)) / rate)
    return 2 * abs((middle * window * turns).sum()) / window.sum()


def write_mp3(path: Path, samples: np.ndarray, rate: int = 44100, compression: float = 0.5) -> bytes:
    """Write a constant bit rate mp3 and return its bytes."""
    soundfile.write(path, samples, rate, format="MP3", bitrate_mode="CONSTANT", compression_level=compression)
    return path.read_bytes()


def refusal(source: object, sampling_rate: int = 16000) -> str:
    """The message `load_audio` raises, checked to be one line and to come without another exception behind it."""
    with pytest.raises(AudioError) as caught:
        load_audio(source, sampling_rate)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert ": " in message and "; " in message  # the source, what is wrong; what to do
    assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)
    return message
