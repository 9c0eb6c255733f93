"""From a split of a corpus to batches for the trainer: decoded waveforms, their lengths and their targets."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

from ...audio import AudioError, load_row
from ...metrics import UNREADABLE

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)


class ClipDataset(torch.utils.data.Dataset):
    """Decoded clips of a corpus' split, one by index.

    An item holds `waveforms` (n,) float32 with zeros after the clip's end, `num_samples`, `labels` (classes,) float32
    with 1 for each of its classes, `clip` (its index), and `unreadable` (of a clip that could not be read, its index;
    else -1). Where the index is a pair of clip and partner, it holds all but the last of the partner as well, as
    `partner_…`.

    Args:
        split: Of [`load_corpus`], map-style.
        num_classes: Classes of the corpus.
        sampling_rate: In Hz.
        max_samples: Samples that a clip is padded or cut to, at the end.
        substitute: What becomes of a clip that can't be read. True takes the next one that can, for training, so
            that batches stay as large as they are; False gives silence with targets of `UNREADABLE`.

    Raises:
        AudioError: `substitute` is True and no clip can be read.
    """

    def __init__(
        self, split: datasets.Dataset, num_classes: int, sampling_rate: int, max_samples: int, substitute: bool = False
    ) -> None:
        self.split, self.num_classes = split, num_classes
        self.sampling_rate, self.max_samples, self.substitute = sampling_rate, max_samples, substitute
        self._reported: set[int] = set()

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int | tuple[int, int]) -> dict[str, Any]:
        if not isinstance(index, tuple):
            return self._item(index)
        clip, partner = index
        item = self._item(clip)
        if partner >= 0:
            mixed_in = self._item(partner)
        else:
            mixed_in = {"waveforms": torch.zeros(self.max_samples), "num_samples": 0, "clip": -1}
            mixed_in["labels"] = torch.zeros(self.num_classes)
        return item | {f"partner_{name}": mixed_in[name] for name in ("waveforms", "num_samples", "labels", "clip")}

    def identity(self, index: int) -> list[Any]:
        """What tells a clip from others, without decoding it: its id, or else its file, and its classes."""
        row = self.split[index]
        return [str(row.get("id") or row["audio"]["path"]), row["labels"] if "labels" in row else row["label"]]

    def _item(self, index: int) -> dict[str, Any]:
        unreadable = -1
        for step in range(len(self)):
            clip = (index + step) % len(self)
            try:
                item = decoded(self.split[clip], self.num_classes, self.sampling_rate, self.max_samples)
                return item | {"clip": clip, "unreadable": unreadable}
            except AudioError as error:
                unreadable = index if step == 0 else unreadable
                self._report(clip, error)
                if not self.substitute:
                    break
        if self.substitute:
            path = self.split[index]["audio"]["path"]
            raise AudioError(f"{path}: this clip can't be read, nor can any other; check the corpus' folder")
        silence = {"waveforms": torch.zeros(self.max_samples), "num_samples": self.max_samples, "clip": index}
        return silence | {"labels": torch.full((self.num_classes,), UNREADABLE), "unreadable": unreadable}

    def _report(self, index: int, error: AudioError) -> None:
        if index not in self._reported:  # once for each worker, not in every epoch
            self._reported.add(index)
            logger.warning("left out: %s", error)


def decoded(row: dict[str, Any], num_classes: int, sampling_rate: int, max_samples: int) -> dict[str, Any]:
    """Waveform, length and targets of one row of a corpus.

    Raises:
        AudioError: The clip can't be read.
    """
    samples = torch.from_numpy(load_row(row, sampling_rate, max_samples))
    waveform = torch.zeros(max_samples)
    waveform[: len(samples)] = samples
    targets = torch.zeros(num_classes)
    targets[row["labels"] if "labels" in row else row["label"]] = 1.0
    return {"waveforms": waveform, "num_samples": len(samples), "labels": targets}


class ClipSampler(Sampler):
    """Pairs of a clip and its partner in mixup (-1 for none), a function of seed and epoch alone.

    Every process draws the same pairs and takes its share, and a resumed run draws what the first one would have.

    Args:
        num_clips: Clips of the split.
        weights: How often each is drawn, with replacement; None takes each once in random order.
        mixup: How likely a clip is to get a partner, drawn evenly from all clips as AST does.
        seed: Of the draws.

    Example:
        >>> list(ClipSampler(2, weights=torch.tensor([0.0, 1.0])))
        [(1, -1), (1, -1)]
    """

    def __init__(self, num_clips: int, weights: Tensor | None = None, mixup: float = 0.0, seed: int = 0) -> None:
        self.num_clips, self.weights, self.mixup, self.seed, self.epoch = num_clips, weights, mixup, seed, 0

    def __len__(self) -> int:
        return self.num_clips

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        if self.weights is None:
            order = torch.randperm(self.num_clips, generator=generator)
        else:
            order = torch.multinomial(self.weights, self.num_clips, replacement=True, generator=generator)
        partners = torch.randint(self.num_clips, (self.num_clips,), generator=generator)
        mixed = torch.rand(self.num_clips, generator=generator) < self.mixup
        return zip(order.tolist(), torch.where(mixed, partners, -1).tolist(), strict=True)


def balanced_weights(classes: Sequence[int | Sequence[int]]) -> Tensor:
    """Weights that bring rare classes as often as frequent ones: the sum over a clip's classes of 1000 / count.

    AST's class-balanced sampling (Gong et al. 2021, §3.1; its count is larger by 0.01).

    Args:
        classes: Of each clip: an id, or the ids.

    Returns:
        (clips,) float64.

    Example:
        >>> balanced_weights([0, 0, 1]).round()
        tensor([498., 498., 990.], dtype=torch.float64)
    """
    ids = [torch.atleast_1d(torch.as_tensor(clip, dtype=torch.long)) for clip in classes]
    weight = 1000 / (torch.bincount(torch.cat(ids)).double() + 0.01)
    return torch.stack([weight[clip].sum() for clip in ids])
