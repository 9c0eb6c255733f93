"""Cards: each number from a file, what a person wrote kept, and metadata that the Hub's own parser takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard

from fastast_hf.cli.main import main
from fastast_hf.hub.card_facts import NUMBER, CardFacts, unfounded_numbers
from fastast_hf.hub.model_card import render_card, write_card

ROW = {"method": "Inf", "schedule": "constant", "metric": "accuracy", "clips": 400, "unreadable": 0, "tokens_in": 50}
ROWS = [
    ROW | {"tome_r": 0, "tokens_out": 50, "gmacs": 0.41498, "mac_ratio": 1.0, "low": 0.77, "high": 0.85}
    | {"score": 0.8125, "samples_per_sec": 97.6},
    ROW | {"tome_r": 4, "tokens_out": 38, "gmacs": 0.31234, "mac_ratio": 1.3286, "low": 0.75, "high": 0.83}
    | {"score": 0.79, "samples_per_sec": 123.4},
]  # fmt: skip
TABLE = {
    "corpus": "esc50",
    "classes": 2,
    "split": "test",
    "dtype": "float32",
    "device": "cpu",
    "threads": 2,
    "level": 0.95,
}
TABLE |= {"batch_size": 16, "attention": "sdpa", "processor": "a processor", "rows": ROWS}
SETTINGS = {"corpus": "esc50", "data": "/home/me/ESC-50", "model": "MIT/ast-base", "train_r": [0, 4, 8], "mixup": 0.5}
SETTINGS |= {"teacher": "me/teacher", "lam": 0.1, "tau": 2.0, "cache_teacher": False, "frequency_mask": 24}
RUN = {"learning_rate": 2e-4, "num_train_epochs": 10.0, "max_steps": -1, "per_device_train_batch_size": 16, "seed": 1}
RUN |= {"gradient_accumulation_steps": 1, "weight_decay": 0.05, "bf16": True, "fp16": False, "world_size": 1}
TRAINING = {"settings": SETTINGS, "training": RUN, "fold": 3, "metric": "accuracy", "missing": {"train": 2}}
TRAINING |= {"clips": {"train": 318, "test": 80, "extra": 0}, "test": {"last": {"accuracy": 0.8}}}


@pytest.fixture
def measured(checkpoint: Path) -> Path:
    (checkpoint / "results").mkdir()
    (checkpoint / "results" / "esc50-test.json").write_text(json.dumps(TABLE))
    (checkpoint / "results.json").write_text(json.dumps(TRAINING))
    return checkpoint


def data_of(card: str) -> Any:
    return ModelCard(card).data


def test_a_card_tells_what_the_files_say(measured: Path) -> None:
    card = render_card(measured, "me/tiny", "cc-by-4.0")
    for said in (
        "| 4 | constant | 50 → 38 | 0.312 | 1.33× | 79.0 | 75.0 to 83.0 | 123 |",
        "a processor, cpu, float32, sdpa, 2 threads, 16 at once",
        "318 clips of ESC-50, all folds but 3. 2 clips were missing.",
        "10 epochs from `MIT/ast-base`, batches of 16, learning rate 0.0002",
        "r drawn at each step from 0, 4, 8",
        "`me/teacher`, which heard each clip on the same augmented audio as the student; λ = 0.1, τ = 2",
        'from_pretrained("me/tiny", tome_r=0)  # at another r',
        "accuracy 80.0 %",
    ):
        assert said in card
    assert "/home" not in card


def test_its_metadata_is_what_the_hub_reads(measured: Path) -> None:
    data = data_of(render_card(measured, "me/tiny", "cc-by-4.0"))
    assert (data.license, data.base_model, data.datasets) == ("cc-by-4.0", "MIT/ast-base", ["ashraq/esc50"])
    assert data.metrics == ["accuracy"] and data.library_name == "transformers"
    result = data.eval_results[0]
    assert isinstance(result, EvalResult)
    # the score at the checkpoint's own r, 4
    assert (result.metric_value, result.dataset_type, result.task_type) == (
        0.79,
        "ashraq/esc50",
        "audio-classification",
    )


def test_clips_beside_it_can_be_tried_on_its_page(measured: Path) -> None:
    (measured / "samples").mkdir()
    (measured / "samples" / "a_dog.wav").write_bytes(b"RIFF")
    widget = data_of(render_card(measured, "me/tiny")).widget
    assert widget == [
        {"example_title": "a dog", "src": "https://huggingface.co/me/tiny/resolve/main/samples/a_dog.wav"}
    ]


def test_every_number_is_one_of_a_file(measured: Path) -> None:
    card = render_card(measured, "me/tiny")
    facts = CardFacts.read(measured)
    text = card.partition("\n---\n")[2]
    assert len(NUMBER.findall(text)) > 40
    assert unfounded_numbers(text, facts.numbers()) == []
    without_table = {number for number in facts.numbers() if round(number, 4) not in (0.7900, 0.8125)}
    assert unfounded_numbers(text, without_table) == ["81.2", "79.0"]


def test_a_number_of_no_file_makes_no_card(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastast_hf.hub.model_card.CITATIONS", "accuracy 99.7 %")
    with pytest.raises(ValueError, match=r"'citations' has numbers of no results file: 99\.7"):
        render_card(measured)


def test_what_was_not_measured_is_said_to_be_so(checkpoint: Path) -> None:
    card = render_card(checkpoint)
    assert "## Results\n\n<!-- generated: results -->\nNot yet measured." in card
    assert data_of(card).eval_results is None


def test_a_persons_sections_and_fields_stay_and_the_generated_ones_are_renewed(measured: Path) -> None:
    path = write_card(measured, "me/tiny", "cc-by-4.0")
    text = path.read_text().replace("# tiny\n", "# My own title\n\nAbout 42 dogs.\n")
    text = text.replace("## Training\n", "## Who made it\n\nMe.\n\n## Training\n")
    text = text.replace("library_name:", "language: en\nlibrary_name:")
    path.write_text(text)
    (measured / "results" / "esc50-test.json").write_text(json.dumps(TABLE | {"rows": [ROWS[1] | {"score": 0.801}]}))
    renewed = write_card(measured, "me/tiny").read_text()
    for kept in ("# My own title\n\nAbout 42 dogs.", "## Who made it\n\nMe.", "language: en", "license: cc-by-4.0"):
        assert kept in renewed
    assert "| 80.1 |" in renewed and "| 79.0 |" not in renewed and renewed.count("## Results") == 1
    assert write_card(measured, "me/tiny").read_text() == renewed


def test_a_card_is_renewed_with_its_name_and_without_results_too(checkpoint: Path) -> None:
    write_card(checkpoint)
    assert write_card(checkpoint).read_text().count("\n# ") == 1
    renamed = write_card(checkpoint, "me/other").read_text()
    assert "\n# other\n" in renamed and f"# {checkpoint.name}\n" not in renamed
    (checkpoint / "README.md").write_text(renamed.replace("# other", "# My dogs\n\nThey bark."))
    assert "\n# My dogs\n\nThey bark." in write_card(checkpoint, "me/third").read_text()


def test_the_command_writes_it_and_says_where(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(measured), "--repo-id", "me/tiny"]) == 0
    assert capsys.readouterr().out == f"{measured / 'README.md'}\n"
    (measured / "results.json").write_text("{")
    assert main(["card", str(measured)]) == 2
    assert "results.json is not JSON" in capsys.readouterr().err


NUMBERS = [
    ("81.2 %", [0.8125], []),
    ("81.3 %", [0.8125], []),
    ("81.4 %", [0.8125], ["81.4"]),
    ("5.4 million", [5_400_321], []),
    ("1.28 s", [128], []),
    ("3,564 clips", [3564], []),
    ("`r = 99`, [there](https://x.org/2024) and\n```\n77\n```", [], []),
    ("between -0.4 and +0.3", [-0.004, 0.003], []),
    ("layer12 v2", [], []),
]


@pytest.mark.parametrize(("text", "known", "unfounded"), NUMBERS)
def test_numbers_are_known_as_they_are_shown(text: str, known: list[float], unfounded: list[str]) -> None:
    assert unfounded_numbers(text, known) == unfounded
