"""The model that is trained: from a checkpoint, an ImageNet DeiT or nothing, and its front end."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import ASTMLPHead

from ...corpora import Corpus, StreamingCorpus, is_multi_label, label_names, with_label_order
from ...corpora.statistics import corpus_statistics
from ...errors import refuse_contradictions, weights_readable
from ...loading.bundled import bundled
from ...loading.checkpoint import check_size, check_weights, labels_in_order
from ...model.configuration_fastast import FastASTConfig
from ...model.feature_extraction_fastast import FastASTFeatureExtractor
from ...model.modeling_fastast import FastASTForAudioClassification
from .initialisation import initialised

logger = logging.getLogger(__name__)


_SIZES = {"hidden_size": 192, "layers": 12, "heads": 3, "stride": 10, "mel_bins": 128}  # of a model from nothing
PATCH = 16  # AST's, in frames and mel bins


@dataclass
class ModelArguments:
    """What to train, and how much it merges."""

    model: str | None = field(
        default="",
        metadata={"help": "checkpoint to start from, timm/NAME of a DeiT, or none for a new model"},
    )
    frames: int | None = field(
        default=None, metadata={"help": "clip length in frames of 10 ms (default: the checkpoint's)"}
    )
    mean: float | None = field(
        default=None, metadata={"help": "mean of the log-mel values (default: the checkpoint's)"}
    )
    std: float | None = field(default=None, metadata={"help": "their standard deviation; a new model's are measured"})
    tome_r: list[int] = field(
        default_factory=list,
        metadata={"help": "tokens to merge in each layer, or one number per layer"},
    )
    tome_schedule: str | None = field(
        default=None, metadata={"help": "constant, decreasing or increasing: r over the layers"}
    )
    train_r: list[int] = field(default_factory=list, metadata={"help": "draw r from these at each step"})
    hidden_size: int | None = field(default=None, metadata={"help": "width of a new model (default: 192)"})
    layers: int | None = field(
        default=None, metadata={"help": "layers of a new model (default: 12), or of timm/NAME the first ones"}
    )
    heads: int | None = field(default=None, metadata={"help": "attention heads of a new model (default: 3)"})
    stride: int | None = field(
        default=None, metadata={"help": "frames from one patch to the next in a new model (default: 10)"}
    )
    mel_bins: int | None = field(default=None, metadata={"help": "mel bands of a new model (default: 128)"})

    def __post_init__(self) -> None:
        self.model = None if self.model is None else str(bundled(self.model))
        # Empty where it was not given: sizes ask for a new model as well.
        if self.model == "none" or (self.model == "" and any(getattr(self, size) is not None for size in _SIZES)):
            self.model = None
        if min([0, *self.train_r]) < 0:
            raise ValueError(f"train_r holds {min(self.train_r)}: give numbers of tokens to merge, 0 or more")
        layers, heads, width = (self.of_new(name) for name in ("layers", "heads", "hidden_size"))
        if layers < 1 or heads < 1 or width % heads:
            raise ValueError(
                f"{layers} layers, hidden_size {width} and {heads} heads: give 1 or more, and a "
                "hidden size that the heads divide"
            )
        if self.std is not None and self.std <= 0:
            raise ValueError(f"std is {self.std}: give the standard deviation of the log-mel values, above 0")

    def of_new(self, size: str) -> int:
        """`hidden_size`, `layers`, `heads`, `stride` or `mel_bins` of a model from nothing."""
        given: int | None = getattr(self, size)
        return _SIZES[size] if given is None else given

    @property
    def merging(self) -> dict[str, Any]:
        """`tome_r` and `tome_schedule` as the config has them, where they are given."""
        given: dict[str, Any] = {}
        if self.tome_r:
            given["tome_r"] = self.tome_r[0] if len(self.tome_r) == 1 else list(self.tome_r)
        if self.tome_schedule is not None:
            given["tome_schedule"] = self.tome_schedule
        return given


def build_model(
    settings: ModelArguments, corpus: Corpus | StreamingCorpus
) -> tuple[FastASTForAudioClassification, Corpus | StreamingCorpus]:
    """The model to start from, and the corpus in the order of its labels where it knows the same ones.

    Raises:
        ValueError: A checkpoint that is no AST, that lacks weights or contradicts a setting, or a wrong setting.
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
            hidden_size=settings.of_new("hidden_size"),
            num_attention_heads=settings.of_new("heads"),
            num_hidden_layers=settings.of_new("layers"),
            intermediate_size=4 * settings.of_new("hidden_size"),
            frequency_stride=settings.of_new("stride"),
            time_stride=settings.of_new("stride"),
            num_mel_bins=settings.of_new("mel_bins"),
            layer_norm_eps=1e-6,
            problem_type=problem,
            **settings.merging,
            **labels,
            **length,
        )
        return initialised(FastASTForAudioClassification(config)), corpus
    if settings.model.startswith("timm/"):
        from .deit import fastast_from_deit

        name = settings.model.removeprefix("timm/")
        given: dict[str, Any] = {
            "num_hidden_layers": settings.layers,
            "num_mel_bins": settings.mel_bins,
            "frequency_stride": settings.stride,
            "time_stride": settings.stride,
        }
        sizes = {name: size for name, size in given.items() if size is not None}
        model = fastast_from_deit(
            name, problem_type=problem, patch_size=PATCH, **settings.merging, **labels, **length, **sizes
        )
        refuse_contradictions(settings, settings.model, _sizes(model.config))
        return model, corpus
    with weights_readable(settings.model):
        check_size(settings.model, FastASTConfig.from_pretrained(settings.model))
        model, info = FastASTForAudioClassification.from_pretrained(
            settings.model, output_loading_info=True, ignore_mismatched_sizes=True, **settings.merging, **length
        )
    lost = {name for name in info["missing_keys"] if not name.startswith("classifier.")}  # an encoder will do
    check_weights(settings.model, model, {**info, "missing_keys": lost})
    refuse_contradictions(settings, settings.model, _sizes(model.config))
    model.config.problem_type = problem
    known = labels_in_order(model.config)
    if sorted(known) == sorted(names) and not info["missing_keys"]:
        return model, with_label_order(corpus, known)
    logger.info("%s knows other labels: training a new head for %d", settings.model, len(names))
    model.config.id2label, model.config.label2id = labels["id2label"], labels["label2id"]
    model.num_labels = model.config.num_labels
    model.classifier = ASTMLPHead(model.config)
    model.classifier.apply(model._init_weights)
    return model, corpus


def _sizes(config: FastASTConfig) -> dict[str, int]:
    return {
        "hidden_size": config.hidden_size,
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "stride": config.time_stride,
        "mel_bins": config.num_mel_bins,
    }


def extractor_of(settings: ModelArguments) -> FastASTFeatureExtractor:
    """What is known of the front end before there is a model or a corpus: all but the statistics."""
    sizes: dict[str, Any] = {} if settings.frames is None else {"max_length": settings.frames}
    if settings.model is not None and not settings.model.startswith("timm/"):
        return FastASTFeatureExtractor.from_pretrained(settings.model, **sizes)
    return FastASTFeatureExtractor(**sizes, num_mel_bins=settings.of_new("mel_bins"))


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
