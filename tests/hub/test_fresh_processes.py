"""Each way of loading, in a process of its own that knows nothing but where the Hub is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from local_hub import LocalHub, local_hub

from fastast_hf import FastASTForAudioClassification

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
INPUT = "import torch; x = torch.linspace(-1, 1, 128 * 48).reshape(1, 128, 48)"
SHOW = "print(model.config.tome_r, model(x).logits.flatten().tolist())"
NOTHING_INSTALLED = "import sys; assert 'fastast_hf' not in sys.modules; "


@pytest.fixture
def served(checkpoint: Path, tmp_path: Path) -> Iterator[tuple[LocalHub, Run]]:
    with local_hub() as hub:

        def run(code: list[str], installed: bool = True) -> subprocess.CompletedProcess[str]:
            environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_local", "HF_HUB_DISABLE_XET": "1"}
            environment |= {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
            environment["PYTHONPATH"] = str(ROOT) if installed else ""
            # -P: the folder of the process is no place to import from
            command = [sys.executable, *([] if installed else ["-P"]), *code]
            return subprocess.run(
                command, capture_output=True, text=True, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL
            )

        pushed = run(["-m", "fastast_hf.cli.main", "push", str(checkpoint), "me/tiny"])
        assert pushed.returncode == 0, pushed.stderr
        assert pushed.stdout == f"{hub.url}/me/tiny\n" and "hf_local" not in pushed.stdout + pushed.stderr
        yield hub, run


def is_installed() -> bool:
    """Whether the tests' own environment has the package installed, so that no process is without it."""
    code = "import fastast_hf"
    return subprocess.run([sys.executable, "-P", "-c", code], env=os.environ | {"PYTHONPATH": ""}).returncode == 0


WAYS = {
    "package and AutoModelForAudioClassification": (
        "import fastast_hf; from transformers import AutoModelForAudioClassification as M; "
        "model = M.from_pretrained('me/tiny', tome_r=6)"
    ),
    "direct class": (
        "from fastast_hf import FastASTForAudioClassification as M; model = M.from_pretrained('me/tiny', tome_r=6)"
    ),
    "package and pipeline": (
        "import fastast_hf; from transformers import pipeline; "
        "model = pipeline('audio-classification', 'me/tiny', model_kwargs={'tome_r': 6}).model"
    ),
    "trust_remote_code": NOTHING_INSTALLED + (
        "from transformers import AutoModelForAudioClassification as M; "
        "model = M.from_pretrained('me/tiny', tome_r=6, trust_remote_code=True)"
    ),
    "trust_remote_code and pipeline": NOTHING_INSTALLED + (
        "from transformers import pipeline; "
        "pipe = pipeline('audio-classification', 'me/tiny', trust_remote_code=True); "
        "import numpy as np; assert len(pipe(np.zeros(16000, dtype='float32'))) == 2; "
        "model = pipe.model; model.config.tome_r = 6; model.set_tome_r(6)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_logits_bit_for_bit(way: str, served: tuple[LocalHub, Run], checkpoint: Path) -> None:
    if "trust" in way and is_installed():
        pytest.skip("the package is installed here: nothing shows that its code is not used")
    _, run = served
    done = run(["-c", f"{WAYS[way]}; {INPUT}; model.eval(); {SHOW}"], installed="trust" not in way)
    assert done.returncode == 0, done.stderr
    model = FastASTForAudioClassification.from_pretrained(checkpoint, tome_r=6).eval()
    with torch.no_grad():
        logits = model(torch.linspace(-1, 1, 128 * 48).reshape(1, 128, 48)).logits.flatten().tolist()
    assert done.stdout.strip().splitlines()[-1] == f"6 {logits}"


def test_base_model_and_front_end_load_with_and_without_the_package(served: tuple[LocalHub, Run]) -> None:
    _, run = served
    load = (
        "from transformers import AutoFeatureExtractor as E, AutoModel as M; "
        "m, e = (C.from_pretrained('me/tiny'{}) for C in (M, E)); "
        "print(type(m).__name__, type(e).__name__, e.max_length)"
    )
    expected = "FastASTModel FastASTFeatureExtractor 128"
    done = run(["-c", "import fastast_hf; " + load.format("")])
    assert done.stdout.strip().endswith(expected), done.stderr
    if not is_installed():
        done = run(["-c", load.format(", trust_remote_code=True")], installed=False)
        assert done.stdout.strip().endswith(expected), done.stderr


def test_without_either_the_error_says_what_to_do(served: tuple[LocalHub, Run]) -> None:
    if is_installed():
        pytest.skip("the package is installed here")
    _, run = served
    done = run(["-c", "from transformers import AutoModel; AutoModel.from_pretrained('me/tiny')"], installed=False)
    assert done.returncode != 0 and re.search(r"pass(ing)? the argument `trust_remote_code=True`", done.stderr)
