"""What the tests share: tiny models whose random weights make every part of them matter, and no network."""

from __future__ import annotations

import os
import shutil
import signal

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from local_hub import LocalHub, local_hub
from torch import Tensor
from transformers import ASTConfig, ASTForAudioClassification, PreTrainedModel
from transformers.utils import hub as transformers_hub
from transformers.utils import logging

from fastast_hf.model.configuration_fastast import FastASTConfig
from fastast_hf.model.feature_extraction_fastast import FastASTFeatureExtractor
from fastast_hf.model.modeling_fastast import FastASTForAudioClassification

# Not looked through for doctests: scripts that the Makefile runs, which import what is beside them.
collect_ignore = ["faults/jobs.py", "faults/run.py", "fuzz/run.py", "fuzz/targets.py", "soak/run.py"]
# 4 x 12 patches and two prefix tokens: 50 tokens. A head of 16 dimensions.
TINY = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_mel_bins": 48,
    "max_length": 128,
    "num_labels": 5,
}


def pytest_configure() -> None:
    """Keep transformers' load reports and progress bars out of the results, and tiny models on one thread."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's `pytest &` ignores
    torch.set_num_threads(1)  # more only wait for each other where the machine is busy
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def randomise(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """Weights that let attention choose and positions count, with logits of order 1.

    AST's own initialisation is so small that attention is all but uniform, and its positions are zero: hardly any
    mistake would show.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            noise = 1 + 0.2 * noise
        elif name.endswith("weight"):
            gain = 0.5 if "classifier" in name else 1.5
            noise = gain * noise / parameter[0].numel() ** 0.5
        else:
            noise = 0.5 * noise
        parameter.data.copy_(noise)
    return model


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Fields of a config small enough for Python loops."""
    return dict(TINY)


@pytest.fixture
def make_ast() -> Callable[..., ASTForAudioClassification]:
    """Builds a stock AST in eval mode with random weights; fields of its config replace the tiny ones."""

    def make(seed: int = 0, **fields: Any) -> ASTForAudioClassification:
        implementation = fields.pop("attn_implementation", "sdpa")
        config = ASTConfig(**{**TINY, **fields}, attn_implementation=implementation)
        return randomise(ASTForAudioClassification(config), seed).eval()

    return make


@pytest.fixture
def make_fastast() -> Callable[..., FastASTForAudioClassification]:
    """Builds a FastAST in eval mode with the weights that `make_ast` gives the stock model of the same seed."""

    def make(seed: int = 0, **fields: Any) -> FastASTForAudioClassification:
        implementation = fields.pop("attn_implementation", "sdpa")
        config = FastASTConfig(**{**TINY, **fields}, attn_implementation=implementation)
        return randomise(FastASTForAudioClassification(config), seed).eval()

    return make


@pytest.fixture
def checkpoint(make_fastast: Callable[..., FastASTForAudioClassification], tmp_path: Path) -> Path:
    """A FastAST with `tome_r = 4` and its front end."""
    folder = tmp_path / "tiny"
    make_fastast(
        num_labels=2, id2label={0: "dog", 1: "rain"}, label2id={"dog": 0, "rain": 1}, tome_r=4
    ).save_pretrained(folder)
    FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(folder)
    return folder


@pytest.fixture
def spectrogram() -> Callable[..., Tensor]:
    """Builds random log-mel spectrograms (batch, frames, mel bins)."""

    def make(batch: int = 2, frames: int = 128, mel_bins: int = 48, seed: int = 0) -> Tensor:
        return torch.randn(batch, frames, mel_bins, generator=torch.Generator().manual_seed(seed))

    return make


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
def open_browser() -> Iterator[Callable[..., Any]]:
    """Opens a headless Chromium, where one is installed, with more arguments."""
    selenium = pytest.importorskip("selenium.webdriver")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs chromium and chromedriver")
    from selenium.webdriver.chrome.service import Service

    with ExitStack() as stack:

        def opened(*arguments: str) -> Any:
            options = selenium.ChromeOptions()
            for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1250", *arguments):
                options.add_argument(argument)
            options.binary_location = shutil.which("chromium") or ""
            driver = selenium.Chrome(options=options, service=Service(shutil.which("chromedriver")))
            stack.callback(driver.quit)
            return driver

        yield opened


@pytest.fixture
def browser(open_browser: Callable[..., Any]) -> Any:
    """A headless Chromium."""
    return open_browser()
