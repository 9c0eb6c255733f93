"""What a training run is made of beside its model: the corpus, the clips and the trainer, from settings."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import ConcatDataset
from transformers import EarlyStoppingCallback, TrainingArguments

from .audio import find_audio_files
from .corpora import Corpus, StreamingCorpus, is_multi_label, label_names, load_corpus
from .feature_extraction_fastast import FastASTFeatureExtractor
from .metrics import compute_metrics_for
from .training import AugmentationArguments, FastASTTrainer, ScheduleArguments
from .training_data import ClipDataset, balanced_weights, decoded_stream
from .weight_averaging import WeightAverage

logger = logging.getLogger(__name__)

SILENCE, UNKNOWN = "_silence_", "_unknown_"


@dataclass
class CorpusArguments:
    """What to train on."""

    corpus: str = field(default="", metadata={"help": "esc50, speech_commands, audioset or audiofolder"})
    data: str | None = field(default=None, metadata={"help": "the corpus' folder"})
    hub_id: str | None = field(default=None, metadata={"help": "a parquet copy on the Hub, instead of the folder"})
    streaming: bool = field(default=False, metadata={"help": "read as it is used; needs --max_steps"})
    fold: str | None = field(default=None, metadata={"help": "ESC-50: the fold to test on, or all"})
    classes: int = field(default=35, metadata={"help": "Speech Commands: 35, or 12"})
    subset: str = field(default="balanced", metadata={"help": "AudioSet: balanced, or full"})
    label_file: str | None = field(default=None, metadata={"help": "AudioSet: class_labels_indices.csv"})
    extra_data: str | None = field(
        default=None, metadata={"help": "more training clips: a folder of class-named subfolders"}
    )
    balanced_sampling: bool = field(default=False, metadata={"help": "draw clips of rare classes as often"})

    def folds(self) -> list[int | None]:
        """The folds to run: none of a corpus without folds."""
        if self.corpus != "esc50":
            if self.fold is not None:
                raise ValueError(f"fold is {self.fold!r}, and {self.corpus} has no folds: leave it out")
            return [None]
        if self.fold == "all":
            return [1, 2, 3, 4, 5]
        if self.fold not in ("1", "2", "3", "4", "5"):
            raise ValueError(f"fold is {self.fold!r}: give --fold all, or the one to test on, 1 to 5")
        return [int(self.fold)]

    def load(self, fold: int | None = None) -> Corpus | StreamingCorpus:
        """The corpus that these arguments name."""
        options: dict[str, Any] = {}
        if self.corpus == "speech_commands":
            options = {"classes": self.classes}
        elif self.corpus == "audioset":
            options = {"subset": self.subset} | ({"labels": self.label_file} if self.label_file else {})
        return load_corpus(self.corpus, self.data, hub_id=self.hub_id, fold=fold, streaming=self.streaming, **options)


@dataclass
class LearningArguments:
    """How to learn, beside transformers' arguments."""

    loss: str | None = field(default=None, metadata={"help": "cross_entropy or bce (default: by the corpus)"})
    adam_l2: bool = field(default=False, metadata={"help": "AST's Adam with weight decay in the gradient"})
    average_from: int | None = field(default=None, metadata={"help": "average the weights from this epoch on"})
    average_to: int | None = field(default=None, metadata={"help": "up to this epoch (default: the last)"})
    early_stopping: int | None = field(default=None, metadata={"help": "stop after so many epochs without a gain"})


def extra_clips(folder: str, names: list[str]) -> list[dict[str, Any]]:
    """Rows for the clips in class-named subfolders; words that are no class are `_unknown_` where there is one.

    Raises:
        ValueError: A subfolder that is no class.
    """
    clips = []
    for file in find_audio_files([folder]):
        name = file.parent.name
        if name not in names and UNKNOWN not in names:
            raise ValueError(f"{file}: {name!r} is no class of the corpus; name the folder after one of its classes")
        label = names.index(name if name in names else UNKNOWN)
        clips.append({"audio": {"bytes": None, "path": str(file)}, "label": label})
    return clips


def build_trainer(
    model: Any,
    extractor: FastASTFeatureExtractor,
    corpus: Corpus | StreamingCorpus,
    corpus_settings: CorpusArguments,
    learning: LearningArguments,
    augment: AugmentationArguments,
    schedule: ScheduleArguments,
    args: TrainingArguments,
    trainer_class: type[FastASTTrainer] = FastASTTrainer,
    **kwargs: Any,
) -> FastASTTrainer:
    """The trainer of one run, with the corpus' clips; `kwargs` are the trainer's own."""
    streaming, multi_label = isinstance(corpus, StreamingCorpus), is_multi_label(corpus)
    if streaming and args.max_steps <= 0:
        raise ValueError("a stream has no length: give --max_steps")
    shape = (len(label_names(corpus)), extractor.sampling_rate, extractor.samples_of(extractor.max_length))
    weights = noise = None
    if streaming:
        train: Any = decoded_stream(corpus["train"], *shape)
    else:
        classes = list(corpus["train"]["labels" if multi_label else "label"])
        rows: Any = corpus["train"]
        if corpus_settings.extra_data:
            extra: Any = extra_clips(corpus_settings.extra_data, label_names(corpus))
            rows, classes = ConcatDataset([rows, extra]), classes + [clip["label"] for clip in extra]
        train = ClipDataset(rows, *shape, substitute=True)
        if corpus_settings.balanced_sampling:
            weights = balanced_weights(classes)
        if augment.noise > 0 and SILENCE in label_names(corpus):
            silent = label_names(corpus).index(SILENCE)
            noise = torch.stack([train[i]["waveforms"] for i, label in enumerate(classes) if label == silent])
    held_out = {
        split: decoded_stream(corpus[split], *shape) if streaming else ClipDataset(corpus[split], *shape)
        for split in ("validation", "test")
        if split in corpus
    }
    average = None
    if learning.average_from is not None:
        average = WeightAverage(learning.average_from, learning.average_to)
    patience = learning.early_stopping
    return trainer_class(
        model,
        args,
        extractor=extractor,
        loss=learning.loss or ("bce" if multi_label else "cross_entropy"),
        augment=augment,
        schedule=schedule,
        noise=noise,
        sampling_weights=weights,
        average=average,
        adam_l2=learning.adam_l2,
        train_dataset=train,
        # After each epoch; AST looks at the test split where there is no other.
        eval_dataset=held_out.get("validation", held_out.get("test")),
        test_dataset=held_out.get("test"),
        compute_metrics=compute_metrics_for(multi_label),
        callbacks=[] if patience is None else [EarlyStoppingCallback(patience)],
        **kwargs,
    )
