"""A corpus' mean and standard deviation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor

from fastast_hf.corpora.statistics import corpus_statistics

RANDOM = np.random.default_rng(0)
CLIPS = [RANDOM.normal(scale=0.1, size=n).astype(np.float32) for n in (3000, 8000, 5000)]
ROWS = [{"audio": {"array": clip, "sampling_rate": 16000}} for clip in CLIPS]


def test_statistics_are_those_of_all_frames_together_without_padding() -> None:
    extractor = ASTFeatureExtractor(do_normalize=False)
    frames = [1 + (len(clip) - 400) // 160 for clip in CLIPS]
    values = torch.cat(
        [
            torch.as_tensor(np.asarray(extractor(clip, sampling_rate=16000).input_values))
            .reshape(-1, 128)[:n]
            .double()
            for clip, n in zip(CLIPS, frames, strict=True)
        ]
    )
    measured = corpus_statistics(ROWS, progress=False)
    assert measured.clips == 3 and measured.unreadable == 0
    assert measured.mean == pytest.approx(values.mean().item(), abs=1e-4)
    assert measured.std == pytest.approx(values.std(correction=0).item(), abs=1e-4)
    assert corpus_statistics(ROWS, max_frames=5) != measured


def test_clips_that_cannot_be_read_are_counted_and_left_out() -> None:
    broken = {"audio": {"bytes": b"no audio", "path": "broken.wav"}}
    measured = corpus_statistics([*ROWS, broken])
    assert measured.unreadable == 1
    assert (measured.mean, measured.std) == (corpus_statistics(ROWS).mean, corpus_statistics(ROWS).std)
    with pytest.raises(ValueError, match="none of the 2 clips can be read"):
        corpus_statistics([broken, broken])
