"""The server's addresses."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import HTTPConnection

from .handler import ACTIVATIONS, PARAMETERS
from .listening import Listening
from .metrics import Metered
from .service import Service

OF_EMBED = ("tome_r",)
BEARER = HTTPBearer(auto_error=False, description="A key of --api-key-file, where the server has one")
_NUMBER = {"type": "number", "exclusiveMinimum": 0}
SCHEMAS: dict[str, dict[str, Any]] = {
    "top_k": {"type": "integer", "minimum": 1, "default": 5, "description": "Labels to give"},
    "tome_r": {"type": "integer", "minimum": 0, "description": "Tokens to merge in each layer"},
    "window": {**_NUMBER, "description": "Seconds of a window; the answer is then a timeline"},
    "hop": {**_NUMBER, "description": "Seconds between windows; the answer is then a timeline"},
    "activation": {"type": "string", "enum": list(ACTIVATIONS), "default": "auto"},
    "threshold": {"type": "number", "minimum": 0, "maximum": 1, "description": "Give labels with this score or more"},
}


def make_app(service: Service, keys: Sequence[str] = ()) -> FastAPI:
    """The app that answers by a service.

    Args:
        service: Model and limits.
        keys: Requests must have one of them, where there are any.
    """

    async def with_key(asking: HTTPConnection) -> None:
        if keys and not is_one_of(keys, asking.headers.get("Authorization", "").removeprefix("Bearer ")):
            challenge = {"WWW-Authenticate": "Bearer"}
            raise HTTPException(401, "no key, or a wrong one: send Authorization: Bearer KEY", challenge)

    app = FastAPIOffline(
        redoc_url=None,
        title="fastast serve",
        version=version("fastast-hf"),
        description='Sounds to labels. An error is `{"error": what is wrong}`.',
    )
    guarded = [Depends(BEARER), Depends(with_key)]

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("docs")

    @app.post("/classify", dependencies=guarded, openapi_extra=takes(PARAMETERS), responses=LABELS)
    async def classify(request: Request) -> Response:
        """Labels of a sound, the likeliest first; with `window` or `hop`, those of each window."""
        return JSONResponse(await service.answer(request, service.classify, PARAMETERS))

    @app.post("/embed", dependencies=guarded, openapi_extra=takes(OF_EMBED), responses=VECTOR)
    async def embed(request: Request) -> Response:
        """A sound's vector."""
        return JSONResponse(await service.answer(request, service.embed, OF_EMBED))

    @app.websocket("/listen", dependencies=[Depends(with_key)])
    async def listen(socket: WebSocket) -> None:
        with suppress(WebSocketDisconnect):
            async with service.place():
                await Listening(service, socket.query_params).run(socket)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server is alive."""
        return {"status": "alive"}

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        """Whether there is a place in the queue; 503 if not."""
        async with service.place():
            return {"status": "ready"}

    @app.get("/info", dependencies=guarded)
    async def info() -> dict[str, Any]:
        """The model, its labels and merging, and the limits."""
        return service.info()

    @app.get("/metrics", dependencies=guarded)
    async def metrics() -> Response:
        """What Prometheus reads."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(AnyHTTPException)
    async def refused(asking: HTTPConnection, error: AnyHTTPException) -> Response:
        response = JSONResponse({"error": error.detail}, error.status_code, error.headers)
        if isinstance(asking, WebSocket):
            await asking.send_denial_response(response)
        return response

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:
        return JSONResponse({"error": "the server failed"}, 500)

    app.add_middleware(Metered, metrics=service.metrics, paths=app.openapi()["paths"])
    return app


def is_one_of(keys: Sequence[str], given: str) -> bool:
    """In the same time for each wrong key."""
    return max(secrets.compare_digest(given.encode(), key.encode()) for key in keys)


def takes(parameters: Sequence[str]) -> dict[str, Any]:
    """OpenAPI's word for a request with these parameters."""
    schemas = {name: SCHEMAS[name] for name in parameters}
    file = {"type": "string", "format": "binary"}
    base64 = {"type": "string", "format": "byte"}
    own = {"type": "object", "properties": schemas}
    return {
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in schemas.items()],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {"type": "object", "required": ["inputs"], "properties": {"inputs": file}}
                },
                "audio/*": {"schema": file},
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["inputs"],
                        "properties": {"inputs": base64, "parameters": own},
                    }
                },
            },
        },
    }


def _answers(schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    errors = {400: "What is wrong", 401: "No key", 408: "Too slow", 413: "Too large", 503: "Too busy", 504: "Too long"}
    answer = {"content": {"application/json": {"schema": schema}}, "description": "The answer"}
    return {200: answer, **{code: {"description": text} for code, text in errors.items()}}


_LABEL = {"type": "object", "properties": {"label": {"type": "string"}, "score": {"type": "number"}}}
_SECONDS = {name: {"type": "number"} for name in ("time", "start", "end")}
_MOMENT = {"type": "object", "properties": {**_SECONDS, "labels": {"type": "array", "items": _LABEL}}}
LABELS = _answers({"type": "array", "items": {"oneOf": [_LABEL, _MOMENT]}})
VECTOR = _answers({"type": "array", "items": {"type": "number"}})
