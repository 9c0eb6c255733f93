"""Cross-model knowledge distillation (CMKD, Gong et al. 2022), as FastAST uses it (Behera et al. 2024, §2.3)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import TrainingArguments

from ..corpora import Corpus, StreamingCorpus, label_names
from ..corpora.audioset import read_labels
from ..loading.devices import DTYPES
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from ..training.finetuning import CorpusArguments, known_labels
from ..training.inputs.batches import clip_seconds
from ..training.inputs.views import View
from ..training.results import check_fold
from ..training.trainer import FastASTTrainer, clip_losses
from .teachers.itself import SelfTeacher
from .teachers.logit_cache import LogitCache
from .teachers.released import is_released
from .teachers.scorer import ScorerTeacher
from .teachers.teacher import Teacher, teacher_probabilities

logger = logging.getLogger(__name__)

DISTANCES = ("kl", "mse")
SELF = "self"  # a teacher's name


def cmkd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    loss: str = "cross_entropy",
    lam: float = 0.1,
    tau: float = 1.0,
) -> Tensor:
    """The loss of equation 1 of FastAST (§2.3): λ · Loss_g(ψ(Z_s), y) + (1 − λ) · Loss_d(ψ(Z_s), ψ(Z_t / τ)).

    Loss_g is (binary) cross-entropy, Loss_d the Kullback-Leibler divergence of the student from the teacher, ψ softmax
    or sigmoid. τ divides the teacher's logits alone, and the loss is not scaled by τ². The student's gradient is that
    of the (binary) cross-entropy against λ · y + (1 − λ) · ψ(Z_t / τ).

    Args:
        student_logits: (B, classes).
        teacher_logits: (B, classes).
        targets: (B, classes) in [0, 1].
        loss: `"cross_entropy"` for one label a clip, or `"bce"` for several.
        lam: λ, the share of the ground truth.
        tau: τ, above 0.

    Returns:
        The mean over the clips (for `"bce"`, over classes as well), float32.

    Example:
        >>> same = torch.tensor([[2.0, -1.0]])
        >>> cmkd_loss(same, same, torch.tensor([[1.0, 0.0]]), lam=0.0).abs() < 1e-6
        tensor(True)
    """
    probabilities = teacher_probabilities(teacher_logits, loss, tau)
    return cmkd_losses(student_logits, probabilities, targets, loss=loss, lam=lam).total.mean()


class CMKDLosses(NamedTuple):
    """Equation 1 for each clip of a batch (B,), and its two parts."""

    total: Tensor
    truth: Tensor
    distilled: Tensor


def cmkd_losses(
    student_logits: Tensor,
    probabilities: Tensor,
    targets: Tensor,
    *,
    loss: str,
    lam: float,
    class_weights: Tensor | None = None,
) -> CMKDLosses:
    """Equation 1 for each clip, of the teacher's probabilities ψ(Z_t / τ) (B, classes); see [`cmkd_loss`].

    Class weights, of [`clip_losses`], are the ground truth's.

    Example:
        >>> certain = torch.tensor([[1.0, 0.0]])
        >>> cmkd_losses(torch.zeros(1, 2), certain, certain, loss="cross_entropy", lam=0.1).total
        tensor([0.6931])
    """
    truth = clip_losses(student_logits.float(), targets, loss, class_weights)
    distilled = divergence(student_logits.float(), probabilities, loss)
    return CMKDLosses(lam * truth + (1 - lam) * distilled, truth, distilled)


def divergence(student_logits: Tensor, probabilities: Tensor, loss: str) -> Tensor:
    """Loss_d (B,): the Kullback-Leibler divergence of the student from the teacher's probabilities.

    For `"bce"` the mean over classes, each a yes or no of its own.
    """
    own_entropy = torch.special.entr(probabilities)
    if loss == "bce":
        own_entropy = (own_entropy + torch.special.entr(1 - probabilities)).mean(dim=1)
    else:
        own_entropy = own_entropy.sum(dim=1)
    return clip_losses(student_logits, probabilities, loss) - own_entropy


@dataclass
class DistillationArguments:
    """Who teaches, and how."""

    teacher: str = field(
        default="",
        metadata={
            "help": "folder or Hub id of an audio classifier (of fold-1 …: one for each), or a released .pt; "
            "self: the student itself without merging"
        },
    )
    teacher_labels: str | None = field(
        default=None, metadata={"help": "what a released .pt knows: AudioSet's class_labels_indices.csv"}
    )
    lam: float = field(default=0.1, metadata={"help": "λ: share of the true labels in the loss"})
    tau: float = field(default=1.0, metadata={"help": "τ: temperature of the teacher"})
    distance: str = field(
        default="kl",
        metadata={"help": "between student and teacher: kl (the paper's), or mse, of their logits"},
    )
    teacher_dtype: str = field(default="float32", metadata={"help": "float32, bfloat16 or float16"})
    cache_teacher: bool = field(
        default=False,
        metadata={"help": "ask the teacher once for each clip, without augmentation"},
    )

    teacher_scores: str | None = field(
        default=None,
        metadata={"help": "folder for what it says of unlabelled clips, kept for later runs (default: the output's)"},
    )

    def __post_init__(self) -> None:
        if self.teacher_dtype not in DTYPES:
            raise ValueError(f"teacher_dtype is {self.teacher_dtype!r}: choose one of {', '.join(DTYPES)}")
        check_distance(self.distance, self.tau, self.cache_teacher)
        if self.teacher == SELF and self.cache_teacher:
            raise ValueError("teacher self learns all the time: leave out --cache-teacher")

    def own_labels(self) -> list[str] | None:
        """What a released file knows, in its order; None of a checkpoint, which names its labels.

        Raises:
            ValueError: The list is not given, or is no list of AudioSet's labels.
        """
        if not is_released(self.teacher):
            return None
        if self.teacher_labels is None:
            raise ValueError(
                f"{self.teacher} does not name its labels: give --teacher-labels class_labels_indices.csv"
            )
        return read_labels(Path(self.teacher_labels))[0]

    def knows(self, student: str | None) -> list[str] | None:
        """The labels that the teacher tells apart, in its order; the student's of one that teaches itself."""
        if self.teacher == SELF:
            return known_labels(student) if student else None
        return self.own_labels() or known_labels(self.teacher)


