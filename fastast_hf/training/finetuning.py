"""What a training run is made of beside its model: the corpus, the clips and the trainer, from settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset
from transformers import AutoConfig, EarlyStoppingCallback, TrainingArguments

from ..audio import find_audio
from ..corpora import Corpus, StreamingCorpus, corpus_folds, is_multi_label, label_names, load_corpus
from ..corpora.esc50 import FOLDS
from ..corpora.overlap import check_held_out
from ..corpora.own.recognition import recognise
from ..corpora.speech_commands import SILENCE, UNKNOWN
from ..errors import counted
from ..loading.checkpoint import labels_in_order
from ..metrics import compute_metrics_for
from ..model.configuration_fastast import check_place
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from .arguments import CORPORA_OF, AugmentationArguments, OwnDataArguments, ScheduleArguments
from .inputs.augmentation import coloured_noise
from .inputs.batches import ClipDataset, balanced_weights, clip_seconds, weights_of_classes
from .inputs.streaming import ClipStream, count_epochs_in_steps
from .trainer import FastASTTrainer
from .weight_averaging import WeightAverage

logger = logging.getLogger(__name__)

HELD_OUT = ("validation", "test")
FAR_LONGER = 1.5  # times what the model hears at once
MOST_LOOKED_AT = 10_000  # clips of a split, for their lengths
NOISES = 32  # to draw from, where they are computed


@dataclass
class CorpusArguments(OwnDataArguments):
    """What to train on."""

    corpus: str = field(
        default="",
        metadata={
            "help": "esc50, speech_commands, audioset, audiofolder (one subfolder for each class), csv (a table of "
            "files and labels), datasets (parquet, or of the Hub) or unlabelled (default: by what --data holds)"
        },
    )
    data: str | None = field(default=None, metadata={"help": "the corpus' folder, or a table or parquet file"})
    hub_id: str | None = field(default=None, metadata={"help": "a dataset on the Hub, instead of --data"})
    streaming: bool = field(default=False, metadata={"help": "read clips as they are used; needs --max-steps"})
    fold: str | None = field(default=None, metadata={"help": "the fold to test on, or all"})
    classes: int | None = field(default=None, metadata={"help": "Speech Commands: 35 or 12 classes (default: 35)"})
    subset: str | None = field(default=None, metadata={"help": "AudioSet: balanced or full (default: balanced)"})
    label_file: str | None = field(default=None, metadata={"help": "AudioSet: class_labels_indices.csv"})
    extra_data: str | None = field(
        default=None, metadata={"help": "more training clips: a folder with one subfolder for each class"}
    )
    balanced_sampling: bool = field(
        default=False, metadata={"help": "draw clips of rare and common classes equally often"}
    )

    # What a teacher tells apart, for unlabelled sound; no setting of its own.
    teacher_knows: list[str] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not self.corpus and self.hub_id is not None:
            self.corpus = "datasets"
        elif not self.corpus and self.data is not None and Path(self.data).expanduser().exists():
            self.corpus, why = recognise(Path(self.data).expanduser(), self.file_column)
            if Path(self.data).expanduser().is_dir():  # a file is what its name says
                logger.info("%s: taken for --corpus %s, for %s", self.data, self.corpus, why)
        for name, corpora in CORPORA_OF.items():
            if getattr(self, name) not in (None, []) and self.corpus not in ("", *corpora):
                option = f"--{name.replace('_', '-')}"
                raise ValueError(
                    f"{option} is for {', '.join(corpora)}, not for {self.corpus}: leave it out (if a recipe sets it: "
                    f"{option} none)"
                )
        if self.corpus == "speech_commands":
            self.classes = self.classes or 35
        if self.corpus == "audioset":
            self.subset = self.subset or "balanced"

    def folds(self, default: str | None = None) -> list[int | None]:
        """The folds to run: `[None]` of a corpus without folds, or of one with splits where none is asked for.

        Args:
            default: Where none is asked for, and there are folds and no splits; `"all"`, say.

        Raises:
            ValueError: There is no such fold, or there are folds alone and none is asked for.
        """
        if self.streaming and self.corpus == "datasets" and self.fold is not None:
            raise ValueError(f"fold is {self.fold!r} of a stream: leave out --streaming, or --fold")
        if self.corpus not in CORPORA_OF["fold"] or (self.streaming and self.corpus == "datasets"):
            return [None]
        if self.corpus == "esc50":
            listed, has_splits = list(FOLDS), False
        else:
            own = self._options()
            place = Path(self.data).expanduser() if self.data else None
            listed, has_splits = corpus_folds(self.corpus, place, self.hub_id, own["columns"], own.get("config"))
        if self.fold is None and (has_splits or not listed):
            return [None]
        fold = self.fold or default
        if fold == "all" and listed:
            return list(listed)
        if fold is None or fold not in map(str, listed):
            known = f"{listed[0]} to {listed[-1]}" if listed else "which needs a column of folds"
            raise ValueError(f"fold is {fold!r}: give --fold all, or the one to test on, {known}")
        return [int(fold)]

    def _options(self) -> dict[str, Any]:
        """Those of the corpus at hand, but the fold."""
        own = {name: getattr(self, name) for name, corpora in CORPORA_OF.items() if self.corpus in corpora}
        own.pop("fold", None)
        columns = {name: own.pop(name) for name in list(own) if name.endswith("_column")}
        return own | (
            {"columns": {name.removesuffix("_column"): columns[name] for name in columns}} if columns else {}
        )

    def load(self, fold: int | None = None, model: str | None = None) -> Corpus | StreamingCorpus:
        """The corpus that these arguments name.

        Args:
            fold: One of [`folds`].
            model: What is trained or evaluated. A Hub copy of AudioSet has no list of its classes: where no
                `label_file` is given either, they are those that this checkpoint knows.
        """
        options = self._options()
        if self.corpus == "unlabelled":
            options = {"labels": self.teacher_knows}
        elif self.corpus == "audioset":
            del options["label_file"]
            if self.label_file is not None:
                options["labels"] = self.label_file
            elif self.hub_id is not None and model is not None:
                options["labels"] = known_labels(model)
        return load_corpus(self.corpus, self.data, hub_id=self.hub_id, fold=fold, streaming=self.streaming, **options)


def known_labels(model: str) -> list[str] | None:
    """The classes of a checkpoint, in its order, from its config alone; None of what is no such checkpoint.

    Raises:
        OSError: No such checkpoint.
        ValueError: A class has no label.
    """
    if model.startswith("timm/") or Path(model).suffix in (".pt", ".pth"):
        return None
    check_place(model)
    return labels_in_order(AutoConfig.from_pretrained(model, trust_remote_code=False))


@dataclass
class LearningArguments:
    """How to learn."""

    loss: str | None = field(default=None, metadata={"help": "cross_entropy or bce (default: by the corpus)"})
    pool: str | None = field(
        default=None,
        metadata={"help": "score of a clip longer than the input: mean, max or top3 of its windows' (default: mean)"},
    )
    adam_l2: bool = field(default=False, metadata={"help": "AST's optimizer: Adam with L2 weight decay"})
    class_weights: bool = field(
        default=False, metadata={"help": "weigh rare classes more in the loss, so that each class counts as much"}
    )
    average_from: int | None = field(
        default=None, metadata={"help": "average the weights of the epochs from this one"}
    )
    average_to: int | None = field(default=None, metadata={"help": "last epoch of that average (default: the last)"})
    early_stopping: int | None = field(
        default=None, metadata={"help": "stop after this many epochs without improvement"}
    )


def extra_clips(folder: str, corpus: Corpus) -> list[dict[str, Any]]:
    """Rows for the clips in class-named subfolders; words that are no class are `_unknown_` where there is one.

    Raises:
        ValueError: A subfolder that is no class, or a clip that the corpus holds out.
    """
    names = label_names(corpus)
    clips = []
    found = find_audio(folder)
    if found.errors:
        raise found.errors[0]
    if left_out := found.describe_left_out():
        logger.warning("%s", left_out)
    check_held_out(found.files, (row["audio"] for split in HELD_OUT for row in corpus.get(split, ())))
    for file in found.files:
        name = file.parent.name
        if name not in names and UNKNOWN not in names:
            raise ValueError(f"{file}: {name!r} is no class of the corpus; name the folder after one of its classes")
        label = names.index(name if name in names else UNKNOWN)
        clips.append({"audio": {"bytes": None, "path": str(file)}, "label": label})
    return clips


def noise_clips(clips: ClipDataset, indices: Sequence[int]) -> Tensor:
    """Waveforms (M, n) of the clips that can be read; of longer ones, all windows.

    Raises:
        ValueError: There is none.
    """
    items = [clips[index] for index in indices]
    waveforms = [window for item in items if item["unreadable"] < 0 for window in item["waveforms"]]
    if not waveforms:
        raise ValueError(
            f"augmentation with noise takes it from clips of class {SILENCE}, of which {len(items)} are there and "
            "none can be read: give such clips (--extra-data), or --noise 0"
        )
    return torch.stack(waveforms)


def warn_of_longer_clips(splits: dict[str, ClipDataset]) -> None:
    """Say how many clips are far longer than what the model hears at once, and what becomes of them."""
    for split, clips in splits.items():
        lengths = clip_seconds(clips, MOST_LOOKED_AT)
        heard = clips.max_samples / clips.sampling_rate
        longer = [seconds for seconds in lengths if seconds > FAR_LONGER * heard]
        if longer:
            of_all = "" if len(lengths) == len(clips) else f" looked at, of {len(clips)}"
            what = "training hears a random stretch at each visit" if clips.training else "they are scored in windows"
            logger.warning(
                "%s: %d of %s%s %s longer than %.1f s (up to %.1f s), and the model hears %.1f s at once: %s",
                split, len(longer), counted(len(lengths), "clip"), of_all, "is" if len(longer) == 1 else "are",
                FAR_LONGER * heard, max(longer), heard, what,
            )  # fmt: skip


def check_streaming(corpus: CorpusArguments, augment: AugmentationArguments, args: TrainingArguments) -> None:
    """Refuse what cannot be done to a stream.

    Raises:
        ValueError: Such a setting, or no number of steps.
    """
    if args.max_steps <= 0:
        raise ValueError("a stream has no length: give --max-steps")
    if corpus.balanced_sampling:
        raise ValueError(
            "a stream can't be drawn in balance: give --balanced-sampling false, or leave out --streaming"
        )
    if corpus.extra_data:
        raise ValueError("a stream takes in no other clips: leave out --extra-data, or --streaming")
    if augment.noise > 0:
        raise ValueError(f"a stream's clips of {SILENCE} can't be gathered: give --noise 0, or leave out --streaming")


def build_trainer(
    model: Any,
    extractor: FastASTFeatureExtractor,
    corpus: Corpus | StreamingCorpus,
    corpus_settings: CorpusArguments | None = None,
    learning: LearningArguments | None = None,
    augment: AugmentationArguments | None = None,
    schedule: ScheduleArguments | None = None,
    args: TrainingArguments | None = None,
    trainer_class: type[FastASTTrainer] = FastASTTrainer,
    **kwargs: Any,
) -> FastASTTrainer:
    """The trainer of one run, with the corpus' clips; `kwargs` are the trainer's own. Settings may be left out.

    docs/own_data.md has a `DatasetDict` of one's own from `corpus_from_datasets` to here.
    """
    corpus_settings, learning = corpus_settings or CorpusArguments(), learning or LearningArguments()
    augment, schedule = augment or AugmentationArguments(), schedule or ScheduleArguments()
    args = args or TrainingArguments()
    streaming, multi_label = isinstance(corpus, StreamingCorpus), is_multi_label(corpus)
    shape = (len(label_names(corpus)), extractor.sampling_rate, extractor.samples_of(extractor.max_length))
    weights = noise = class_weights = None
    if streaming:
        check_streaming(corpus_settings, augment, args)
        if learning.class_weights:
            raise ValueError("a stream's classes can't be counted: leave out --class-weights, or --streaming")
        count_epochs_in_steps(args)
        seed = args.seed if args.data_seed is None else args.data_seed
        train: Any = ClipStream(corpus["train"], *shape, seed, args.process_index, args.world_size)
    else:
        classes = list(corpus["train"]["labels" if multi_label else "label"])
        rows: Any = corpus["train"]
        if corpus_settings.extra_data:
            extra: Any = extra_clips(corpus_settings.extra_data, corpus)
            rows, classes = ConcatDataset([rows, extra]), classes + [clip["label"] for clip in extra]
        train = ClipDataset(rows, *shape, training=True)
        if learning.class_weights and corpus_settings.balanced_sampling:
            raise ValueError(
                "--class-weights and --balanced-sampling would favour rare classes twice: give one of them"
            )
        if learning.class_weights:
            class_weights = weights_of_classes(classes, shape[0])
        if corpus_settings.balanced_sampling:
            weights = balanced_weights(classes)
        if augment.noise > 0 and SILENCE not in label_names(corpus):
            noise = coloured_noise(NOISES, shape[2])
        elif augment.noise > 0:
            silent = label_names(corpus).index(SILENCE)
            noise = noise_clips(ClipDataset(rows, *shape), [i for i, label in enumerate(classes) if label == silent])
    held_out = {split: ClipDataset(corpus[split], *shape) for split in HELD_OUT if split in corpus}
    if not held_out:
        raise ValueError(
            f"{corpus_settings.corpus or 'the corpus'}: no clips to test on, only {', '.join(corpus)}: give a test "
            "split, or two or more clips of a class"
        )
    if args.should_log:
        warn_of_longer_clips({**held_out, **({} if streaming else {"train": train})})
    average = None
    if learning.average_from is not None:
        average = WeightAverage(learning.average_from, learning.average_to)
    patience = learning.early_stopping
    if patience is not None:
        args.load_best_model_at_end = True
        if args.metric_for_best_model in (None, "loss"):
            args.metric_for_best_model = "mean_average_precision" if multi_label else "accuracy"
            args.greater_is_better = True
        args.restore_callback_states_from_checkpoint = True  # how long it has been waiting
    if args.load_best_model_at_end and "validation" not in held_out and args.should_log:
        logger.warning(
            "there is no validation split: the best epoch is chosen on the test clips, whose score is then too good; "
            "give a split validation to choose on"
        )
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
        pool=learning.pool,
        class_weights=class_weights,
        adam_l2=learning.adam_l2,
        train_dataset=train,
        # After each epoch; AST looks at the test split where there is no other.
        eval_dataset=held_out.get("validation", held_out.get("test")),
        test_dataset=held_out.get("test"),
        compute_metrics=compute_metrics_for(multi_label),
        callbacks=[] if patience is None else [EarlyStoppingCallback(patience)],
        **kwargs,
    )
