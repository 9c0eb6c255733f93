"""From a split of a corpus to batches for the trainer: decoded waveforms, their lengths and their targets."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Sampler, default_collate, get_worker_info

from ...audio import AudioError, load_row, num_samples, row_span, windows
from ...metrics import UNREADABLE

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)


class ClipDataset(torch.utils.data.Dataset):
    """Decoded clips of a corpus' split, one by index.

    A training item holds `waveforms` (n,) float32 with zeros after the clip's end, `num_samples`, `labels` (classes,)
    float32 with 1 for each of its classes, `clip` (its index), and `unreadable` (of a clip that could not be read, its
    index; else -1). Of a clip longer than n it holds a stretch. Its index is a clip, or what [`ClipSampler`] gives:
    clip, partner and where the stretch of either lies. Then it holds all but the last of the partner as well, as
    `partner_…`.

    An item to evaluate holds all of its clip, in windows as `Tagger` makes them: `waveforms` (windows, n) and
    `num_samples` (windows,). [`collate`] makes batches of either kind.

    Args:
        split: Of [`load_corpus`], map-style.
        num_classes: Classes of the corpus.
        sampling_rate: In Hz.
        max_samples: n, the samples that the model takes.
        training: Whether to train on the clips. A clip that can't be read is then replaced by the next one that can,
            so that batches stay as large as they are; in evaluation it is silence with targets of `UNREADABLE`.

    Raises:
        AudioError: `training` is True and no clip can be read.
    """

    def __init__(
        self, split: datasets.Dataset, num_classes: int, sampling_rate: int, max_samples: int, training: bool = False
    ) -> None:
        self.split, self.num_classes = split, num_classes
        self.sampling_rate, self.max_samples, self.training = sampling_rate, max_samples, training
        self._reported: set[int] = set()

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int | tuple[Any, ...]) -> dict[str, Any]:
        outlive_sigterm()
        if not isinstance(index, tuple):
            return self._item(index)
        clip, partner, place, partner_place = index
        item = self._item(clip, place)
        if partner >= 0:
            mixed_in = self._item(partner, partner_place)
        else:
            mixed_in = {"waveforms": torch.zeros(self.max_samples), "num_samples": 0, "clip": -1}
            mixed_in["labels"] = torch.zeros(self.num_classes)
        return item | {f"partner_{name}": mixed_in[name] for name in ("waveforms", "num_samples", "labels", "clip")}

    def identity(self, index: int) -> list[Any]:
        """What tells a clip from others, without decoding it: its id, or else its file, and its classes."""
        row = self.split[index]
        return [str(row.get("id") or row["audio"]["path"]), row["labels"] if "labels" in row else row["label"]]

    def to_evaluate(self) -> ClipDataset:
        """The same clips, each whole."""
        return ClipDataset(self.split, self.num_classes, self.sampling_rate, self.max_samples)

    def seconds(self, index: int) -> float:
        """How long a clip is by its header, without decoding it; 0 where that does not say."""
        row = self.split[index]
        start, stop = row_span(row, self.sampling_rate)
        try:
            total = num_samples(row["audio"], self.sampling_rate) or 0
        except AudioError:  # which is told when it is read
            return 0.0
        return max(0, min(total, stop or total) - start) / self.sampling_rate

    def _item(self, index: int, place: float = 0.0) -> dict[str, Any]:
        unreadable, shape = -1, (self.num_classes, self.sampling_rate, self.max_samples)
        for step in range(len(self)):
            clip = (index + step) % len(self)
            try:
                row = self.split[clip]
                item = decoded(row, *shape, place) if self.training else decoded_whole(row, *shape)
                return item | {"clip": clip, "unreadable": unreadable}
            except AudioError as error:
                unreadable = index if step == 0 else unreadable
                self._report(clip, error)
                if not self.training:
                    break
        if self.training:
            path = self.split[index]["audio"]["path"]
            raise AudioError(f"{path}: this clip can't be read, nor can any other; check the corpus' folder")
        labels = torch.full((self.num_classes,), UNREADABLE)
        silence = {"labels": labels, "waveforms": torch.zeros(1, self.max_samples)}
        return silence | {"num_samples": torch.tensor([self.max_samples]), "clip": index, "unreadable": unreadable}

    def _report(self, index: int, error: AudioError) -> None:
        if index not in self._reported:  # once for each worker, not in every epoch
            self._reported.add(index)
            logger.warning("left out: %s", error)


def outlive_sigterm() -> None:
    """In a loader's process, go on until the trainer ends: a scheduler (Slurm, say) sends SIGTERM to all at once.

    The trainer then saves a checkpoint, for which it may need the batches that are asked for.
    """
    if get_worker_info() is not None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def clip_seconds(clips: ClipDataset, most: int | None = None) -> list[float]:
    """Lengths of clips by their headers; of `most` clips at most, evenly spread."""
    step = 1 if most is None else max(1, -(-len(clips) // most))
    return [clips.seconds(index) for index in range(0, len(clips), step)]


def decoded(
    row: dict[str, Any], num_classes: int, sampling_rate: int, max_samples: int, place: float = 0.0
) -> dict[str, Any]:
    """Waveform, length and targets of one row of a corpus; of a longer clip, the stretch at a place in [0, 1).

    Raises:
        AudioError: The clip can't be read.
    """
    samples = torch.from_numpy(load_row(row, sampling_rate, max_samples, place))
    waveform = torch.zeros(max_samples)
    waveform[: len(samples)] = samples
    return {"waveforms": waveform, "num_samples": len(samples), "labels": _targets(row, num_classes)}


def decoded_whole(row: dict[str, Any], num_classes: int, sampling_rate: int, max_samples: int) -> dict[str, Any]:
    """Targets, windows (windows, n) and their lengths (windows,) of one row of a corpus.

    Raises:
        AudioError: The clip can't be read.
    """
    parts = [torch.from_numpy(part) for _, part in windows([load_row(row, sampling_rate)], max_samples)]
    waveforms = torch.zeros(len(parts), max_samples)
    for waveform, part in zip(waveforms, parts, strict=True):
        waveform[: len(part)] = part
    lengths = torch.tensor([len(part) for part in parts])
    return {"labels": _targets(row, num_classes), "waveforms": waveforms, "num_samples": lengths}


def _targets(row: dict[str, Any], num_classes: int) -> Tensor:
    targets = torch.zeros(num_classes)
    targets[row["labels"] if "labels" in row else row["label"]] = 1.0
    return targets


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch of items of [`ClipDataset`] or [`ClipStream`].

    Where the items are whole clips, the windows of all of them are one after another, and `windows` (B,) says how many
    each clip has.
    """
    if items[0]["waveforms"].dim() == 1:
        return default_collate(list(items))
    joined = {name: torch.cat([item[name] for item in items]) for name in ("waveforms", "num_samples")}
    each = [{name: value for name, value in item.items() if name not in joined} for item in items]
    counts = torch.tensor([len(item["num_samples"]) for item in items])
    return default_collate(each) | joined | {"windows": counts}


