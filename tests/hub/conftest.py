"""A local Hub, and a small checkpoint to push to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from local_hub import LocalHub, local_hub
from transformers.utils import hub as transformers_hub

from fastast_hf import FastASTFeatureExtractor

Make = Callable[..., Any]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    """A Hub that this process' huggingface_hub talks to, with a token and a cache of its own.

    huggingface_hub reads these variables when it is imported, and it was imported to be offline.
    """
    with local_hub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(transformers_hub, "_hf_api", None)  # which keeps the address it was made with
        monkeypatch.setenv("HF_TOKEN", "hf_local")
        yield served


@pytest.fixture
def checkpoint(make_fastast: Make, tmp_path: Path) -> Path:
    """A FastAST with `tome_r = 4` and its front end."""
    folder = tmp_path / "tiny"
    make_fastast(
        num_labels=2, id2label={0: "dog", 1: "rain"}, label2id={"dog": 0, "rain": 1}, tome_r=4
    ).save_pretrained(folder)
    FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(folder)
    return folder