def check_distance(distance: str, tau: float, cached: bool) -> None:
    """Raise a ValueError unless there is such a distance, and it is one of what the teacher gives."""
    if distance not in DISTANCES:
        raise ValueError(f"distance is {distance!r}: choose one of {', '.join(DISTANCES)}")
    if distance == "mse" and (tau != 1 or cached):
        raise ValueError("distance mse compares the logits themselves: leave out --tau and --cache-teacher")


def build_distillation(
    settings: DistillationArguments, corpus: Corpus | StreamingCorpus, fold: int | None, args: TrainingArguments
) -> dict[str, Any]:
    """What [`CMKDTrainer`] takes beside what every trainer does; the teacher is None for a student that is its own.

    Raises:
        ValueError: No teacher, one that does not fit the corpus, or a wrong setting.
        OSError: No such teacher.
    """
    if not settings.teacher:
        raise ValueError("no teacher: give --teacher, a folder or Hub id of an audio classifier")
    if settings.cache_teacher and isinstance(corpus, StreamingCorpus):
        raise ValueError("a stream's clips have no numbers to keep a teacher's logits by: leave out --cache-teacher")
    teacher = None
    if settings.teacher != SELF:
        dtype, names = DTYPES[settings.teacher_dtype], label_names(corpus)
        checkpoint = teacher_of(settings.teacher, fold)
        teacher = Teacher.from_pretrained(checkpoint, names, args.device, dtype, settings.own_labels())
    kept = Path(args.output_dir) / "teacher_logits.safetensors" if settings.cache_teacher else None
    return {
        "teacher": teacher,
        "lam": settings.lam,
        "tau": settings.tau,
        "distance": settings.distance,
        "cache_file": kept,
    }


def teacher_of(teacher: str, fold: int | None) -> str:
    """The checkpoint that teaches on a fold: of a folder that holds `fold-1` …, that one; else the same on all.

    Raises:
        OSError: The folder holds teachers for other folds alone.
        ValueError: By its results the teacher was trained on this fold's clips, which the student is tested on.
    """
    if fold is None or not list(Path(teacher).glob("fold-*")):
        check_fold(teacher, fold)
        return teacher
    place = Path(teacher) / f"fold-{fold}"
    if not place.is_dir():
        raise OSError(f"{place} does not exist, and {teacher} has teachers of other folds: train one for this fold")
    check_fold(str(place), fold)
    return str(place)


def check_teachers(
    settings: DistillationArguments, corpus_settings: CorpusArguments, student: FastASTFeatureExtractor
) -> None:
    """Where there are several folds, load the teacher of each, to find what is wrong before the first one is trained.

    Raises:
        ValueError: One does not fit the corpus or the student's front end, or is no audio classifier.
        OSError: One is missing.
    """
    folds = corpus_settings.folds()
    if len(folds) == 1 or settings.teacher in ("", SELF):
        return
    names = label_names(corpus_settings.load(folds[0]))
    for checkpoint in dict.fromkeys(teacher_of(settings.teacher, fold) for fold in folds):
        Teacher.from_pretrained(checkpoint, names, own_labels=settings.own_labels()).check_hearing(student)


