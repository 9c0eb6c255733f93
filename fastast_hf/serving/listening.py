"""Sound that comes in through a WebSocket, and results that go out as they are known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping

import numpy as np
import torch
from fastapi import HTTPException, WebSocket, WebSocketDisconnect

from ..tagging.live import LiveStream
from ..tagging.timelines.events import Moment
from . import handler
from .service import Service

PCM = {"s16le": "<i2", "f32le": "<f4"}  # FFmpeg's names to numpy's
PARAMETERS = ("top_k", "threshold", "window", "hop")
OF_SOUND = ("rate", "pcm", "channels")
DATA_IS_WRONG, SILENT = 1007, 1001  # codes of RFC 6455


class Listening:
    """One stream.

    Args:
        service: Its model hears the sound.
        asked: `rate` (16000), `pcm` (`s16le`), `channels` (1), and those of `PARAMETERS`, as texts.

    Raises:
        HTTPException: What is wrong with it (400).
    """

    def __init__(self, service: Service, asked: Mapping[str, str]) -> None:
        self._service = service
        tagger, extractor = service.tagger, service.tagger.feature_extractor
        known = (*PARAMETERS, *OF_SOUND)
        try:
            if unknown := sorted(set(asked) - set(known)):
                raise ValueError(f"unknown parameters: {', '.join(unknown)}; give some of {', '.join(known)}")
            own_rate, pcm = extractor.sampling_rate, asked.get("pcm", "s16le")
            if pcm not in PCM:
                raise ValueError(f"pcm is {pcm[:40]!r}: give one of {', '.join(PCM)}")
            self._dtype = np.dtype(PCM[pcm])
            rate = whole("rate", asked.get("rate", str(own_rate)), handler.LEAST_RATE, handler.MOST_RATE)
            self._channels = whole("channels", asked.get("channels", "1"), 1, handler.MOST_CHANNELS)
            own = {name: value for name, value in asked.items() if name in PARAMETERS}
            self._parameters = handler.checked(own, extractor, service.config, PARAMETERS)
            window, hop = (self._parameters[n] / own_rate if n in own else None for n in ("window", "hop"))
            self._live = LiveStream(tagger, None, rate, window, hop, name="the sound")
        except ValueError as error:
            raise HTTPException(400, handler.one_line(error)) from None
        self._block = rate * self._channels * self._dtype.itemsize  # bytes of a second

    async def run(self, socket: WebSocket) -> None:
        """Take PCM as binary messages of any length, and a text at the end; send a JSON object for each window."""
        await socket.accept()
        try:
            async for message in self._messages(socket):
                for start in range(0, len(message), self._block):
                    await self._push(socket, message[start : start + self._block])
            await self._send(socket, await self._service.batcher.run(self._live.close))
            await socket.close()
        except asyncio.TimeoutError:
            await self._end(socket, SILENT, f"no sound for {self._service.limits.timeout:g} s")
        except ValueError as error:
            await self._end(socket, DATA_IS_WRONG, handler.one_line(error))

    async def _messages(self, socket: WebSocket) -> AsyncIterator[bytes]:
        while True:
            message = await asyncio.wait_for(socket.receive(), self._service.limits.timeout)
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"])
            if message.get("bytes") is None:
                return
            yield message["bytes"]

    async def _push(self, socket: WebSocket, sound: bytes) -> None:
        if len(sound) % (self._channels * self._dtype.itemsize):
            raise ValueError("a message holds a part of a sample: send whole ones, of all channels")
        block = np.frombuffer(sound, self._dtype).reshape(-1, self._channels)
        await self._send(socket, await self._service.batcher.run(self._live.push, block))

    async def _send(self, socket: WebSocket, moments: Iterable[Moment]) -> None:
        for moment in moments:
            scores = torch.from_numpy(moment.scores)
            labels = handler.best_labels(scores, self._parameters, self._service.config)
            await socket.send_json({"time": moment.time, "start": moment.start, "end": moment.end, "labels": labels})

    async def _end(self, socket: WebSocket, code: int, why: str) -> None:
        await socket.send_json({"error": why})
        await socket.close(code)


def whole(name: str, text: str, least: int, most: int) -> int:
    """A whole number within bounds.

    Raises:
        ValueError: It is none.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise ValueError(f"{name} is {text[:40]!r}: give a whole number from {least} to {most}")
    return int(text)
