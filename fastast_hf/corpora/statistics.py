"""Mean and standard deviation of a corpus' log-mel values, which its front end normalises with."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from ..audio import AudioError, load_row
from ..model.feature_extraction_fastast import log_mel_spectrogram, window_samples

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Statistics:
    """Of log-mel values in natural-logarithm units, padding left out."""

    mean: float
    std: float
    clips: int
    unreadable: int


def corpus_statistics(
    split: Iterable[dict[str, Any]],
    sampling_rate: int = 16000,
    num_mel_bins: int = 128,
    max_frames: int | None = None,
    progress: bool | None = None,
) -> Statistics:
    """Measure a corpus' split; clips that can't be read are counted and left out.

    AST's published constants were measured with padding and masks in; these are the clips' own.

    Args:
        split: Rows with `audio`, as [`load_corpus`] gives them; a stream, too.
        sampling_rate: In Hz.
        num_mel_bins: Mel bins.
        max_frames: Frames of each clip to look at; None for all.
        progress: Whether to show a progress bar; None shows it on a terminal.

    Raises:
        ValueError: No clip can be read.

    Example:
        >>> clip = {"audio": ([0.0, 0.5] * 8000, 16000)}
        >>> corpus_statistics([clip, clip]).clips
        2
    """
    longest = None if max_frames is None else window_samples(max_frames, sampling_rate)
    count, total, squares = 0, 0.0, 0.0
    clips = unreadable = 0
    for row in tqdm(split, unit="clip", leave=False, disable=None if progress is None else not progress):
        try:
            samples = load_row(row, sampling_rate, longest)
        except AudioError as error:
            logger.warning("left out: %s", error)
            unreadable += 1
            continue
        values = log_mel_spectrogram(torch.from_numpy(samples).unsqueeze(0), sampling_rate, num_mel_bins).double()
        clips, count = clips + 1, count + values.numel()
        total, squares = total + values.sum().item(), squares + values.square().sum().item()
    if not clips:
        raise ValueError(f"none of the {unreadable} clips can be read: check the corpus' folder")
    mean = total / count
    return Statistics(mean, math.sqrt(max(0.0, squares / count - mean * mean)), clips, unreadable)
