"""Audio files and arrays to mono waveforms."""

from __future__ import annotations

from .errors import AudioError, name_of
from .folders import AUDIO_EXTENSIONS, AudioFiles, find_audio, is_audio, walk
from .incoming import MIN_SECONDS
from .loading import load_audio, load_part, load_row, num_samples, read_audio, row_span
from .rolling import windows

__all__ = [
    "AUDIO_EXTENSIONS",
    "MIN_SECONDS",
    "AudioError",
    "AudioFiles",
    "find_audio",
    "is_audio",
    "load_audio",
    "load_part",
    "load_row",
    "name_of",
    "num_samples",
    "read_audio",
    "row_span",
    "walk",
    "windows",
]
