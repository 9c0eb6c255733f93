"""A small checkpoint to push."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastast_hf import FastASTFeatureExtractor

Make = Callable[..., Any]


@pytest.fixture
def checkpoint(make_fastast: Make, tmp_path: Path) -> Path:
    """A FastAST with `tome_r = 4` and its front end."""
    folder = tmp_path / "tiny"
    make_fastast(
        num_labels=2, id2label={0: "dog", 1: "rain"}, label2id={"dog": 0, "rain": 1}, tome_r=4
    ).save_pretrained(folder)
    FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(folder)
    return folder
