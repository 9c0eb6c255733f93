"""What audio libraries print is dropped: it lands in the midst of our output and names no file.

libsndfile prints to C's `stdout`, its mp3 decoder to C's `stderr`. These are variables of the C library; they point to
/dev/null while a file is decoded. Python does not write through them.

A process is not forked meanwhile: the mp3 decoder would wait in the child for what a thread of the parent has locked.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _CStreams:
    """The two variables; none where the C library has none to set (Windows, musl): there, nothing is dropped."""

    def __init__(self) -> None:
        self.gate, self.lock, self.idle, self.users = threading.Lock(), threading.Lock(), threading.Event(), 0
        self.idle.set()
        self.variables: list[ctypes.c_void_p] = []
        self.before: list[int | None] = []
        names = ("__stdoutp", "__stderrp") if sys.platform == "darwin" else ("stdout", "stderr")
        if sys.platform == "darwin" or platform.libc_ver()[0] == "glibc":
            library = ctypes.CDLL(None)
            library.fopen.restype = ctypes.c_void_p
            self.null = library.fopen(os.devnull.encode(), b"w")
            self.variables = [ctypes.c_void_p.in_dll(library, name) for name in names] if self.null else []

    def drop(self) -> None:
        with self.gate, self.lock:
            self.users += 1
            if self.users == 1:
                self.idle.clear()
                self.before = [variable.value for variable in self.variables]
                for variable in self.variables:
                    variable.value = self.null

    def restore(self) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                for variable, value in zip(self.variables, self.before, strict=True):
                    variable.value = value
                self.idle.set()

    def before_fork(self) -> None:
        self.gate.acquire()
        self.idle.wait()
        self.lock.acquire()

    def after_fork(self) -> None:
        self.lock.release()
        self.gate.release()


_c_streams = _CStreams()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_c_streams.before_fork,
        after_in_parent=_c_streams.after_fork,
        after_in_child=_c_streams.after_fork,
    )


@contextmanager
def c_output_dropped() -> Iterator[None]:
    """Drop what C libraries print meanwhile, in any thread."""
    _c_streams.drop()
    try:
        yield
    finally:
        _c_streams.restore()
