"""Audio files and arrays to mono waveforms."""

from __future__ import annotations
