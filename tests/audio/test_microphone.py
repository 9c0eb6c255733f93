"""A microphone, and one that is unplugged. PortAudio is played by a module of the same face."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastast_hf.audio import AudioError, microphone
from fastast_hf.audio.microphone import Microphone


class PortAudioError(Exception):
    pass


def fake_sounddevice(blocks: list[np.ndarray], end: str, statuses: tuple[str, ...] = ()) -> Any:
    """Hears blocks, with statuses; then it ends the stream, falls silent, or can't be opened at all."""

    class InputStream:
        def __init__(self, callback: Any, finished_callback: Any, samplerate: int, **settings: Any) -> None:
            if end == "refuse":
                raise PortAudioError("Error opening InputStream: Device unavailable [PaErrorCode -9985]")
            assert settings["channels"] == 1 and settings["dtype"] == "float32"
            self.callback, self.finished = callback, finished_callback

        def hear(self) -> None:
            for block, status in zip(blocks, [*statuses, *[""] * len(blocks)], strict=False):
                self.callback(block[:, None], len(block), None, status)
            if end == "finish":
                self.finished()

        def __enter__(self) -> None:
            self.thread = threading.Thread(target=self.hear)
            self.thread.start()

        def __exit__(self, *error: Any) -> None:
            self.thread.join()

    def query_devices(device: Any, kind: str) -> dict[str, Any]:
        if device == "none":
            raise ValueError("No input device matching 'none'")
        return {"name": "USB", "default_samplerate": 48000.0}

    return SimpleNamespace(InputStream=InputStream, query_devices=query_devices, PortAudioError=PortAudioError)


@pytest.mark.parametrize(
    ("end", "said"), [("finish", "no sound comes any more"), ("fall silent", "no sound comes"), ("refuse", "-9985")]
)
def test_an_unplugged_microphone_is_a_line_and_what_it_heard_stands(
    end: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = [np.full(960, value, np.float32) for value in (0.1, 0.2)]
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice(blocks, end, ("input overflow",)))
    monkeypatch.setattr(microphone, "SILENT", 0.2)
    usb = Microphone()
    assert (usb.name, usb.rate) == ("USB", 48000)
    found: list[np.ndarray] = []
    with pytest.raises(AudioError, match=f"USB: .*{said}.*plug the microphone in again"):
        found.extend(usb)
    np.testing.assert_array_equal(found, [] if end == "refuse" else blocks)
    assert usb.gaps == (0 if end == "refuse" else 1)


def test_a_microphone_that_is_not_there_is_a_line_that_says_where_they_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice([], "finish"))
    with pytest.raises(AudioError, match=r"no microphone 'none' .*python -m sounddevice"):
        Microphone("none")
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ImportError):
        Microphone()
