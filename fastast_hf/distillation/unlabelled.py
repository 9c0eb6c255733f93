"""Unlabelled sound with the labels that a teacher gives it: to draw training clips in balance, and to test by."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import EvalPrediction

from ..corpora import Corpus, label_names
from ..corpora.corpus import label_feature
from ..errors import counted
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from ..training.inputs.batches import ClipDataset
from .teachers.logit_cache import LogitCache
from .teachers.teacher import Teacher, teacher_probabilities

logger = logging.getLogger(__name__)

# The probability from which on a clip has a label. Few sounds are likely to a teacher: training draws on faint ones.
DRAWN, TESTED = 0.1, 0.3


class Spread(NamedTuple):
    """What a teacher says of a corpus' training clips, by class (classes,): to begin a student's head with."""

    probability: Tensor  # its mean
    logit: Tensor  # its mean
    deviation: Tensor  # the logit's standard deviation


def labelled_by(
    teacher: Teacher, corpus: Corpus, sampling_rate: int, folder: Path, batch_size: int, device: torch.device
) -> tuple[Corpus, Tensor, Spread]:
    """Have a teacher hear every clip once, as it is.

    Args:
        teacher: In the order of the corpus' labels.
        corpus: Of [`load_unlabelled`].
        sampling_rate: The student's, in Hz.
        folder: For the teacher's logits, which are read again by the next run.
        batch_size: Clips at once.
        device: Where to compute.

    Returns:
        The corpus with labels, the teacher's likeliest label (clips,) of each test clip, and the spread of
        its logits over the training clips.

    Raises:
        ValueError: No label tells the test clips apart.
    """
    names, splits = label_names(corpus), {}
    likeliest, spread = torch.empty(0, dtype=torch.long), Spread(*[torch.empty(0)] * 3)
    front_end = FastASTFeatureExtractor(sampling_rate=sampling_rate)
    for split, rows in corpus.items():
        clips = ClipDataset(rows, len(names), sampling_rate, front_end.samples_of(front_end.max_length))
        file = folder / f"teacher_{split}.safetensors"
        logger.info("what the teacher says of %s of %s is kept in %s", counted(len(clips), "clip"), split, file)
        logits = LogitCache.of(teacher, clips, front_end, file, batch_size, device).logits.float()
        scores = teacher_probabilities(logits, "bce")
        least = DRAWN if split == "train" else TESTED
        labels = [row.nonzero().flatten().tolist() for row in scores >= least]
        if split == "train":  # what is like nothing is drawn by what it is likest to
            labels = [own or [top] for own, top in zip(labels, scores.argmax(dim=1).tolist(), strict=True)]
            spread = Spread(scores.mean(dim=0), logits.mean(dim=0), _deviation(logits))
        else:
            likeliest = scores.argmax(dim=1)
            heard = (scores >= TESTED).sum(dim=0)
            if not ((heard > 0) & (heard < len(scores))).any():
                raise ValueError(
                    f"there is nothing to test by: to the teacher none of {len(names)} labels is likely ({TESTED:g}) "
                    f"in some of the {len(scores)} test clips and not in others; give more, or other ones"
                )
        column = label_feature(names, multi_label=True)
        splits[split] = rows.remove_columns("labels").add_column("labels", labels, feature=column)
    return Corpus(splits, corpus.missing), likeliest, spread


def _deviation(logits: Tensor) -> Tensor:
    """(classes,) standard deviation over the clips, of which no error becomes infinite."""
    return logits.std(dim=0, correction=0).clamp(min=0.01)


def with_agreement(
    compute_metrics: Callable[[EvalPrediction], dict[str, float]], likeliest: Tensor
) -> Callable[[EvalPrediction], dict[str, float]]:
    """Metrics, and `top1_agreement`: the share of clips whose likeliest label is the teacher's, too.

    Example:
        >>> prediction = EvalPrediction(np.eye(2), np.eye(2))
        >>> with_agreement(lambda _: {}, torch.tensor([0, 0]))(prediction)
        {'top1_agreement': 0.5}
    """

    def computed(prediction: EvalPrediction) -> dict[str, Any]:
        first = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
        agreed = np.asarray(first).argmax(axis=1) == likeliest.numpy()
        return {**compute_metrics(prediction), "top1_agreement": float(agreed.mean())}

    return computed