class CMKDTrainer(FastASTTrainer):
    """[`FastASTTrainer`] with a teacher, which sees what the student sees (consistent teaching).

    The trainer logs both parts of the loss (`loss_ground_truth`, `loss_distillation`) and the share of clips for which
    student and teacher choose the same class (`teacher_agreement`). Evaluation is without the teacher.

    Args:
        args: [`FastASTTrainer`]'s.
        extractor: The student's front end.
        teacher: On the student's device and in its order of labels; or anything that has `scores(waveforms) →
            probabilities`, as [`ScorerTeacher`] describes it.
        lam: λ of equation 1.
        tau: τ of the same.
        distance: Loss_d of equation 1: `"kl"`, or `"mse"`, the squared error of the student's logits, averaged over
            classes, which tells of what a sound is not, too (Ba & Caruana 2014, §2.2).
        deviation: (classes,) of the teacher's logits, by which `"mse"` divides each class' error; None for 1.
        cache_file: Have the teacher hear each training clip once, as it is, and keep its logits here: cheaper, and no
            consistent teaching.
        kwargs: [`FastASTTrainer`]'s.

    Raises:
        ValueError: λ is not in [0, 1], τ is not above 0, or the teacher can't hear what the student hears.
    """

    def __init__(
        self,
        *args: Any,
        extractor: FastASTFeatureExtractor,
        teacher: Any,
        lam: float = 0.1,
        tau: float = 1.0,
        distance: str = "kl",
        deviation: Tensor | None = None,
        cache_file: Path | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 <= lam <= 1:
            raise ValueError(f"lam is {lam}: give the share of the ground truth, 0 to 1")
        if tau <= 0:
            raise ValueError(f"tau is {tau}: give a temperature above 0")
        check_distance(distance, tau, cache_file is not None)
        if not isinstance(teacher, (Teacher, SelfTeacher)):
            teacher = ScorerTeacher(teacher, kwargs.get("loss", "cross_entropy"))
        if cache_file is None:
            teacher.check_hearing(extractor)
        else:  # it hears the clips themselves, now
            teacher.check_rate(extractor.sampling_rate)
        super().__init__(*args, extractor=extractor, **kwargs)
        if cache_file is not None and self.augment.overlay:
            raise ValueError("a teacher that heard the clips as they are knows no overlay: leave out --cache-teacher")
        self.teacher, self.lam, self.tau, self.distance, self.deviation = teacher, lam, tau, distance, deviation
        self.cache: LogitCache | None = None
        if cache_file is not None:
            clips = self.train_dataset
            heard = clips.max_samples / clips.sampling_rate
            if longer := sum(seconds > heard for seconds in clip_seconds(clips)):
                raise ValueError(
                    f"{longer} of {len(clips)} training clips are longer than the {heard:.1f} s that the student "
                    "hears at once, and a teacher has to hear the same stretch: leave out --cache-teacher"
                )
            logger.info("the teacher hears each clip once, as it is: this is not consistent teaching")
            with self.args.main_process_first(desc="the teacher's logits"):
                self.cache = LogitCache.of(
                    teacher,
                    self.train_dataset,
                    self.extractor,
                    cache_file,
                    self.args.eval_batch_size,
                    self.args.device,
                )
        self._sums = torch.zeros(4)  # ground truth, distillation, agreement, clips, since the last log

    def losses(self, logits: Tensor, view: View, features: Tensor) -> Tensor:
        """Equation 1 for each clip in training, and its first part alone in evaluation."""
        if not self.model.training:
            return super().losses(logits, view, features)
        if self.cache is not None:
            probabilities = self.cache.probabilities(view, self.loss, self.tau)
        else:
            teacher_logits = self.teacher.logits(view, self.extractor, features)
            probabilities = teacher_probabilities(teacher_logits, self.loss, self.tau)
        weights = self.weights_in_training(logits)
        losses = cmkd_losses(logits, probabilities, view.targets, loss=self.loss, lam=self.lam, class_weights=weights)
        if self.distance == "mse":
            errors = logits.float() - teacher_logits
            if self.deviation is not None:
                errors = errors / self.deviation.to(errors.device)
            distilled = errors.square().mean(dim=1)
            losses = CMKDLosses(self.lam * losses.truth + (1 - self.lam) * distilled, losses.truth, distilled)
        agree = (logits.argmax(dim=1) == probabilities.argmax(dim=1)).sum()
        sums = torch.stack([losses.truth.detach().sum(), losses.distilled.detach().sum(), agree])
        self._sums = self._sums.to(sums.device) + F.pad(sums, (0, 1), value=len(logits))
        return losses.total

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the loss' parts and the agreement with the teacher since the last time to the training's own."""
        if "loss" in logs:
            truth, distilled, agree, clips = self.accelerator.reduce(self._sums, "sum").tolist()
            self._sums.zero_()
            if clips:
                logs["loss_ground_truth"], logs["loss_distillation"] = truth / clips, distilled / clips
                logs["teacher_agreement"] = agree / clips
        super().log(logs, start_time)

    def run_settings(self) -> dict[str, Any]:
        """[`FastASTTrainer`]'s, and who teaches."""
        teacher = self.teacher.fingerprint()[:16]
        teaching = {
            "teacher": teacher,
            "lam": self.lam,
            "tau": self.tau,
            "distance": self.distance,
            "cache_teacher": self.cache is not None,
        }
        return super().run_settings() | teaching
