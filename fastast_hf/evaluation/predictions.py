"""A model's logits for the clips of a split, computed as `Tagger` computes them: what is shipped is what is scored."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..audio import AudioError, load_row, windows
from ..audio.reading import in_groups, read_ahead
from ..corpora import Corpus, targets_of, with_label_order
from ..loading.checkpoint import labels_in_order
from ..tagging.pooling import pool_of, pooled_logits
from ..tagging.tagger import Tagger

logger = logging.getLogger(__name__)

READ_AHEAD_BATCHES = 4


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
    ahead = tagger.batch_size * READ_AHEAD_BATCHES
    recordings = read_ahead(partial(_windows, tagger, rows), range(len(rows)), workers=workers, most=ahead, room=ahead)
    logits: list[Tensor] = []
    clips: list[int] = []
    with tqdm(total=len(rows), unit="clip", leave=False, disable=None) as bar, closing(recordings):
        for group in in_groups(recordings, ahead):
            own = [(clip, found) for clip, found in group if found]
            if own:
                stretches = [stretch for _, found in own for stretch in found]
                computed = torch.stack(tagger.run(stretches, lambda inputs: tagger.model(**inputs).logits, merges))
                counts = [len(found) for _, found in own]
                logits.append(pooled_logits(computed, counts, tagger.activation == "sigmoid", pool))
                clips += [clip for clip, _ in own]
            bar.update(len(group))
    if not logits:
        raise ValueError(f"none of the {len(rows)} clips of the {split} split can be read: check the corpus' folder")
    targets = targets_of(rows)[clips]
    return Predictions(torch.cat(logits).numpy(), targets, np.array(clips), len(rows) - len(clips))


def _windows(tagger: Tagger, rows: Any, clip: int) -> list[np.ndarray]:
    """A clip as windows of the model's input length; none of one that can't be read, which a warning tells."""
    extractor = tagger.feature_extractor
    try:
        samples = load_row(rows[clip], extractor.sampling_rate)
    except AudioError as error:
        logger.warning("left out: %s", error)
        return []
    return [window for _, window in windows([samples], extractor.samples_of(extractor.max_length))]
