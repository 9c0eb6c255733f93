"""From a request's body to a sound's bytes and parameters, within bounds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import HTTPException, Request
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

MOST_HELD = 2**30  # bytes of all bodies that are under way
MOST_FIELDS = 16  # of a form
BUSY = "too many requests are waiting: try again in a second"


class Bodies:
    """Reads bodies; those under way share a bound on their bytes.

    Args:
        most: Bytes of one.
        seconds: For all of it to arrive.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds, self._held = most, seconds, 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """All of a body; it counts until the context ends.

        Raises:
            HTTPException: It is too large (413), too slow (408), cut off (400), or too much beside others (503).
        """
        body = bytearray()
        try:
            try:
                await asyncio.wait_for(self._fill(body, request), self._seconds)
            except asyncio.TimeoutError:
                raise HTTPException(408, f"the request took longer than {self._seconds:g} s to arrive") from None
            except ClientDisconnect:
                raise HTTPException(400, "the request was cut off") from None
            yield body
        finally:
            self._held -= len(body)

    async def _fill(self, body: bytearray, request: Request) -> None:
        too_large = HTTPException(413, f"the request is larger than {self._most} bytes: give a shorter sound, or flac")
        if int(request.headers.get("content-length", 0)) > self._most:
            raise too_large
        async for chunk in request.stream():
            body += chunk
            self._held += len(chunk)
            if len(body) > self._most:
                raise too_large
            if self._held > MOST_HELD:
                raise HTTPException(503, BUSY, {"Retry-After": "1"})


async def parsed(request: Request, body: bytearray) -> tuple[Any, Any]:
    """Inputs and parameters of JSON, of a form with a file, or of a sound's bytes with parameters in the address.

    Raises:
        ValueError: The body is not what its type says.
    """
    given: dict[str, Any] = dict(request.query_params)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            raise ValueError("the body is no JSON") from None
        if not isinstance(data, dict):
            raise ValueError('the body is no JSON object: give {"inputs": BASE64, "parameters": {…}}')
        own = data.get("parameters") or {}
        return data.get("inputs"), given | own if isinstance(own, dict) else own
    if kind == "multipart/form-data":
        return await _of_form(request, body, given)
    return body, given


class _InMemory(MultiPartParser):
    spool_max_size = 2**40  # a request writes no files; its size is bounded before


async def _of_form(request: Request, body: bytearray, given: dict[str, Any]) -> tuple[Any, Any]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield bytes(body)

    try:
        parser = _InMemory(request.headers, stream(), max_files=1, max_fields=MOST_FIELDS, max_part_size=len(body))
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeError):
        raise ValueError('the form cannot be read: give one file, named "inputs", and parameters as fields') from None
    fields = dict(form.multi_items())
    inputs = fields.pop("inputs", None)
    return inputs if isinstance(inputs, str) or inputs is None else await inputs.read(), given | fields
