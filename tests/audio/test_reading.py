"""Reading ahead: in order, no further than allowed, and with nothing left running."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastast_hf import AudioError
from fastast_hf.audio.reading import MOST_WORKERS, in_groups, read_ahead, usable_workers

WORKERS = [0, 1, 4]
GROUPS = [  # windows of each recording, size of the groups
    ([1, 1, 1, 1, 1], [2, 2, 1]),
    ([9, 1, 9], [1, 2]),
    ([0, 0, 1, 0, 1, 1], [1, 1, 3, 1]),
    ([1, 0], [2]),
    ([], []),
]


class Counted:
    """Reads numbers into lists of that length, and counts what is read or being read and not yet taken."""

    def __init__(self, sources: list[int] | range, seconds: Callable[[int], float] = lambda index: 0.0) -> None:
        self.sources, self.seconds = sources, seconds
        self.lock = threading.Lock()
        self.begun = self.most_begun = self.held = self.most_held = 0

    def read(self, index: int) -> list[int]:
        with self.lock:
            self.begun += 1
            self.most_begun = max(self.most_begun, self.begun)
        time.sleep(self.seconds(index))
        with self.lock:
            self.held += self.sources[index]
            self.most_held = max(self.most_held, self.held)
        return [index] * self.sources[index]

    def take(self, recording: list[int]) -> None:
        with self.lock:
            self.begun -= 1
            self.held -= len(recording)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("fastast-read")]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("room", [None, 1, 6])
def test_the_order_is_that_of_the_sources_whoever_is_ready_first(workers: int, room: int | None) -> None:
    counted = Counted([index % 5 for index in range(60)], lambda index: 0.002 * (index % 3 == 0))
    got = list(read_ahead(counted.read, iter(range(60)), workers=workers, most=8, room=room))
    assert got == [(index, [index] * (index % 5)) for index in range(60)]
    assert threads() == []


@pytest.mark.parametrize("workers", WORKERS)
def test_a_folder_of_ten_thousand_is_held_a_few_at_a_time(workers: int) -> None:
    drawn = 0

    def paths() -> Iterator[int]:
        nonlocal drawn
        for index in range(10_000):
            drawn += 1
            yield index

    counted = Counted([1] * 10_000)
    for taken, (_, recording) in enumerate(read_ahead(counted.read, paths(), workers=workers, most=16)):
        assert drawn - taken <= 16
        if taken % 1000 == 0:
            time.sleep(0.005)  # the model computes: readers get as far as they may
        counted.take(recording)
    assert counted.most_begun <= (16 if workers else 1)
    assert drawn == 10_000 and counted.held == 0


def test_long_recordings_are_bounded_by_their_length() -> None:
    workers, room, longest = 3, 20, 10
    counted = Counted([longest] * 200)
    for taken, (_, recording) in enumerate(read_ahead(counted.read, range(200), workers=workers, most=64, room=room)):
        if taken % 20 == 0:
            time.sleep(0.01)
        counted.take(recording)
    assert room <= counted.most_held <= room + workers * longest


def test_readers_work_while_the_one_who_takes_does() -> None:
    counted = Counted([1] * 50)
    recordings = read_ahead(counted.read, range(50), workers=2, most=10)
    next(recordings)
    deadline = time.monotonic() + 10
    while counted.begun < 10 and time.monotonic() < deadline:  # nobody takes, and yet they get so far
        time.sleep(0.001)
    assert counted.begun == 10
    recordings.close()


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_comes_in_its_place_and_ends_the_rest(workers: int) -> None:
    read = []

    def fail_at_five(index: int) -> int:
        read.append(index)
        if index == 5:
            raise AudioError("five")
        return index

    recordings = read_ahead(fail_at_five, itertools.count(), workers=workers, most=8)
    assert [recording for _, recording in itertools.islice(recordings, 5)] == [0, 1, 2, 3, 4]
    with pytest.raises(AudioError, match="five"):
        next(recordings)
    assert threads() == [] and max(read) <= 5 + 8


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_of_the_sources_is_theirs(workers: int) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        list(read_ahead(abs, broken(), workers=workers))
    assert threads() == []


@pytest.mark.parametrize("room", [None, 1])
def test_who_stops_early_leaves_no_thread(room: int | None) -> None:
    counted = Counted([3] * 1000, lambda index: 0.001)
    for index, _ in read_ahead(counted.read, range(1000), workers=4, most=8, room=room):
        if index == 3:
            assert threads()
            break
    assert threads() == []
    assert counted.begun <= 13


def test_a_program_may_end_with_recordings_not_taken() -> None:
    script = """
import sys, types

package = sys.modules["fastast_hf"] = types.ModuleType("fastast_hf")
package.__path__ = ["fastast_hf"]  # without the models, which take long to import
from fastast_hf.audio.reading import read_ahead
kept = read_ahead(lambda n: [0] * n, iter([5] * 100), workers=3, most=50, room=10)
print(next(kept))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(5, [0, 0, 0, 0, 0])\n", "")


@pytest.mark.parametrize(("windows", "sizes"), GROUPS)
def test_groups_have_windows_for_a_few_batches(windows: list[int], sizes: list[int]) -> None:
    recordings = [(index, [0] * count) for index, count in enumerate(windows)]
    groups = list(in_groups(recordings, 2))
    assert [len(group) for group in groups] == sizes
    assert [recording for group in groups for recording in group] == recordings


def test_workers_are_those_asked_for_or_the_cores_shared_by_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [usable_workers(n) for n in (0, 3, 99)] == [0, 3, 99]
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)), raising=False)
    assert usable_workers() == 6
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert usable_workers() == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(96)), raising=False)
    assert usable_workers() == MOST_WORKERS
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "500")
    assert usable_workers() == 1


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="workers is -1"):
        read_ahead(abs, [1], workers=-1)
    with pytest.raises(ValueError, match="most is 0"):
        read_ahead(abs, [1], most=0)
