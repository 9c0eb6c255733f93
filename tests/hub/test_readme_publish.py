"""The page on publishing, command by command, against the local Hub."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from local_hub import LocalHub
from transformers import AutoModelForAudioClassification, pipeline

from fastast_hf import FastASTForAudioClassification
from fastast_hf.cli.main import main
from fastast_hf.loading.bundled import SPEECH_COMMANDS

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
# What stands for the bundled checkpoint's two classes of no command.
OTHERS = dict.fromkeys(["pink_noise", "white_noise"], "_silence_") | dict.fromkeys(
    ["tone_440hz", "clicks_10_a_second", "chirp_100hz_to_7khz"], "_unknown_"
)


def commands() -> list[list[str]]:
    """Of the page's first block, without the login, for which the environment has a token."""
    block = re.search(r"```bash\n(.*?)```", (ROOT / "docs" / "publishing.md").read_text(), re.DOTALL)
    assert block is not None
    lines = [shlex.split(line, comments=True) for line in block[1].replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and line != ["hf", "auth", "login"]]


@pytest.mark.slow
def test_the_commands_publish_what_others_can_load(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SPEECH_COMMANDS, "mine", ignore=shutil.ignore_patterns("results"))
    for clip in [*(DATA / "speech").glob("*.wav"), *(DATA / "computed").glob("*.wav")]:
        folder = Path("sounds", OTHERS.get(clip.stem) or clip.stem.partition("_")[0])
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder)
    given = commands()
    assert [line[:2] for line in given] == [["fastast", name] for name in ("evaluate", "card", "push")]
    for line in given:
        assert main(line[1:]) == 0, capsys.readouterr().err
    name = given[-1][3]
    card = ModelCard(hub.files(name)["README.md"].decode())
    assert card.data.license == "cc-by-4.0"
    assert any(name.startswith("results/") for name in hub.files(name))
    assert hub.repository(name, "space").sdk == "gradio"
    features = torch.linspace(-1, 1, 128 * 128).reshape(1, 128, 128)
    with torch.no_grad():
        expected = FastASTForAudioClassification.from_pretrained("mine").eval()(features).logits
        assert torch.equal(AutoModelForAudioClassification.from_pretrained(name).eval()(features).logits, expected)
    stock = pipeline("audio-classification", f"{name}-ast")
    assert type(stock.model).__name__ == "ASTForAudioClassification"
