"""The microphone, by PortAudio."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import one_line
from .errors import AudioError

SILENT = 5.0  # s without a block: an unplugged device may just fall silent
WAITING = 500  # blocks of 20 ms


class Microphone:
    """Blocks (n,) of what a microphone hears, to iterate over once. Needs the extra `live`.

    Args:
        device: Its number or a part of its name, as `python -m sounddevice` lists them; None for the system's.

    Attributes:
        name: Its name.
        rate: Its sampling rate in Hz.
        gaps: How often sound was lost because the machine was too busy to fetch it.

    Raises:
        ImportError: sounddevice is not installed.
        OSError: PortAudio is not installed.
        AudioError: There is no such microphone. Iterating raises it when the microphone is unplugged.
    """

    def __init__(self, device: int | str | None = None) -> None:
        try:
            import sounddevice
        except OSError as error:
            raise OSError(
                "the microphone needs the library PortAudio: install it (on Debian: apt-get install libportaudio2)"
            ) from error
        self._sounddevice, self._device, self.gaps = sounddevice, device, 0
        try:
            found: dict[str, Any] = sounddevice.query_devices(device, "input")
        except (ValueError, sounddevice.PortAudioError) as error:
            which = "no microphone" if device is None else f"no microphone {device!r}"
            raise AudioError(
                f"{which} ({one_line(error)}); plug one in, or choose one that `python -m sounddevice` lists"
            ) from None
        self.name, self.rate = found["name"], int(found["default_samplerate"])

    def __iter__(self) -> Iterator[np.ndarray]:
        blocks: queue.Queue[np.ndarray | None] = queue.Queue(maxsize=WAITING)

        def heard(samples: np.ndarray, count: int, time: Any, status: Any) -> None:
            self.gaps += bool(status)
            try:
                blocks.put_nowait(samples[:, 0].copy())
            except queue.Full:
                self.gaps += 1

        def ended() -> None:
            with contextlib.suppress(queue.Full):
                blocks.put_nowait(None)

        try:
            with self._sounddevice.InputStream(
                device=self._device,
                channels=1,
                samplerate=self.rate,
                blocksize=self.rate // 50,
                dtype="float32",
                callback=heard,
                finished_callback=ended,
            ):
                while (block := blocks.get(timeout=SILENT)) is not None:
                    yield block
        except queue.Empty:
            pass
        except self._sounddevice.PortAudioError as error:
            raise AudioError(f"{self.name}: {one_line(error)}; plug the microphone in again") from None
        raise AudioError(f"{self.name}: no sound comes any more; plug the microphone in again")