class ClipSampler(Sampler):
    """Clips, their partners in mixup (-1 for none), and where in each of both to listen, in [0, 1).

    All are a function of seed and epoch alone.

    Every process draws the same pairs and takes its share, and a resumed run draws what the first one would have.

    Args:
        num_clips: Clips of the split.
        weights: How often each is drawn, with replacement; None takes each once in random order.
        mixup: How likely a clip is to get a partner, drawn evenly from all clips as AST does.
        seed: Of the draws.

    Example:
        >>> [drawn[:2] for drawn in ClipSampler(2, weights=torch.tensor([0.0, 1.0]))]
        [(1, -1), (1, -1)]
    """

    def __init__(self, num_clips: int, weights: Tensor | None = None, mixup: float = 0.0, seed: int = 0) -> None:
        self.num_clips, self.weights, self.mixup, self.seed, self.epoch = num_clips, weights, mixup, seed, 0

    def __len__(self) -> int:
        return self.num_clips

    def __iter__(self) -> Iterator[tuple[int, int, float, float]]:
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        if self.weights is None:
            order = torch.randperm(self.num_clips, generator=generator)
        else:
            order = torch.multinomial(self.weights, self.num_clips, replacement=True, generator=generator)
        partners = torch.randint(self.num_clips, (self.num_clips,), generator=generator)
        mixed = torch.rand(self.num_clips, generator=generator) < self.mixup
        places = torch.rand(2, self.num_clips, generator=generator)
        drawn = (order, torch.where(mixed, partners, -1), *places)
        return zip(*(part.tolist() for part in drawn), strict=True)


def weights_of_classes(classes: Sequence[int | Sequence[int]], num_classes: int) -> Tensor:
    """Weights (num_classes,) by which all classes count as much in the loss, as scikit-learn's `"balanced"`.

    Args:
        classes: Of each clip: an id, or the ids.
        num_classes: How many there are; one without clips weighs 1.

    Example:
        >>> weights_of_classes([0, 0, 0, 1], 2)
        tensor([0.6667, 2.0000])
    """
    ids = torch.cat([torch.atleast_1d(torch.as_tensor(clip, dtype=torch.long)) for clip in classes])
    counts = torch.bincount(ids, minlength=num_classes)
    return torch.where(counts > 0, len(ids) / (num_classes * counts.clamp(min=1)), 1.0)


def balanced_weights(classes: Sequence[int | Sequence[int]]) -> Tensor:
    """Weights that bring rare classes as often as frequent ones: the sum over a clip's classes of 1000 / count.

    AST's class-balanced sampling (Gong et al. 2021, §3.1; its count is larger by 0.01).

    Args:
        classes: Of each clip: an id, or the ids. Clips without any are drawn like a class more.

    Returns:
        (clips,) float64.

    Example:
        >>> balanced_weights([0, 0, 1]).round()
        tensor([498., 498., 990.], dtype=torch.float64)
    """
    ids = [torch.atleast_1d(torch.as_tensor(clip, dtype=torch.long)) for clip in classes]
    none = 1 + max((int(clip.max()) for clip in ids if len(clip)), default=-1)
    ids = [clip if len(clip) else torch.tensor([none]) for clip in ids]
    weight = 1000 / (torch.bincount(torch.cat(ids)).double() + 0.01)
    return torch.stack([weight[clip].sum() for clip in ids])
