"""Results lie beside the weights that they are of: a card of others is refused, and so is their push."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from local_hub import LocalHub
from pushing import change
from small_corpora import write_esc50
from small_results import ROWS, TABLE, TRAINING

from fastast_hf import FastASTForAudioClassification as Model
from fastast_hf.cli.main import main
from fastast_hf.hub.card import render_card
from fastast_hf.hub.contents import teacher_files
from fastast_hf.loading.bundled import SPEECH_COMMANDS
from fastast_hf.loading.checkpoint import load_classifier
from fastast_hf.loading.saved_weights import digest_of_folder, weights_digest

OF_OTHERS = "0123456789abcdef"


def table(*weights: str) -> dict[str, Any]:
    return TABLE | {"rows": [row | {"weights": list(weights)} for row in ROWS]}


def write(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


FILES = [
    ("results.json", TRAINING, "train again"),
    ("results/esc50-test.json", TABLE, "evaluate again"),
]


@pytest.mark.parametrize(("name", "content", "again"), FILES)
def test_results_of_weights_before_these_make_no_card_and_are_not_pushed(
    name: str, content: dict[str, Any], again: str, hub: LocalHub, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = digest_of_folder(checkpoint)
    of_these = table(own) if "/" in name else TRAINING | {"weights": own}
    write(checkpoint, name, of_these)
    assert main(["card", str(checkpoint)]) == main(["push", str(checkpoint), "me/tiny"]) == 0
    capsys.readouterr()
    before = dict(hub.files("me/tiny"))
    change(checkpoint)
    for command in (["card", str(checkpoint)], ["push", str(checkpoint), "me/tiny"]):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert f"{checkpoint / name} is of other weights than those in {checkpoint}: {again}, or remove it\n" in said
        assert said.count("\n") == 1
    assert hub.files("me/tiny") == before
    write(checkpoint, name, content)  # by hand
    assert main(["card", str(checkpoint)]) == 0


def test_evaluating_again_makes_a_card_again(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", "esc50", "--data", str(write_esc50(tmp_path / "esc50")), "--model", str(checkpoint)]
    argv += ["--r", "0", "4", "--rounds", "0", "--device", "cpu", "--output", str(checkpoint / "results")]
    for seed in (1, 2):
        change(checkpoint, seed)
        assert main(argv) == main(["card", str(checkpoint)]) == 0
    change(checkpoint, 3)
    assert main(["card", str(checkpoint)]) == 2
    assert "esc50-test.json is of other weights" in capsys.readouterr().err


def test_a_table_of_several_checkpoints_is_of_each_of_them_and_the_hub_is_told_its_own_score(checkpoint: Path) -> None:
    rows = [{**row, "weights": [OF_OTHERS], "method": "plain"} for row in ROWS]
    rows += [{**row, "weights": [OF_OTHERS[::-1], digest_of_folder(checkpoint)], "score": 0.8201} for row in ROWS]
    write(checkpoint, "results/esc50-test.json", TABLE | {"rows": rows})
    results = ModelCard(render_card(checkpoint)).data.eval_results
    assert results and [result.metric_value for result in results] == [0.8201]
    change(checkpoint)
    with pytest.raises(ValueError, match="of other weights"):
        render_card(checkpoint)


def test_weights_that_are_saved_otherwise_or_loaded_from_the_hub_are_the_same(hub: LocalHub, checkpoint: Path) -> None:
    own = digest_of_folder(checkpoint)
    write(checkpoint, "results/esc50-test.json", table(own))
    Model.from_pretrained(checkpoint).push_to_hub("me/tiny", max_shard_size="50KB")
    assert "model.safetensors.index.json" in hub.files("me/tiny") and "results/esc50-test.json" in hub.files("me/tiny")
    loaded = load_classifier("me/tiny")
    assert weights_digest(loaded.state_dict().values()) == own  # under the names that they have in the model
    loaded.save_pretrained(checkpoint)
    assert digest_of_folder(checkpoint) == own and render_card(checkpoint)


def test_a_models_own_push_names_the_file_in_its_folder(hub: LocalHub, checkpoint: Path) -> None:
    write(checkpoint, "results/esc50-test.json", table(OF_OTHERS))
    with pytest.raises(ValueError, match=f"^{checkpoint}/results/esc50-test.json is of other weights"):
        Model.from_pretrained(checkpoint).push_to_hub("me/tiny")
    assert not hub.repositories


def test_a_teachers_results_are_of_its_weights(checkpoint: Path) -> None:
    write(checkpoint, "results.json", TRAINING | {"weights": digest_of_folder(checkpoint)})
    assert "results.json" in teacher_files(checkpoint, "me/teacher")
    change(checkpoint)
    with pytest.raises(ValueError, match=r"results\.json is of other weights"):
        teacher_files(checkpoint, "me/teacher")


def test_the_bundled_checkpoints_tables_are_of_its_weights() -> None:
    own = digest_of_folder(SPEECH_COMMANDS)
    for file in (SPEECH_COMMANDS / "results").glob("*.json"):
        assert all(row["weights"] == [own] for row in json.loads(file.read_text())["rows"])
