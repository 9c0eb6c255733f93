"""A model's logits for the clips of a split, computed as `Tagger` computes them: what is shipped is what is scored."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..audio import AudioError, load_row, windows
from ..corpora import Corpus, targets_of, with_label_order
from ..loading.checkpoint import labels_in_order
from ..tagging.pooling import pool_of, pooled_logits
from ..tagging.recordings import stream_recordings
from ..tagging.tagger import Tagger

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictions:
    """Logits and targets (N, classes) of the clips of a split that could be read.

    Attributes:
        logits: (N, classes) float32, in the model's order of labels; of a clip longer than the model's input, those
            of the pooled scores of its windows.
        targets: (N, classes) of 0 and 1.
        clips: (N,) the clips' places in the split.
        unreadable: How many could not be read.
    """

    logits: np.ndarray
    targets: np.ndarray
    clips: np.ndarray
    unreadable: int


def predict(
    tagger: Tagger,
    corpus: Corpus,
    split: str = "test",
    merges: Sequence[int] | None = None,
    workers: int | None = None,
    pool: str | None = None,
) -> Predictions:
    """Logits of a split.

    Args:
        tagger: The model.
        corpus: With its labels, in any order.
        split: Of the corpus.
        merges: Of each layer; None for what the tagger merges by itself.
        workers: Threads that read clips; None for one for each core.
        pool: Of the windows' scores, `"mean"`, `"max"` or `"top3"`; None for the checkpoint's own.

    Raises:
        ValueError: The model's labels are not the corpus', or no clip can be read.
    """
    pool = pool or pool_of(tagger.model.config)
    rows = with_label_order(corpus, labels_in_order(tagger.model.config))[split]
    extractor = tagger.feature_extractor

    def read(clip: int) -> Iterator[np.ndarray]:
        samples = load_row(rows[clip], extractor.sampling_rate)
        yield from (window for _, window in windows([samples], extractor.samples_of(extractor.max_length)))

    found = stream_recordings(
        tagger,
        range(len(rows)),
        lambda stretches: tagger.run(stretches, lambda inputs: tagger.model(**inputs).logits, merges),
        lambda own, _: pooled_logits(torch.stack(own), [len(own)], tagger.activation == "sigmoid", pool),
        read=read,
        on_error="return",
        workers=workers,
    )
    logits: list[Tensor] = []
    clips: list[int] = []
    for clip, result in enumerate(found):
        if isinstance(result, AudioError):
            logger.warning("left out: %s", result)
        else:
            logits.append(result)
            clips.append(clip)
    if not logits:
        raise ValueError(f"none of the {len(rows)} clips of the {split} split can be read: check the corpus' folder")
    targets = targets_of(rows)[clips]
    return Predictions(torch.cat(logits).numpy(), targets, np.array(clips), len(rows) - len(clips))
