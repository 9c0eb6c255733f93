"""Many recordings through a model: files are read ahead, windows share batches, and results come in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import closing
from functools import partial
from itertools import islice
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from tqdm.auto import tqdm

from ..audio import AudioError, name_of
from ..audio.reading import in_groups, read_ahead
from ..errors import one_line

if TYPE_CHECKING:
    from .tagger import Tagger

# Clips read ahead of the model: enough to fill batches of like length, few enough to stay in memory.
READ_AHEAD_BATCHES = 4


def as_list(sources: Any) -> tuple[Any, bool]:
    """Any number of recordings, and whether it was one that was given.

    Raises:
        AudioError: It is neither.
    """
    pair = isinstance(sources, tuple) and len(sources) == 2 and isinstance(sources[1], Real)
    one = pair or isinstance(sources, (str, os.PathLike, bytes, dict)) or hasattr(sources, "read")
    if not one and not isinstance(sources, Iterable):
        raise AudioError(f"a {type(sources).__name__} was given: give a file, samples with their rate, or a list")
    return [sources] if one else sources, one


def stream_recordings(
    tagger: Tagger,
    sources: Iterable[Any],
    compute: Callable[[list[np.ndarray]], Iterable[Tensor]],
    finish: Callable[[list[Tensor], Any], Any],
    *,
    read: Callable[[Any], Iterator[np.ndarray]] | None = None,
    on_error: str = "raise",
    progress: bool | None = None,
    workers: int | None = None,
) -> Iterator[Any]:
    """What a model makes of each recording, as soon as it is known; any number of recordings fits into memory.

    Args:
        tagger: Whose batch size it is.
        sources: As of [`Tagger.stream`], like the rest.
        compute: Windows, of any recordings, to a row for each.
        finish: The rows of a recording's windows, and its source, to its result. It may raise an [`AudioError`].
        read: A source to its windows, one after the other; None for [`Tagger.windows`].
        on_error: `"raise"` or `"return"`.
        progress: Whether to show a progress bar.
        workers: Threads that read files.

    Yields:
        The result of each, or the error in its place.
    """
    total = len(sources) if isinstance(sources, Sized) else None
    # tqdm takes None as "not unless this is a terminal".
    hidden = None if progress is None and (total is None or total > tagger.batch_size) else not progress
    ahead = tagger.batch_size * READ_AHEAD_BATCHES
    reading = partial(_Recording, read or tagger.windows, ahead)
    recordings = read_ahead(reading, sources, workers=workers, most=ahead, room=ahead)
    # What fails at once, or is done at once, shows no bar.
    delay = 0 if progress else 1
    with tqdm(total=total, unit="clip", disable=hidden, leave=False, delay=delay) as bar, closing(recordings):
        for group in in_groups(recordings, ahead):
            rows = list(compute([window for _, recording in group for window in recording.first]))
            for source, recording in group:
                own, rows = rows[: len(recording)], rows[len(recording) :]
                while rest := recording.read(ahead):
                    own.extend(compute(rest))
                result = recording.error
                if result is None:
                    try:
                        result = finish(own, source)
                    except AudioError as error:
                        result = error
                if on_error == "raise" and isinstance(result, AudioError):
                    raise result
                bar.update()
                yield result
            del group, recording  # the windows, before the next ones are gathered


class _Recording:
    """The windows of a recording, the first ones read and the rest to be read, for it may be longer than the memory.

    Attributes:
        first: A few batches of windows; none if the recording could not be read.
        error: Why it could not, if so.
    """

    def __init__(self, read: Callable[[Any], Iterator[np.ndarray]], most: int, source: Any) -> None:
        self.source = source
        self.error: AudioError | None = None
        self._windows = read(source)
        self.first = self.read(most)

    def __len__(self) -> int:
        return len(self.first)

    def read(self, most: int) -> list[np.ndarray]:
        """The next windows; none at the recording's end, or where it can't be read."""
        try:
            return list(islice(self._windows, most))
        except AudioError as error:
            self.error = error
        except Exception as error:  # whatever it is, the other recordings are labelled
            reason = f"{type(error).__name__}: {one_line(error)}"
            self.error = AudioError(f"{name_of(self.source)}: cannot be read ({reason}); save it in another format")
        return []
