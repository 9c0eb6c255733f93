"""The teacher that is to be trained on a corpus: from a checkpoint, ImageNet weights or nothing, and its front end."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from ...corpora import Corpus, StreamingCorpus, is_multi_label, label_names, with_label_order
from ...corpora.statistics import corpus_statistics
from ...errors import refuse_contradictions
from ...loading.checkpoint import labels_in_order
from ...model.feature_extraction_fastast import FastASTFeatureExtractor
from ...training.start.initialisation import initialised
from .cnn import CNNConfig, CNNForAudioClassification, cnn_from_imagenet
from .efficientat import EfficientATConfig
from .passt import PasstConfig, PasstForAudioClassification
from .passt_checkpoint import passt_from_deit
from .passt_features import PasstFeatureExtractor
from .teacher import load_teacher

logger = logging.getLogger(__name__)

ARCHITECTURES = ("cnn", "passt", "efficientat")
# Settings of a new teacher, and which settings each architecture has to itself.
_NEW = {"backbone": "efficientnet_b2", "head": "mean", "hidden_size": 768, "layers": 12, "heads": 12, "stride": 10,
        "rate": 32000}  # fmt: skip
_OWN = {
    "cnn": ("imagenet_weights", "backbone", "head", "drop_path_rate"),
    "passt": ("hidden_size", "layers", "heads", "stride", "rate", "time_patchout", "frequency_patchout",
              "unstructured_patchout"),
}  # fmt: skip
_HEADS = {
    CNNConfig.model_type: "head.",
    PasstConfig.model_type: "classifier.",
    EfficientATConfig.model_type: "network.classifier.3.",
}


@dataclass
class TeacherModelArguments:
    """What the teacher is."""

    architecture: str = field(default="cnn", metadata={"help": "cnn, passt or efficientat"})
    model: str | None = field(
        default="",
        metadata={
            "help": "timm/NAME (ImageNet), a teacher's checkpoint, or a .pth or .pt of PSLA, PaSST or EfficientAT"
        },
    )
    imagenet_weights: str | None = field(
        default=None, metadata={"help": "safetensors file of timm/NAME's weights, instead of a download (cnn)"}
    )
    backbone: str | None = field(
        default=None, metadata={"help": "timm's name of a cnn from nothing (default: efficientnet_b2)"}
    )
    head: str | None = field(default=None, metadata={"help": "of a new cnn: mean, or psla (default: mean)"})
    drop_path_rate: float = field(default=0.0, metadata={"help": "stochastic depth of a cnn"})
    hidden_size: int | None = field(default=None, metadata={"help": "of a passt from nothing (default: 768)"})
    layers: int | None = field(default=None, metadata={"help": "of a passt from nothing (default: 12)"})
    heads: int | None = field(default=None, metadata={"help": "of a passt from nothing (default: 12)"})
    stride: int | None = field(
        default=None, metadata={"help": "of a new passt: from one patch to the next (default: 10)"}
    )
    time_patchout: int = field(default=0, metadata={"help": "columns of patches that a passt trains without"})
    frequency_patchout: int = field(default=0, metadata={"help": "rows of patches that a passt trains without"})
    unstructured_patchout: int = field(default=0, metadata={"help": "patches that a passt trains without"})
    frames: int | None = field(default=None, metadata={"help": "frames of a spectrogram (default: the checkpoint's)"})
    mean: float | None = field(
        default=None, metadata={"help": "of the log-mel values (default: measured for a new cnn, PaSST's own for it)"}
    )
    std: float | None = field(default=None, metadata={"help": "of the same"})
    rate: int | None = field(
        default=None, metadata={"help": "sampling rate of a new passt's front end, Hz (default: 32000)"}
    )

    def __post_init__(self) -> None:
        # Empty where it was not given: sizes ask for a new model as well.
        if self.model == "none" or (self.model == "" and any(getattr(self, size) is not None for size in _NEW)):
            self.model = None

    def of_new(self, name: str) -> Any:
        """A setting that only a teacher without a checkpoint of its own has."""
        given = getattr(self, name)
        return _NEW[name] if given is None else given

    def how_it_trains(self) -> dict[str, Any]:
        """What the config of this architecture has of settings that any checkpoint of it can be trained with."""
        if self.architecture == "cnn":
            return {"drop_path_rate": self.drop_path_rate} | ({"max_length": self.frames} if self.frames else {})
        if self.architecture == "efficientat":
            return {}
        names = ("time_patchout", "frequency_patchout", "unstructured_patchout")
        return {name: getattr(self, name) for name in names}

    def fields(self) -> dict[str, Any]:
        """What the config of a new model of this architecture has of these settings."""
        own: dict[str, Any] = {} if self.frames is None else {"max_length": self.frames}
        strides = {"frequency_stride": self.of_new("stride"), "time_stride": self.of_new("stride")}
        return self.how_it_trains() | own | (strides if self.architecture == "passt" else {})


def build_teacher(
    settings: TeacherModelArguments, corpus: Corpus | StreamingCorpus
) -> tuple[Any, FastASTFeatureExtractor, Corpus | StreamingCorpus]:
    """Model and front end, and the corpus in the order of the model's labels where it knows the same ones.

    Raises:
        ValueError: A wrong setting, one that has no effect on this teacher, or a checkpoint of another kind of model.
        OSError: No such checkpoint or weights.
        ImportError: timm is not installed.
    """
    if settings.architecture not in ARCHITECTURES:
        raise ValueError(f"architecture is {settings.architecture!r}: choose one of {', '.join(ARCHITECTURES)}")
    _refuse_unused(settings)
    model, extractor, corpus = _built(settings, corpus)
    _refuse_other_sizes(settings, model.config, extractor)
    return model, extractor, corpus


def _built(
    settings: TeacherModelArguments, corpus: Corpus | StreamingCorpus
) -> tuple[Any, FastASTFeatureExtractor, Corpus | StreamingCorpus]:
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
        model = cnn_from_imagenet(name, settings.imagenet_weights, head=settings.of_new("head"), **fields)
        return model, _new_extractor(settings, corpus), corpus
    model, extractor = load_teacher(start)
    model_type = model.config.model_type
    if model_type != f"fastast_{settings.architecture}":
        raise ValueError(f"{start} is a {model_type!r} checkpoint: give one of a {settings.architecture}")
    extractor = _adjusted(extractor, settings)
    known = labels_in_order(model.config)
    if sorted(known) == sorted(names):
        return _trained_on(model, settings, {"problem_type": problem}), extractor, with_label_order(corpus, known)
    logger.info("%s knows other labels: training a new head for %d", start, len(names))
    return _trained_on(model, settings, labels), extractor, corpus


def _refuse_unused(settings: TeacherModelArguments) -> None:
    """Raise a ValueError for a setting that nothing would take notice of."""
    for architecture, names in _OWN.items():
        for name in names:
            if settings.architecture != architecture and (given := getattr(settings, name)):
                raise ValueError(
                    f"{name} is {given!r}, which a {settings.architecture} has none of: leave it out, or give "
                    f"--architecture {architecture}"
                )
    start = settings.model or ""
    if settings.architecture == "efficientat" and (not start or start.startswith("timm/")):
        raise ValueError(f"an efficientat can't start from {start or 'nothing'}: give --model mn10_as_mAP_471.pt, say")
    if settings.imagenet_weights is not None and not start.startswith("timm/"):
        raise ValueError(
            f"imagenet_weights is {settings.imagenet_weights!r}, and the teacher starts from {start or 'nothing'}: "
            "leave it out, or give --model timm/NAME"
        )
    if settings.architecture == "cnn" and start.startswith("timm/"):  # known before its weights are downloaded
        refuse_contradictions(settings, start, {"backbone": start.removeprefix("timm/").split(".")[0]})


def _refuse_other_sizes(settings: TeacherModelArguments, config: Any, extractor: FastASTFeatureExtractor) -> None:
    """Raise a ValueError for a setting of a new teacher that this one, which has sizes of its own, contradicts."""
    if settings.architecture == "cnn":
        refuse_contradictions(settings, settings.model, {"backbone": config.backbone, "head": config.head})
        return
    if settings.architecture == "efficientat":
        return
    own = {
        "hidden_size": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "stride": config.time_stride,
        "rate": extractor.sampling_rate,
    }
    refuse_contradictions(settings, settings.model, own)


def _from_nothing(settings: TeacherModelArguments, fields: dict[str, Any]) -> Any:
    if settings.architecture == "cnn":
        return CNNForAudioClassification(
            CNNConfig(backbone=settings.of_new("backbone"), head=settings.of_new("head"), **fields)
        )
    sizes = {
        "hidden_size": settings.of_new("hidden_size"),
        "num_hidden_layers": settings.of_new("layers"),
        "num_attention_heads": settings.of_new("heads"),
        "intermediate_size": 4 * settings.of_new("hidden_size"),
    }
    return initialised(PasstForAudioClassification(PasstConfig(**sizes, **fields)))


def _new_extractor(settings: TeacherModelArguments, corpus: Corpus | StreamingCorpus) -> FastASTFeatureExtractor:
    if settings.architecture == "passt":
        extractor = PasstFeatureExtractor(max_length=settings.frames or 1000, sampling_rate=settings.of_new("rate"))
        return _adjusted(extractor, settings)
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
