"""A small Hub on this machine: the part of its HTTP API that huggingface_hub uses to push, list and load repositories.

    python tests/local_hub.py --port 8008
    export HF_ENDPOINT=http://127.0.0.1:8008 HF_TOKEN=hf_local HF_HUB_DISABLE_XET=1

It takes any owner, and refuses any other token. Repositories live in memory and are gone with it.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from local_hub_repositories import LocalHub
from local_hub_routes import TOKEN, Request, answer_of

__all__ = ["LocalHub", "local_hub"]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle("GET")

    def do_HEAD(self) -> None:
        self._handle("HEAD")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        parts = urlsplit(self.path)
        self.hub.requests.append(f"{method} {unquote(parts.path)}")
        try:
            self.hub.before(method, unquote(parts.path))
        except Exception:
            self.close_connection = True
            self.connection.close()
            return
        asked = Request(method, parts.path, parse_qs(parts.query), self.headers, self._body())
        with self.hub.lock:
            answer = answer_of(self.hub, asked)
        self.send_response(answer.status)
        content_type = "application/json" if answer.body[:1] in (b"{", b"[") else "application/octet-stream"
        length = str(len(answer.body))
        for name, value in {"Content-Type": content_type, "Content-Length": length, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if method != "HEAD":
            self.wfile.write(answer.body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)


@contextmanager
def local_hub(port: int = 0) -> Iterator[LocalHub]:
    """A Hub that answers at `.url` until the block ends; port 0 takes any that is free."""
    hub = LocalHub()
    handler = type("HandlerOfHub", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8008)
    with local_hub(parser.parse_args().port) as hub:
        print(f"export HF_ENDPOINT={hub.url} HF_TOKEN={TOKEN} HF_HUB_DISABLE_XET=1", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
