"""Recordings read ahead of the model, in threads, in order and in bounded memory.

Decoding and resampling release Python's lock, so that threads do both while the model computes. What they hold is
bounded twice, whatever the number of recordings: by how many are under way, and by how many windows (stretches of the
model's input length) are read and not yet taken. A worker starts on a recording while there is room, not knowing its
length, so that w workers and a recording of at most m windows make room + w · m windows, beside the group that the
model is at: room + m. At 8 clips to a batch there are 32 of room; of 10-s clips at 16 kHz, 640 kB each, 4 workers hold
23 MB, and the model 21 MB, whether the folder has a hundred clips or a million.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Generic, TypeVar

Source = TypeVar("Source")
Recording = TypeVar("Recording")
Windows = TypeVar("Windows", bound=Sized)

MOST_WORKERS = 8  # more cores than these are for the model


def usable_workers(workers: int | None = None) -> int:
    """Threads to read with: those asked for, else one for each core of this process, up to `MOST_WORKERS`.

    Raises:
        ValueError: Fewer than 0.

    Example:
        >>> usable_workers(3)
        3
    """
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        beside = os.environ.get("LOCAL_WORLD_SIZE", "1")  # processes on this machine, as launchers tell
        return max(1, min(MOST_WORKERS, cores // max(1, int(beside) if beside.isdecimal() else 1)))
    if workers < 0:
        raise ValueError(f"workers is {workers}: give the number of threads that read files, or 0 for none")
    return workers


def read_ahead(
    read: Callable[[Source], Recording],
    sources: Iterable[Source],
    *,
    workers: int | None = None,
    most: int = 32,
    room: int | None = None,
) -> Generator[tuple[Source, Recording], None, None]:
    """Read sources in threads, ahead of the one who takes them.

    Sources are drawn in the thread of the one who takes, as they are needed. Closing the iterator, an error in it and
    its end leave no thread running: what has begun is waited for, the rest is not begun.

    Args:
        read: Reads a source.
        sources: Any number of them, with or without a length.
        workers: Threads that read; 0 reads each source when it is taken, None decides by the cores there are.
        most: Sources that may be under way or read, and not yet taken, at once.
        room: No source is begun, but the next to be taken, while the lengths (`len`) of what is read and not yet taken
            add up to this; None for no bound but `most`.

    Yields:
        Each source with what was read, in the order of the sources.

    Raises:
        ValueError: `workers` is negative, or `most` is not positive.
        Exception: What `read` raised, in its place; what `sources` raised, when they are drawn.

    Example:
        >>> list(read_ahead(len, ["a", "bc"], workers=2))
        [('a', 1), ('bc', 2)]
    """
    workers = usable_workers(workers)
    if most < 1:
        raise ValueError(f"most is {most}: read 1 source or more at once")
    if isinstance(sources, Sized):
        workers = 0 if len(sources) < 2 else min(workers, len(sources))
    if workers == 0:
        return ((source, read(source)) for source in sources)
    return _ReadingAhead(read, min(workers, most), room).stream(sources, most)


def in_groups(recordings: Iterable[tuple[Source, Windows]], windows: int) -> Iterator[list[tuple[Source, Windows]]]:
    """Recordings together until they have that many windows, so that batches of like length can be made of them.

    Args:
        recordings: Sources with their windows; of one that can't be read, none.
        windows: From so many on, a group is given. One without windows that has no others to wait for is given at
            once.

    Yields:
        Groups, none of them empty, in the order of the recordings.

    Example:
        >>> [len(group) for group in in_groups([("a", [1]), ("b", [2, 3]), ("c", [4])], 2)]
        [2, 1]
    """
    group: list[tuple[Source, Windows]] = []
    waiting = 0
    for source, own in recordings:
        group.append((source, own))
        waiting += len(own)
        if not waiting or waiting >= windows:
            yield group
            group, waiting = [], 0
    if group:
        yield group


class _ReadingAhead(Generic[Source, Recording]):
    """What is drawn and not yet read, what is read and not yet taken, and the threads between the two.

    A worker never waits for room, which only taking makes: it leaves, and taking calls for another. So nothing is left
    to wake when the program ends with recordings not taken.
    """

    def __init__(self, read: Callable[[Source], Recording], workers: int, room: int | None) -> None:
        self._read, self._workers, self._room = read, workers, room
        self._lock = threading.Lock()
        self._drawn: deque[tuple[int, Source, Future[Recording]]] = deque()
        self._busy = self._held = self._next = 0  # workers, lengths not taken, index of the next to be taken

    def stream(self, sources: Iterable[Source], most: int) -> Generator[tuple[Source, Recording], None, None]:
        under_way: deque[tuple[Source, Future[Recording]]] = deque()
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="fastast-read")
        drawn = enumerate(sources)
        try:
            while True:
                for index, source in islice(drawn, most - len(under_way)):
                    future: Future[Recording] = Future()
                    under_way.append((source, future))
                    with self._lock:
                        self._drawn.append((index, source, future))
                    self._call_workers(pool)
                if not under_way:
                    return
                self._call_workers(pool)
                source, future = under_way.popleft()
                recording = future.result()
                with self._lock:
                    self._held -= _length(recording)
                    self._next += 1
                self._call_workers(pool)
                del future  # which holds the recording, too
                yield source, recording
                del source, recording
        finally:
            with self._lock:
                self._drawn.clear()
            pool.shutdown(wait=True, cancel_futures=True)

    def _call_workers(self, pool: ThreadPoolExecutor) -> None:
        with self._lock:
            more = min(self._workers - self._busy, len(self._drawn)) if self._may_begin() else 0
            self._busy += more
        for _ in range(more):
            pool.submit(self._work)

    def _may_begin(self) -> bool:
        # The next to be taken is always read: nothing else would make room.
        return bool(self._drawn) and (self._room is None or self._held < self._room or self._drawn[0][0] == self._next)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._may_begin():
                    self._busy -= 1
                    return
                _, source, future = self._drawn.popleft()
            try:
                recording = self._read(source)
            except BaseException as error:  # which is raised where the recording would be taken
                future.set_exception(error)
            else:
                with self._lock:
                    self._held += _length(recording)
                future.set_result(recording)
                del recording
            del source, future


def _length(recording: Any) -> int:
    return len(recording) if isinstance(recording, Sized) else 0
