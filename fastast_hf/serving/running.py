"""A server's process, or several that share an address."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from filelock import FileLock, Timeout
from uvicorn.supervisors import Multiprocess

from ..merging.complexity import solve_tome_r
from ..tagging.tagger import Tagger
from .app import make_app
from .metrics import FOLDER
from .service import Limits, Service

SETTINGS = "FASTAST_SERVE"  # environment variable: what the workers are told
BACKLOG = 2048
WORKER_SILENT = 60  # seconds after which a worker is taken for dead: it may be reading gigabytes of weights


def serve(
    model: dict[str, Any], limits: Limits, host: str, port: int, key_file: Path | None = None, workers: int = 1
) -> None:
    """Answer requests until SIGTERM or SIGINT, and then those that were taken.

    Args:
        model: Arguments of [`tagger_of`].
        limits: What is taken.
        host: Address to listen at.
        port: Of it; 0 for a free one.
        key_file: A file of keys, one on a line.
        workers: Processes, each with a model.

    Raises:
        ValueError: A wrong argument, or a file without keys.
        OSError: No such model or file, or something else listens there.
    """
    keys = keys_of(key_file)
    tagger = tagger_of(model)  # with several workers, to say what is wrong with it
    try:
        listening = socket.create_server((host, port), family=_family(host), backlog=BACKLOG)
    except OSError as error:
        raise OSError(
            f"cannot listen at {host}, port {port} ({error.strerror}): give another --host or --port"
        ) from None
    allow_many_connections()
    address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    print(f"serving {tagger!r} at {address} (try it at {address}/docs)", flush=True)
    settings: dict[str, Any] = {
        "log_level": "warning",
        "access_log": False,
        "timeout_graceful_shutdown": round(limits.timeout),
        "ws_max_size": limits.max_bytes,
    }
    if workers == 1:
        uvicorn.Server(uvicorn.Config(make_app(Service(tagger, limits), keys), **settings)).run([listening])
        return
    del tagger
    with tempfile.TemporaryDirectory(prefix="fastast-serve-") as folder:
        told = {"model": model, "limits": asdict(limits), "keys": str(key_file) if key_file else None, "of": workers}
        os.environ |= {SETTINGS: json.dumps(told), FOLDER: folder}
        config = uvicorn.Config(
            f"{__name__}:worker_app",
            factory=True,
            workers=workers,
            timeout_worker_healthcheck=WORKER_SILENT,
            **settings,
        )
        Multiprocess(config, [listening]).run()


def tagger_of(model: dict[str, Any]) -> Tagger:
    """A tagger with these arguments; `speedup`, too, as of `fastast classify`."""
    speedup = model.get("speedup")
    tagger = Tagger(**{name: value for name, value in model.items() if name != "speedup"})
    if speedup is not None:
        frames = tagger.feature_extractor.max_length
        tagger.model.set_tome_r(solve_tome_r(tagger.model.config, speedup, num_frames=frames))
    return tagger


def worker_app() -> FastAPI:
    """The app of one process of several."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    told = json.loads(os.environ[SETTINGS])
    place = claimed(Path(os.environ[FOLDER]), told["of"])
    model = told["model"]
    if model["device"] in (None, "cuda") and torch.cuda.device_count() > 1:
        model["device"] = f"cuda:{place % torch.cuda.device_count()}"
    torch.set_num_threads(max(torch.get_num_threads() // told["of"], 1))
    return make_app(Service(tagger_of(model), Limits(**told["limits"])), keys_of(told["keys"]))


def claimed(folder: Path, count: int) -> int:
    """A number below `count` that no other living process has; a process that ends gives it back."""
    for place in range(count):
        lock = FileLock(folder / f"{place}.lock", is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _CLAIMS.append(lock)
        return place
    return 0  # one that was killed is not gone yet


_CLAIMS: list[FileLock] = []  # a lock that is collected is released


def keys_of(file: str | Path | None) -> list[str]:
    """The keys in a file, one on a line; none without a file.

    Raises:
        ValueError: There are none in it.
        OSError: It can't be read.
    """
    if file is None:
        return []
    keys = Path(file).read_text(encoding="utf-8").split()
    if not keys:
        raise ValueError(f"{file} holds no key: give a file with one on a line")
    return keys


def allow_many_connections() -> None:
    """Raise the bound on open files to what the system lets a user have: each connection is one."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS lets nobody have the "infinity" that it states
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _family(host: str) -> socket.AddressFamily:
    return socket.getaddrinfo(host, None)[0][0]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
