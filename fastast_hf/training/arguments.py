"""Training settings that transformers' TrainingArguments lack: augmentation, and AST's learning rates."""

from __future__ import annotations

from dataclasses import dataclass, field

# Settings that not every corpus uses, and those that do.
_OWN = ("csv", "datasets")
CORPORA_OF: dict[str, tuple[str, ...]] = {
    "fold": ("esc50", *_OWN),
    "classes": ("speech_commands",),
    "subset": ("audioset",),
    "label_file": ("audioset",),
    "config": ("datasets",),
    "audio_folder": ("csv",),
    "file_column": ("csv",),
    "audio_column": ("datasets",),
    "label_column": _OWN,
    "label_separator": _OWN,
    "multi_label": _OWN,
    "split_column": _OWN,
    "fold_column": _OWN,
    "group_column": _OWN,
    "start_column": _OWN,
    "end_column": _OWN,
    "split_seed": _OWN,
}


@dataclass
class OwnDataArguments:
    """A table of files and labels, or a dataset. Columns are recognised by their usual names."""

    config: str | None = field(default=None, metadata={"help": "the dataset's configuration, where it has several"})
    audio_folder: str | None = field(
        default=None, metadata={"help": "folder that the table's files are in (default: the table's own)"}
    )
    file_column: str | None = field(default=None, metadata={"help": "the table's column of files"})
    audio_column: str | None = field(default=None, metadata={"help": "the dataset's column of audio"})
    label_column: list[str] = field(
        default_factory=list, metadata={"help": "column of labels, or several of 0 and 1, a class each"}
    )
    label_separator: str | None = field(
        default=None, metadata={"help": "between the labels of a cell (default: ; or |, and , in a column of labels)"}
    )
    multi_label: bool | None = field(
        default=None, metadata={"help": "several labels a clip (default: where one has several or none)"}
    )
    split_column: str | None = field(default=None, metadata={"help": "column of train, validation, test"})
    fold_column: str | None = field(default=None, metadata={"help": "column of folds, for --fold"})
    group_column: str | None = field(
        default=None, metadata={"help": "column of speakers or sources, which a drawn split keeps together"}
    )
    start_column: str | None = field(
        default=None, metadata={"help": "column of where a clip starts in its file, in s"}
    )
    end_column: str | None = field(default=None, metadata={"help": "column of where it ends, in s"})
    split_seed: int | None = field(default=None, metadata={"help": "seed of a drawn split (default: 0)"})


@dataclass
class AugmentationArguments:
    """What happens to training clips. AST uses `mixup`, the two masks and `roll`; the rest helps where data is few."""

    mixup: float = field(default=0.0, metadata={"help": "share of clips that are mixed with another"})
    mixup_beta: float = field(default=10.0, metadata={"help": "how evenly two clips are mixed: Beta(X, X)"})
    frequency_mask: int = field(default=0, metadata={"help": "SpecAugment: widest masked band, in mel bins"})
    time_mask: int = field(default=0, metadata={"help": "SpecAugment: longest masked stretch, in frames"})
    roll: bool = field(default=False, metadata={"help": "add noise and roll the spectrogram by up to 10 frames"})
    speed: float = field(default=1.0, metadata={"help": "change the speed by a random factor from 1/X to X"})
    shift: float = field(default=0.0, metadata={"help": "shift by up to this many seconds"})
    gain: float = field(default=0.0, metadata={"help": "change the loudness by up to this many dB"})
    overlay: float = field(default=0.0, metadata={"help": "share of clips that get one or two others laid over them"})
    noise: float = field(
        default=0.0,
        metadata={"help": "share of clips that get noise, from class _silence_ or else computed"},
    )

    def __post_init__(self) -> None:
        for name in ("mixup", "overlay", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give a share of the clips, 0 to 1")
        if self.speed < 1 or self.mixup_beta <= 0:
            raise ValueError(f"speed is {self.speed} and mixup_beta {self.mixup_beta}: give 1 or more, and above 0")


@dataclass
class ScheduleArguments:
    """AST's learning rates: down by a factor after epochs, up in stairs before (Gong et al. 2021, §3.1)."""

    decay: float | None = field(default=None, metadata={"help": "multiply the learning rate by X at each decay"})
    decay_start: int = field(default=5, metadata={"help": "epochs before the first decay"})
    decay_every: int = field(default=1, metadata={"help": "epochs between decays"})
    decay_end: int | None = field(default=None, metadata={"help": "epoch after which it stays"})
    staircase_warmup: int = field(default=0, metadata={"help": "warm-up steps, in stairs of 50"})


def decay_factor(schedule: ScheduleArguments, step: int, steps_per_epoch: int) -> float:
    """What the learning rate is multiplied by at an optimizer step (from 0).

    Example:
        >>> [decay_factor(ScheduleArguments(decay=0.85, decay_start=5), 10 * e, 10) for e in (0, 4, 5)]
        [1.0, 1.0, 0.85]
    """
    if step < schedule.staircase_warmup:
        return step // 50 * 50 / schedule.staircase_warmup
    epoch = step // steps_per_epoch
    if schedule.decay_end is not None:
        epoch = min(epoch, schedule.decay_end - 1)
    if schedule.decay is None or epoch < schedule.decay_start:
        return 1.0
    return float(schedule.decay ** (1 + (epoch - schedule.decay_start) // schedule.decay_every))
