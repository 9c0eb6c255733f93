"""The teacher that is to be trained on a corpus: from a checkpoint, ImageNet weights or nothing, and its front end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..corpora import Corpus, StreamingCorpus, is_multi_label, label_names, with_label_order
from ..feature_extraction_fastast import FastASTFeatureExtractor
from ..initialisation import initialised
from ..statistics import corpus_statistics
from .cnn import CNNConfig, CNNForAudioClassification, cnn_from_imagenet
from .passt import PasstConfig, PasstForAudioClassification
from .passt_checkpoint import passt_feature_extractor, passt_from_checkpoint, passt_from_deit
from .passt_features import PasstFeatureExtractor
from .psla import cnn_from_psla, psla_feature_extractor
from .teacher import load_teacher

logger = logging.getLogger(__name__)

ARCHITECTURES = ("cnn", "passt")
_HEADS = {CNNConfig.model_type: "head.", PasstConfig.model_type: "classifier."}


@dataclass
class TeacherModelArguments:
    """What the teacher is."""

    architecture: str = field(default="cnn", metadata={"help": "cnn or passt"})
    model: str | None = field(
        default=None,
        metadata={"help": "timm/NAME (ImageNet), a teacher's checkpoint, or a .pth or .pt of PSLA or PaSST"},
    )
    imagenet_weights: str | None = field(
        default=None, metadata={"help": "safetensors file of timm/NAME's weights, instead of a download (cnn)"}
    )
    backbone: str = field(default="efficientnet_b2", metadata={"help": "timm's name of a cnn from nothing"})
    head: str = field(default="mean", metadata={"help": "of a cnn: mean, or psla"})
    drop_path_rate: float = field(default=0.0, metadata={"help": "stochastic depth of a cnn"})
    hidden_size: int = field(default=768, metadata={"help": "of a passt from nothing"})
    layers: int = field(default=12, metadata={"help": "of a passt from nothing"})
    heads: int = field(default=12, metadata={"help": "of a passt from nothing"})
    stride: int = field(default=10, metadata={"help": "of a new passt: from one patch to the next"})
    time_patchout: int = field(default=0, metadata={"help": "columns of patches that a passt trains without"})
    frequency_patchout: int = field(default=0, metadata={"help": "rows of patches that a passt trains without"})
    unstructured_patchout: int = field(default=0, metadata={"help": "patches that a passt trains without"})
    frames: int | None = field(default=None, metadata={"help": "frames of a spectrogram (default: the checkpoint's)"})
    mean: float | None = field(default=None, metadata={"help": "of the log-mel values of a cnn (default: measured)"})
    std: float | None = field(default=None, metadata={"help": "of the same"})
    rate: int = field(default=32000, metadata={"help": "sampling rate of a new passt's front end, Hz"})

    def how_it_trains(self) -> dict[str, Any]:
        """What the config of this architecture has of settings that any checkpoint of it can be trained with."""
        if self.architecture == "cnn":
            return {"drop_path_rate": self.drop_path_rate} | ({"max_length": self.frames} if self.frames else {})
        names = ("time_patchout", "frequency_patchout", "unstructured_patchout")
        return {name: getattr(self, name) for name in names}

    def fields(self) -> dict[str, Any]:
        """What the config of a new model of this architecture has of these settings."""
        own: dict[str, Any] = {} if self.frames is None else {"max_length": self.frames}
        strides = {"frequency_stride": self.stride, "time_stride": self.stride}
        return self.how_it_trains() | own | (strides if self.architecture == "passt" else {})


def build_teacher(
    settings: TeacherModelArguments, corpus: Corpus | StreamingCorpus
) -> tuple[Any, FastASTFeatureExtractor, Corpus | StreamingCorpus]:
    """Model and front end, and the corpus in the order of the model's labels where it knows the same ones.

    Raises:
        ValueError: A wrong setting, or a checkpoint of another kind of model.
        OSError: No such checkpoint or weights.
        ImportError: timm is not installed.
    """
    if settings.architecture not in ARCHITECTURES:
        raise ValueError(f"architecture is {settings.architecture!r}: choose one of {', '.join(ARCHITECTURES)}")
    names = label_names(corpus)
    problem = "multi_label_classification" if is_multi_label(corpus) else "single_label_classification"
    labels: dict[str, Any] = {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    labels["problem_type"] = problem
    fields = {**settings.fields(), **labels}
    start = settings.model
    if start is None:
        return _from_nothing(settings, fields), _new_extractor(settings, corpus), corpus
    if start.startswith("timm/"):
        name = start.removeprefix("timm/")
        if settings.architecture == "passt":
            return passt_from_deit(name, **fields), _new_extractor(settings, corpus), corpus
        model = cnn_from_imagenet(name, settings.imagenet_weights, head=settings.head, **fields)
        return model, _new_extractor(settings, corpus), corpus
    if Path(start).suffix in (".pt", ".pth"):
        read: Callable[..., Any] = passt_from_checkpoint if settings.architecture == "passt" else cnn_from_psla
        extractor = passt_feature_extractor() if settings.architecture == "passt" else psla_feature_extractor()
        return _trained_on(read(start), settings, labels), _adjusted(extractor, settings), corpus
    model, extractor = load_teacher(start)
    model_type = model.config.model_type
    if model_type != f"fastast_{settings.architecture}":
        raise ValueError(f"{start} is a {model_type!r} checkpoint: give one of a {settings.architecture}")
    extractor = _adjusted(extractor, settings)
    known = [model.config.id2label[index] for index in range(model.config.num_labels)]
    if sorted(known) == sorted(names):
        return _trained_on(model, settings, {"problem_type": problem}), extractor, with_label_order(corpus, known)
    logger.info("%s knows other labels: training a new head for %d", start, len(names))
    return _trained_on(model, settings, labels), extractor, corpus


def _from_nothing(settings: TeacherModelArguments, fields: dict[str, Any]) -> Any:
    if settings.architecture == "cnn":
        return CNNForAudioClassification(CNNConfig(backbone=settings.backbone, head=settings.head, **fields))
    sizes = {
        "hidden_size": settings.hidden_size,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "intermediate_size": 4 * settings.hidden_size,
    }
    return initialised(PasstForAudioClassification(PasstConfig(**sizes, **fields)))


def _new_extractor(settings: TeacherModelArguments, corpus: Corpus | StreamingCorpus) -> FastASTFeatureExtractor:
    if settings.architecture == "passt":
        return PasstFeatureExtractor(max_length=settings.frames or 1000, sampling_rate=settings.rate)
    given = {name: value for name in ("mean", "std") if (value := getattr(settings, name)) is not None}
    if len(given) < 2:
        measured = corpus_statistics(corpus["train"])
        logger.info("measured on the training clips: mean %.4f, std %.4f", measured.mean, measured.std)
        given = {"mean": measured.mean, "std": measured.std} | given
    return FastASTFeatureExtractor(max_length=settings.frames or 1024, **given)


def _adjusted(extractor: FastASTFeatureExtractor, settings: TeacherModelArguments) -> FastASTFeatureExtractor:
    for name, value in (("max_length", settings.frames), ("mean", settings.mean), ("std", settings.std)):
        if value is not None:
            setattr(extractor, name, value)
    return extractor


def _trained_on(model: Any, settings: TeacherModelArguments, fields: dict[str, Any]) -> Any:
    """The model as it is to be trained on; with a fresh head where `fields` have other labels. Sizes stay its own."""
    fields = {**model.config.to_dict(), **settings.how_it_trains(), **fields}
    config = type(model.config).from_dict({**fields, "num_labels": len(fields["id2label"])})
    again = type(model)(config)
    weights = model.state_dict()
    if config.id2label != model.config.id2label:
        head = _HEADS[config.model_type]
        weights = {name: weight for name, weight in weights.items() if not name.startswith(head)}
    again.load_state_dict(weights, strict=False)
    return again
