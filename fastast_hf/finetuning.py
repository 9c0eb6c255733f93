"""What a fine-tuning run is made of: model, front end, data and trainer from settings, and its results."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import ConcatDataset
from transformers import EarlyStoppingCallback, TrainingArguments
from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import ASTMLPHead

from .audio import find_audio_files
from .configuration_fastast import FastASTConfig
from .corpora import Corpus, StreamingCorpus, is_multi_label, label_names, load_corpus, with_label_order
from .feature_extraction_fastast import FastASTFeatureExtractor, window_samples
from .metrics import compute_metrics_for
from .modeling_fastast import FastASTForAudioClassification
from .statistics import corpus_statistics
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
class ModelArguments:
    """What to train, and how much it merges."""

    model: str | None = field(
        default=None,
        metadata={"help": "AST or FastAST checkpoint, or timm/NAME of an ImageNet DeiT (default: none)"},
    )
    frames: int | None = field(default=None, metadata={"help": "frames of a spectrogram (default: the checkpoint's)"})
    mean: float | None = field(default=None, metadata={"help": "of the log-mel values (default: the checkpoint's)"})
    std: float | None = field(default=None, metadata={"help": "of the same; both are measured for a new model"})
    tome_r: list[int] = field(default_factory=lambda: [0], metadata={"help": "tokens to merge: one r, or one a layer"})
    tome_schedule: str = field(default="constant", metadata={"help": "constant, decreasing or increasing"})
    train_r: list[int] = field(default_factory=list, metadata={"help": "draw r from these at every training step"})
    hidden_size: int = field(default=192, metadata={"help": "of a model from nothing"})
    layers: int = field(default=12, metadata={"help": "of a model from nothing"})
    heads: int = field(default=3, metadata={"help": "of a model from nothing"})
    stride: int = field(default=10, metadata={"help": "of a model from nothing: from one patch to the next"})
    loss: str | None = field(default=None, metadata={"help": "cross_entropy or bce (default: by the corpus)"})
    adam_l2: bool = field(default=False, metadata={"help": "AST's Adam with weight decay in the gradient"})
    average_from: int | None = field(default=None, metadata={"help": "average the weights from this epoch on"})
    average_to: int | None = field(default=None, metadata={"help": "up to this epoch (default: the last)"})
    early_stopping: int | None = field(default=None, metadata={"help": "stop after so many epochs without a gain"})

    @property
    def merging(self) -> dict[str, Any]:
        """`tome_r` and `tome_schedule` as the config has them."""
        r = self.tome_r[0] if len(self.tome_r) == 1 else list(self.tome_r)
        return {"tome_r": r, "tome_schedule": self.tome_schedule}


def build_model(
    settings: ModelArguments, corpus: Corpus | StreamingCorpus
) -> tuple[FastASTForAudioClassification, Corpus | StreamingCorpus]:
    """The model to start from, and the corpus in the order of its labels where it knows the same ones.

    Raises:
        ValueError: A checkpoint that is no AST, that lacks weights, or a wrong setting.
        OSError: No such checkpoint.
    """
    names = label_names(corpus)
    problem = "multi_label_classification" if is_multi_label(corpus) else "single_label_classification"
    labels: dict[str, Any] = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }
    length: dict[str, Any] = {} if settings.frames is None else {"max_length": settings.frames}
    if settings.model is None:
        config = FastASTConfig(
            hidden_size=settings.hidden_size,
            num_attention_heads=settings.heads,
            num_hidden_layers=settings.layers,
            intermediate_size=4 * settings.hidden_size,
            frequency_stride=settings.stride,
            time_stride=settings.stride,
            layer_norm_eps=1e-6,
            problem_type=problem,
            **settings.merging,
            **labels,
            **length,
        )
        return new_model(config), corpus
    if settings.model.startswith("timm/"):
        from .deit import fastast_from_deit

        name = settings.model.removeprefix("timm/")
        return fastast_from_deit(name, problem_type=problem, **settings.merging, **labels, **length), corpus
    model, info = FastASTForAudioClassification.from_pretrained(
        settings.model, output_loading_info=True, **settings.merging, **length
    )
    if lost := sorted(name for name in info["missing_keys"] if not name.startswith("classifier.")):
        raise ValueError(f"{settings.model} lacks {len(lost)} weights, {lost[0]} among them: give a whole checkpoint")
    model.config.problem_type = problem
    known = [model.config.id2label[index] for index in range(model.config.num_labels)]
    if sorted(known) == sorted(names) and not info["missing_keys"]:
        return model, with_label_order(corpus, known)
    logger.info("%s knows other labels: training a new head for %d", settings.model, len(names))
    model.config.id2label, model.config.label2id = labels["id2label"], labels["label2id"]
    model.num_labels = model.config.num_labels
    model.classifier = ASTMLPHead(model.config)
    model.classifier.apply(model._init_weights)
    return model, corpus


def new_model(config: FastASTConfig) -> FastASTForAudioClassification:
    """A model from nothing, started so that a few thousand clips can teach it."""
    model = FastASTForAudioClassification(config)
    # Transformers' 0.02 is made for hidden sizes around 1000; a small model starts to learn sooner from Xavier's.
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.xavier_uniform_(parameter)
    embeddings = model.audio_spectrogram_transformer.embeddings
    torch.nn.init.normal_(embeddings.patch_embeddings.projection.weight, std=1 / config.patch_size)
    for table in (embeddings.position_embeddings, embeddings.cls_token, embeddings.distillation_token):
        torch.nn.init.normal_(table, std=0.02)
    return model


def build_extractor(
    settings: ModelArguments, model: FastASTForAudioClassification, corpus: Corpus | StreamingCorpus
) -> FastASTFeatureExtractor:
    """The checkpoint's front end, or one with the statistics given or else measured on the training clips."""
    sizes = {"max_length": model.config.max_length, "num_mel_bins": model.config.num_mel_bins}
    given = {name: value for name in ("mean", "std") if (value := getattr(settings, name)) is not None}
    if settings.model is not None and not settings.model.startswith("timm/"):
        return FastASTFeatureExtractor.from_pretrained(settings.model, **sizes, **given)
    if len(given) < 2:
        measured = corpus_statistics(corpus["train"], num_mel_bins=model.config.num_mel_bins)
        logger.info("measured on the training clips: mean %.4f, std %.4f", measured.mean, measured.std)
        given = {"mean": measured.mean, "std": measured.std} | given
    return FastASTFeatureExtractor(**sizes, **given)


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
    corpus_settings: CorpusArguments,
    model_settings: ModelArguments,
    augment: AugmentationArguments,
    schedule: ScheduleArguments,
    args: TrainingArguments,
    corpus: Corpus | StreamingCorpus,
) -> FastASTTrainer:
    """Model, front end, clips and trainer of one run."""
    streaming, multi_label = isinstance(corpus, StreamingCorpus), is_multi_label(corpus)
    if streaming and args.max_steps <= 0:
        raise ValueError("a stream has no length: give --max_steps")
    model, corpus = build_model(model_settings, corpus)
    extractor = build_extractor(model_settings, model, corpus)
    shape = (len(label_names(corpus)), extractor.sampling_rate, window_samples(extractor.max_length))
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
    if model_settings.average_from is not None:
        average = WeightAverage(model_settings.average_from, model_settings.average_to)
    patience = model_settings.early_stopping
    return FastASTTrainer(
        model,
        args,
        extractor=extractor,
        loss=model_settings.loss or ("bce" if multi_label else "cross_entropy"),
        train_r=model_settings.train_r,
        augment=augment,
        schedule=schedule,
        noise=noise,
        sampling_weights=weights,
        average=average,
        adam_l2=model_settings.adam_l2,
        train_dataset=train,
        # After each epoch; AST looks at the test split where there is no other.
        eval_dataset=held_out.get("validation", held_out.get("test")),
        test_dataset=held_out.get("test"),
        compute_metrics=compute_metrics_for(multi_label),
        callbacks=[] if patience is None else [EarlyStoppingCallback(patience)],
    )
