"""The Space's files: what it needs to run, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from fastast_hf.hub.card import REQUIREMENTS
from fastast_hf.hub.space import space_files

ROOT = Path(__file__).parents[2]


def pins(section: str, key: str) -> set[str]:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = (line.strip() for line in setup[section].get(key, raw=True).splitlines())
    return {line for line in lines if line and not line.startswith(("#", "%"))}


def test_what_is_installed_for_a_space_or_an_endpoint_is_what_the_package_asks_for() -> None:
    required = pins("options", "install_requires")
    assert set((ROOT / "space" / "requirements.txt").read_text().split()) == required | pins(
        "options.extras_require", "plot"
    )
    assert set(REQUIREMENTS.split()) <= required


def test_the_front_matter_pins_a_gradio_that_the_package_takes() -> None:
    page = ModelCard(space_files("me/tiny")["README.md"].decode()).data  # type: ignore[union-attr]
    (pin,) = pins("options.extras_require", "demo")
    assert int(page["sdk_version"].partition(".")[0]) == int(pin.removeprefix("gradio>="))


def test_the_package_goes_with_it_and_no_weights() -> None:
    files = space_files("me/tiny")
    assert {"README.md", "app.py", "requirements.txt", "model.txt"} == {name for name in files if "/" not in name}
    shipped = {name for name in files if "/" in name}
    assert {"fastast_hf/__init__.py", "fastast_hf/demo/app.py", "fastast_hf/plotting.mplstyle"} < shipped
    assert all(name.startswith("fastast_hf/") and name.endswith((".py", ".mplstyle")) for name in shipped)
    sizes = (len(part) if isinstance(part, bytes) else part.stat().st_size for part in files.values())
    assert sum(sizes) < 2_000_000


@pytest.mark.slow
def test_its_page_is_built_from_its_own_files_alone(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    space = tmp_path / "space"
    for name, content in space_files(str(checkpoint)).items():
        (space / name).parent.mkdir(parents=True, exist_ok=True)
        (space / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    code = (
        "import gradio; gradio.Blocks.launch = lambda page, **given: (None, page.title, None); "
        "gradio.Blocks.block_thread = lambda page: None; "
        "import runpy; runpy.run_path('app.py', run_name='__main__'); "
        "import fastast_hf; print(fastast_hf.__file__)"
    )
    environment = os.environ | {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=space)
    assert done.returncode == 0, done.stderr
    said, file = done.stdout.strip().splitlines()[-2:]
    assert said.startswith("The demo is at FastAST") and file == str(space / "fastast_hf" / "__init__.py")
