"""Cards of checkpoints to come, and all that are in model_cards/."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard

from fastast_hf.cli.main import main
from fastast_hf.hub import recipe_card
from fastast_hf.hub.model_card import render_card
from fastast_hf.hub.recipe_card import recipe_sections, write_recipe_card
from fastast_hf.tagging.tagger import BUNDLED_CHECKPOINT
from fastast_hf.training.recipes import find_recipe, read_recipe

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
    assert f"--recipe {RECIPES[name]} " in training and ("--fold 1 " in training) == (settings.get("fold") == "all")
    assert f"normalised by mean {settings['mean']} and standard deviation {settings['std']}" in training
    assert results.startswith("Not yet measured.") and "The FastAST paper's own figures" in results
    assert all(
        line.startswith(("| paper, ", "| r |", "|---")) for line in results.splitlines() if line.startswith("|")
    )
    made = recipe_sections(RECIPES[name], settings, f"USER/{name}", ModelCard(card).data.license)
    assert {part: section(card, part) for part in made} == made  # as the command writes it


FILLED = {
    "fastast-esc50": ("cc-by-nc-3.0", "MIT/ast-finetuned-audioset-10-10-0.4593", "ESC-50 is [cc-by-nc-3.0](https:"),
    "fastast-speech-commands-v2": ("cc-by-4.0", None, "Speech Commands V2 is [cc-by-4.0](https:"),
    "fastast-audioset": (None, None, "AudioSet's labels are [cc-by-4.0](https:"),
    "fastast-audioset-kd": (None, None, "its clips are their owners'."),
}


@pytest.mark.parametrize("name", FILLED)
def test_a_card_to_come_is_filled_as_far_as_it_can_be(name: str) -> None:
    card = (CARDS[0].parents[1] / name / "README.md").read_text()
    data, (license_id, base, licence) = ModelCard(card).data, FILLED[name]
    assert (data.license, data.base_model, data.eval_results) == (license_id, base, None)
    assert licence in section(card, "model") and "**Intended use and limits.**" in section(card, "model")
    assert f'Tagger("USER/{name}")' in section(card, "use")
    assert "results" not in section(card, "model")  # there are none
    headings = re.findall(r"^## (.+)$", card, re.MULTILINE)
    assert headings == ["Use", "Results", "Training", "Citations"]


def test_a_number_that_is_changed_in_a_card_to_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"_paper_table": ("95.6", "95.9"), "_front_end": ("-6.6268077", "-6.6268078"), "_shown": ("512", "511")}
    for function, (number, other) in changes.items():
        with monkeypatch.context() as patch:
            made = getattr(recipe_card, function)
            patch.setattr(recipe_card, function, lambda *given, m=made, n=number, o=other: _replaced(m(*given), n, o))
            with pytest.raises(ValueError, match=other):
                recipe_sections("esc50", read_recipe(find_recipe("esc50")), "me/esc")


def _replaced(made: Any, number: str, other: str) -> Any:
    return made.replace(number, other) if isinstance(made, str) else (made[0].replace(number, other), *made[1:])


def test_a_persons_fields_and_sections_stay_in_a_card_to_come(tmp_path: Path) -> None:
    own = "language: en\nlicense: mit\ntags:\n- dogs\ndatasets:\n- me/dogs\n"
    (tmp_path / "README.md").write_text(f"---\n{own}---\n# Mine\n\nAbout dogs.\n")
    for _ in range(2):
        text = write_recipe_card(tmp_path, "esc50", "me/esc").read_text()
        data = ModelCard(text).data
        assert (data.language, data.license, data.datasets) == ("en", "mit", ["ashraq/esc50", "me/dogs"])
        assert {"dogs", "fastast"} < set(data.tags) and "# Mine\n\nAbout dogs.\n" in text
    assert "**Licence.** `mit`. ESC-50 is" in text


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


def test_the_bundled_checkpoints_card_means_something_to_a_stranger() -> None:
    text = (BUNDLED_CHECKPOINT / "README.md").read_text()
    training = section(text, "training")
    settings = json.loads((BUNDLED_CHECKPOINT / "results.json").read_text())["settings"]
    assert not {"subset", "label_file", "fold"} & set(settings) and settings["classes"] == 12
    assert "3564 clips of Speech Commands V2, and 1500 more of synthesised words" in training
    assert "3564 clips and 2450 of synthesised words;" in training
    assert "30 epochs from the weights of the stage before" in training
    assert "a teacher, a CNN trained on the same recordings" in training
    assert "**Licence.** `cc-by-4.0`. Speech Commands V2 is [cc-by-4.0](https:" in text


def test_its_load_lines_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("clip.wav", np.sin(np.arange(16000, dtype=np.float32)), 16000)
    text = section((BUNDLED_CHECKPOINT / "README.md").read_text(), "use")
    lines = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert lines
    names: dict[str, Any] = {}
    exec(lines[1], names)
    assert names["model"].config.tome_r == 0 and names["extractor"].max_length == names["model"].config.max_length
