"""Training clips from a stream: shuffled, split over processes and workers, and without an end."""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info
from transformers import TrainingArguments

from ...audio import AudioError
from .batches import decoded, outlive_sigterm

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

# Clips that the next one is drawn from, in each worker; those of a Hub copy hold their audio, a megabyte each.
_DRAWN_FROM = 256
# Clips in a row that can't be read, after which it is the corpus that is broken.
_MOST_UNREADABLE = 1000


class ClipStream(IterableDataset):
    """Decoded clips of one process' share of a streamed split, pass after pass without an end.

    So that all processes have a batch at every step, whatever their shares. Every pass is in an order of its own, a
    function of the seed and the pass alone: where a resumed run skips as many batches as were trained on, it goes on
    with those that the first one would have seen.

    Items are those that [`ClipDataset`] has in training, without `clip`; where in a long clip an item lies depends on
    the seed, the pass and the clip's id. A clip that can't be read is passed over, and the next item
    tells of it: its `unreadable` is [`clip_number`] of that clip, else -1.

    Args:
        split: Of [`load_corpus`], streamed.
        num_classes: Classes of the corpus.
        sampling_rate: In Hz.
        max_samples: Samples that the model takes.
        seed: Of the order.
        process: This process, from 0.
        processes: Among how many the clips are shared out.

    Raises:
        AudioError: Of the iterator: a thousand clips in a row can't be read.
        ValueError: Of the iterator: there are fewer clips than processes.
    """

    def __init__(
        self,
        split: datasets.IterableDataset,
        num_classes: int,
        sampling_rate: int,
        max_samples: int,
        seed: int = 0,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.split, self.seed, self.process, self.processes = split, seed, process, processes
        self.num_classes, self.sampling_rate, self.max_samples = num_classes, sampling_rate, max_samples

    def __iter__(self) -> Iterator[dict[str, Any]]:
        outlive_sigterm()
        waiting: dict[int, None] = {}  # clips to be told of, each once, in their order
        reported: set[int] = set()
        in_a_row = 0
        for number in itertools.count():
            rows = 0
            for row in self._share(number):
                rows += 1
                try:
                    place = np.random.default_rng((self.seed, number, clip_number(row["id"]))).random()
                    item = decoded(row, self.num_classes, self.sampling_rate, self.max_samples, place)
                except AudioError as error:
                    clip, in_a_row = clip_number(row["id"]), in_a_row + 1
                    waiting[clip] = None
                    if clip not in reported:
                        reported.add(clip)
                        logger.warning("left out: %s", error)
                    if in_a_row == _MOST_UNREADABLE:
                        problem = f"{in_a_row} clips of the stream in a row can't be read; check the corpus"
                        raise AudioError(f"{problem} ({error})") from error
                    continue
                in_a_row, told = 0, next(iter(waiting), -1)
                waiting.pop(told, None)
                yield item | {"unreadable": told}
            if number == 0 and not rows:
                worker = get_worker_info()
                if worker is not None and worker.id > 0:
                    return  # there are more workers than shards, and this one has none
                raise ValueError(
                    f"the stream has no clip for process {self.process} of {self.processes}: start fewer processes, "
                    "or leave out --streaming"
                )

    def _share(self, number: int) -> datasets.IterableDataset:
        """This process' clips of a pass. datasets shares them out to workers."""
        from datasets.distributed import split_dataset_by_node

        # Not by the stream's epoch, which workers would share and set under each other's hands.
        order = np.random.default_rng((self.seed, number))
        clips = self.split.shuffle(generator=order, buffer_size=_DRAWN_FROM)
        if self.processes == 1:
            return clips
        if clips.num_shards >= self.processes:  # they are shuffled alike in all processes
            return clips.shard(self.processes, self.process, contiguous=False)
        return split_dataset_by_node(clips, self.process, self.processes)


def clip_number(clip_id: str) -> int:
    """A number that stands for a clip of a stream, which has no index.

    Example:
        >>> clip_number("1-100032-A-0")
        27148191239302492
    """
    return int.from_bytes(hashlib.blake2b(clip_id.encode(), digest_size=7).digest(), "big")


def steps_per_epoch(max_steps: int, num_train_epochs: float) -> int:
    """Optimizer steps of an epoch where a run's steps are spread over its epochs; the last may be shorter.

    Example:
        >>> steps_per_epoch(10, 3)
        4
    """
    return max(1, math.ceil(max_steps / num_train_epochs))


def count_epochs_in_steps(args: TrainingArguments) -> None:
    """Evaluate, save and log every so many steps where it is to be done after each epoch: a stream has no passes."""
    steps = steps_per_epoch(args.max_steps, args.num_train_epochs)
    done = []
    for name in ("eval", "save", "logging"):
        strategy = getattr(args, f"{name}_strategy")
        if strategy == "epoch":
            setattr(args, f"{name}_strategy", type(strategy)("steps"))
            setattr(args, f"{name}_steps", steps)
            done.append(name)
    if done:
        logger.info("an epoch of the stream is %d steps, max_steps / num_train_epochs: %s", steps, ", ".join(done))
