"""Cards of checkpoints to come, and all that are in model_cards/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from fastast_hf.cli.main import main
from fastast_hf.hub.card_facts import CardFacts, unfounded_numbers
from fastast_hf.hub.model_card import render_card
from fastast_hf.hub.recipe_card import recipe_sections, write_recipe_card
from fastast_hf.recipes import find_recipe, read_recipe
from fastast_hf.tagging import BUNDLED_CHECKPOINT

CARDS = sorted((Path(__file__).parents[2] / "model_cards").glob("*/README.md"))
RECIPES = {
    "fastast-esc50": "esc50",
    "fastast-speech-commands-v2": "speech_commands",
    "fastast-audioset": "audioset_balanced",
    "fastast-audioset-kd": "kd_audioset_cnn",
}


def section(card: str, name: str) -> str:
    found = re.search(rf"<!-- generated: {name} -->\n(.*?)\n<!-- end of {name} -->", card, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("name", RECIPES)
def test_a_card_to_come_holds_its_recipe_and_the_papers_figures_as_the_papers(name: str) -> None:
    card = (CARDS[0].parents[1] / name / "README.md").read_text()
    settings = read_recipe(find_recipe(RECIPES[name]))
    training, results = section(card, "training"), section(card, "results")
    for key, value in settings.items():
        shown = (
            f"`{value}`"
            if isinstance(value, str)
            else ", ".join(map(str, value))
            if isinstance(value, list)
            else value
        )
        assert f"| `{key}` | {shown} |" in training
    assert f"--recipe {RECIPES[name]} " in training
    assert results.startswith("Not yet measured.") and "The FastAST paper's own figures" in results
    assert all(
        line.startswith(("| paper, ", "| r |", "|---")) for line in results.splitlines() if line.startswith("|")
    )
    assert recipe_sections(RECIPES[name], settings, f"USER/{name}")["results"] == results  # as the command writes it


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_the_hub_can_read_every_card(path: Path) -> None:
    data = ModelCard.load(path).data
    assert (data.pipeline_tag, data.library_name) == ("audio-classification", "transformers")
    assert data.datasets


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["card", str(tmp_path / "new"), "--recipe", "esc50"]
    assert main(argv) == 2
    assert "give it a name with --repo-id" in capsys.readouterr().err
    assert main([*argv, "--repo-id", "me/esc"]) == 0
    assert "# esc\n" in (tmp_path / "new" / "README.md").read_text()
    (tmp_path / "new" / "config.json").write_text("{}")
    assert main([*argv, "--repo-id", "me/esc"]) == 2
    assert "holds a checkpoint" in capsys.readouterr().err


def test_a_number_of_neither_recipe_nor_paper_makes_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastast_hf.hub.recipe_card.NOT_MEASURED", "98.6 %")
    with pytest.raises(ValueError, match=r"numbers of no file: 98\.6"):
        write_recipe_card(tmp_path, "esc50", "me/esc")


def test_the_bundled_checkpoints_card_is_made_of_its_files() -> None:
    text = (BUNDLED_CHECKPOINT / "README.md").read_text()
    assert text == render_card(BUNDLED_CHECKPOINT)
    assert (CARDS[0].parents[1] / BUNDLED_CHECKPOINT.name / "README.md").read_text() == text
    generated = text[text.index("<!-- generated") :]
    assert unfounded_numbers(generated, CardFacts.read(BUNDLED_CHECKPOINT).numbers()) == []
