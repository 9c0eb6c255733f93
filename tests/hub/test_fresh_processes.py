"""Each way of loading, in a process of its own that knows nothing but where the Hub is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from local_hub import LocalHub

from fastast_hf import FastASTForAudioClassification, Tagger
from fastast_hf.hub.publish import push

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
INPUT = "torch.linspace(-1, 1, 128 * 48).reshape(1, 128, 48)"
AUDIO = "np.sin(np.arange(16000) ** 1.4 / 50).astype('float32')"
# As where the package is not installed, whatever there is on this machine: importing it fails.
WITHOUT = "import sys; sys.modules['fastast_hf'] = None"
# In one process, for most of a process' time goes into importing torch and transformers.
LOAD = f"""
import json
import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, pipeline

def told(model):
    with torch.no_grad():
        return model.config.tome_r, model.eval()({INPUT}).logits.flatten().tolist()

made = {{}}
"""
AUTO = """
made["auto"] = told(AutoModelForAudioClassification.from_pretrained("me/tiny", tome_r=6, **keywords))
base, front_end = (kind.from_pretrained("me/tiny", **keywords) for kind in (AutoModel, AutoFeatureExtractor))
made["types"] = type(base).__name__, type(front_end).__name__, front_end.max_length
"""
PACKAGE = f"""
import fastast_hf
keywords = {{}}
{AUTO}
from fastast_hf import FastASTForAudioClassification
made["direct"] = told(FastASTForAudioClassification.from_pretrained("me/tiny", tome_r=6))
pipe = pipeline("audio-classification", "me/tiny", model_kwargs={{"tome_r": 6}})
"""
REMOTE_CODE = f"""
try:
    AutoModel.from_pretrained("me/tiny")
except ValueError as error:
    made["error"] = str(error)
keywords = {{"trust_remote_code": True}}
{AUTO}
pipe = pipeline("audio-classification", "me/tiny", trust_remote_code=True)
pipe.model.set_tome_r(6)
"""
SHOW = f"""
made["labels"] = pipe({AUDIO})
print()  # after what the client asks of a person
print(json.dumps(made))
"""


@pytest.fixture
def run(hub: LocalHub, tmp_path: Path) -> Run:
    def start(code: list[str], folder: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_local", "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(ROOT)
        return subprocess.run(
            [sys.executable, *code],
            capture_output=True,
            text=True,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
        )

    return start


def loaded(run: Run, code: str) -> dict[str, Any]:
    """What a process that loads `me/tiny` says of it."""
    done = run(["-c", code])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def check(made: dict[str, Any], checkpoint: Path, ways: set[str]) -> None:
    """The same logits bit for bit in each way, and a pipeline's labels those of the tagger."""
    model = FastASTForAudioClassification.from_pretrained(checkpoint, tome_r=6).eval()
    with torch.no_grad():
        logits = model(torch.linspace(-1, 1, 128 * 48).reshape(1, 128, 48)).logits.flatten().tolist()
    assert {way: made[way] for way in ways} == {way: [6, logits] for way in ways}
    assert made["types"] == ["FastASTModel", "FastASTFeatureExtractor", 128]
    expected = Tagger(checkpoint, tome_r=6)((eval(AUDIO, {"np": np}), 16000))
    assert [label["label"] for label in made["labels"]] == [label["label"] for label in expected]
    scores = [[label["score"] for label in each] for each in (made["labels"], expected)]
    assert np.allclose(*scores, atol=1e-6)


def test_with_the_package_auto_classes_direct_class_and_pipeline_give_the_same(
    hub: LocalHub, run: Run, checkpoint: Path
) -> None:
    push(checkpoint, "me/tiny")
    check(loaded(run, LOAD + PACKAGE + SHOW), checkpoint, {"auto", "direct"})


def test_without_it_remote_code_gives_the_same_and_the_error_says_to_ask_for_it(
    hub: LocalHub, run: Run, checkpoint: Path
) -> None:
    push(checkpoint, "me/tiny")
    made = loaded(run, f"{WITHOUT}\n{LOAD}{REMOTE_CODE}{SHOW}")
    check(made, checkpoint, {"auto"})
    assert re.search(r"pass(ing)? the argument `trust_remote_code=True`", made["error"])
    assert "https://hf.co/me/tiny" in made["error"]  # whose card names the package
