"""The one kind of error of audio that can't be used."""

from __future__ import annotations

import os
from typing import Any


class AudioError(ValueError):
    """Audio that can't be used. The message is one line: the source, what is wrong with it and what to do."""


def name_of(source: Any) -> str:
    """What messages call a recording: its file as it was given, in one line, "clip" for bytes, or "array".

    Example:
        >>> name_of("dog.wav"), name_of(([0.0], 16000))
        ('dog.wav', 'array')
    """
    if isinstance(source, dict):
        source = source.get("path") or (source["bytes"] or b"" if "bytes" in source else "array")
    if isinstance(source, bytes) or hasattr(source, "read"):
        source = name if isinstance(name := getattr(source, "name", None), (str, os.PathLike)) else "clip"
    if not isinstance(source, (str, os.PathLike)):
        return "array"
    return " ".join(str(source).splitlines()) or "''"
