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
INPUT = "import torch; x = torch.linspace(-1, 1, 128 * 48).reshape(1, 128, 48)"
SHOW = "print(model.config.tome_r, model(x).logits.flatten().tolist())"
# As where the package is not installed, whatever there is on this machine: importing it fails.
WITHOUT = "import sys; sys.modules['fastast_hf'] = None; "
AUDIO = "import numpy as np; audio = np.sin(np.arange(16000) ** 1.4 / 50).astype('float32'); "


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


WAYS = {
    "trust_remote_code": WITHOUT + (
        "from transformers import AutoModelForAudioClassification as M; "
        "model = M.from_pretrained('me/tiny', tome_r=6, trust_remote_code=True)"
    ),
    "package and AutoModelForAudioClassification": (
        "import fastast_hf; from transformers import AutoModelForAudioClassification as M; "
        "model = M.from_pretrained('me/tiny', tome_r=6)"
    ),
    "direct class": (
        "from fastast_hf import FastASTForAudioClassification as M; model = M.from_pretrained('me/tiny', tome_r=6)"
    ),
}  # fmt: skip


ONE, *OTHERS = WAYS


@pytest.mark.parametrize("way", [ONE, *(pytest.param(way, marks=pytest.mark.slow) for way in OTHERS)])
def test_every_way_gives_the_same_logits_bit_for_bit(way: str, hub: LocalHub, run: Run, checkpoint: Path) -> None:
    push(checkpoint, "me/tiny")
    done = run(["-c", f"{WAYS[way]}; {INPUT}; model.eval(); {SHOW}"])
    assert done.returncode == 0, done.stderr
    model = FastASTForAudioClassification.from_pretrained(checkpoint, tome_r=6).eval()
    with torch.no_grad():
        logits = model(torch.linspace(-1, 1, 128 * 48).reshape(1, 128, 48)).logits.flatten().tolist()
    assert done.stdout.strip().splitlines()[-1] == f"6 {logits}"


PIPELINES = {
    "package": (
        "import fastast_hf; from transformers import pipeline; "
        "pipe = pipeline('audio-classification', 'me/tiny', model_kwargs={'tome_r': 6}); "
    ),
    "trust_remote_code": WITHOUT + (
        "from transformers import pipeline; "
        "pipe = pipeline('audio-classification', 'me/tiny', trust_remote_code=True); pipe.model.set_tome_r(6); "
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("way", PIPELINES)
def test_pipelines_give_the_taggers_labels(way: str, hub: LocalHub, run: Run, checkpoint: Path) -> None:
    push(checkpoint, "me/tiny")
    done = run(["-c", PIPELINES[way] + AUDIO + "import json; print(json.dumps(pipe(audio)))"])
    assert done.returncode == 0, done.stderr
    names: dict[str, Any] = {}
    exec(AUDIO, names)
    expected = Tagger(checkpoint, tome_r=6)((names["audio"], 16000))
    labels = json.loads(done.stdout.strip().splitlines()[-1])
    assert [label["label"] for label in labels] == [label["label"] for label in expected]
    scores = [[label["score"] for label in each] for each in (labels, expected)]
    assert np.allclose(*scores, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "keywords"), [("import fastast_hf; ", ""), (WITHOUT, ", trust_remote_code=True")])
def test_base_model_and_front_end_load_with_and_without_the_package(
    before: str, keywords: str, hub: LocalHub, run: Run, checkpoint: Path
) -> None:
    push(checkpoint, "me/tiny")
    load = (
        "from transformers import AutoFeatureExtractor as E, AutoModel as M; "
        f"m, e = (C.from_pretrained('me/tiny'{keywords}) for C in (M, E)); "
        "print(type(m).__name__, type(e).__name__, e.max_length)"
    )
    done = run(["-c", before + load])
    assert done.stdout.strip().endswith("FastASTModel FastASTFeatureExtractor 128"), done.stderr


@pytest.mark.slow
def test_without_either_the_error_says_what_to_do(hub: LocalHub, run: Run, checkpoint: Path) -> None:
    push(checkpoint, "me/tiny")
    done = run(["-c", WITHOUT + "from transformers import AutoModel; AutoModel.from_pretrained('me/tiny')"])
    assert done.returncode != 0 and re.search(r"pass(ing)? the argument `trust_remote_code=True`", done.stderr)
    assert "https://hf.co/me/tiny" in done.stderr  # whose card names the package


@pytest.mark.slow
def test_the_command_pushes_and_prints_the_address_and_no_token(hub: LocalHub, run: Run, checkpoint: Path) -> None:
    done = run(["-m", "fastast_hf.cli.main", "push", str(checkpoint), "me/tiny"])
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hub.url}/me/tiny\n" and "hf_local" not in done.stdout + done.stderr
    assert "model.safetensors" in hub.files("me/tiny")
