"""Cards of checkpoints to come, and all that are in model_cards/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard

from fastast_hf.cli.main import main
from fastast_hf.hub.card import render_card, value
from fastast_hf.loading.bundled import SPEECH_COMMANDS
from fastast_hf.training.recipes import find_recipe, read_recipe

CARDS = Path(__file__).parents[2] / "model_cards"
RECIPES = {
    "fastast-esc50": ("esc50", "cc-by-nc-3.0", "MIT/ast-finetuned-audioset-10-10-0.4593"),
    "fastast-speech-commands-v2": ("speech_commands", "cc-by-4.0", None),
    "fastast-audioset": ("audioset_balanced", None, None),
    "fastast-audioset-kd": ("kd_audioset_cnn", None, None),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_card_to_come_holds_its_recipe_and_no_result(name: str, tmp_path: Path) -> None:
    recipe, license_id, base = RECIPES[name]
    card = (CARDS / name / "README.md").read_text()
    assert main(["card", str(tmp_path), "--recipe", recipe, "--repo-id", f"USER/{name}"]) == 0
    assert (tmp_path / "README.md").read_text() == card  # as the command writes it
    settings = read_recipe(find_recipe(recipe))
    assert all(f"| `{key}` | {value(given)} |" in card for key, given in settings.items())
    assert f"--recipe {recipe} " in card and ("--fold N " in card) == (settings.get("fold") == "all")
    assert ("fastast distill " in card) == ("lam" in settings) == ("--teacher TEACHER " in card)
    assert "## Results\n\nNot yet measured.\n" in card and f'Tagger("USER/{name}")' in card
    data = ModelCard(card).data
    assert (data.license, data.base_model, data.eval_results) == (license_id, base, None)
    assert (data.pipeline_tag, data.library_name) == ("audio-classification", "transformers") and data.datasets


def test_a_persons_fields_and_sections_stay_in_a_card_to_come(tmp_path: Path) -> None:
    own = "language: en\nlicense: mit\ntags:\n- dogs\ndatasets:\n- me/dogs\n"
    (tmp_path / "README.md").write_text(f"---\n{own}---\n# Mine\n\nAbout dogs.\n")
    for _ in range(2):
        assert main(["card", str(tmp_path), "--recipe", "esc50", "--repo-id", "me/esc"]) == 0
        text = (tmp_path / "README.md").read_text()
        data = ModelCard(text).data
        assert (data.language, data.license, data.datasets) == ("en", "mit", ["ashraq/esc50", "me/dogs"])
        assert {"dogs", "fastast"} < set(data.tags or []) and "# Mine\n\nAbout dogs.\n" in text
    assert "| License | `mit` |" in text


def test_what_has_no_recipe_card_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["card", str(tmp_path / "new"), "--recipe", "esc50"]
    assert main(argv) == 2
    assert "give its name with --repo-id" in capsys.readouterr().err
    assert main([*argv, "--repo-id", "me/esc"]) == 0
    (tmp_path / "new" / "config.json").write_text("{}")
    assert main([*argv, "--repo-id", "me/esc"]) == 2
    assert "holds a checkpoint" in capsys.readouterr().err
    (tmp_path / "mine.yaml").write_text("corpus: dogs\n")
    assert main(["card", str(tmp_path), "--recipe", str(tmp_path / "mine.yaml"), "--repo-id", "me/x"]) == 2
    assert "for one of esc50, speech_commands, audioset" in capsys.readouterr().err


def test_the_bundled_checkpoints_card_is_made_of_its_files() -> None:
    text = (SPEECH_COMMANDS / "README.md").read_text()
    assert text == render_card(SPEECH_COMMANDS)
    assert (CARDS / SPEECH_COMMANDS.name / "README.md").read_text() == text


def test_the_bundled_checkpoints_card_means_something_to_a_stranger() -> None:
    text = (SPEECH_COMMANDS / "README.md").read_text()
    assert "3564 clips of Speech Commands V2, and 1500 clips of synthesised words" in text
    assert "3564 clips and 2450 clips of synthesised words" in text
    assert "**Start:** the weights of the stage before" in text
    assert "**Teacher:** a CNN trained on the same recordings (`tf_efficientnet_lite2`), accuracy 93.1 %" in text
    assert "| License | `cc-by-4.0` |\n| License of Speech Commands V2 | cc-by-4.0 |" in text


def test_its_load_lines_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("clip.wav", np.sin(np.arange(16000, dtype=np.float32)), 16000)
    lines = re.search(r"```python\n(.*?)```", (SPEECH_COMMANDS / "README.md").read_text(), re.DOTALL)
    assert lines
    names: dict[str, Any] = {}
    exec(lines[1], names)
    assert names["model"].config.tome_r == 0
