"""Numbers of a card: refused unless the files say just this in just this place."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from small_results import ROWS, TABLE, TRAINING

from fastast_hf.hub.card_check import NUMBER, Claim, rows_check, unfounded_numbers
from fastast_hf.hub.card_claims import unfounded_results
from fastast_hf.hub.card_facts import CardFacts
from fastast_hf.hub.model_card import render_card, unfounded_in
from fastast_hf.tagging.tagger import BUNDLED_CHECKPOINT

MODEL_CARD = Path(__file__).parents[2] / "model_cards" / BUNDLED_CHECKPOINT.name / "README.md"
SECTION = re.compile(r"<!-- generated: (\w+) -->\n(.*?)\n<!-- end of \w+ -->", re.DOTALL)

# Code, links, and the version that transformers must have.
LEFT_OUT = re.compile(r"```.*?```|\]\([^)]*\)|https?://\S+|`[^`\s]*>=[^`]*`", re.DOTALL)


@pytest.fixture(params=["bundled", "timed", "compared"])
def folder(request: pytest.FixtureRequest, checkpoint: Path) -> Path:
    """Measured checkpoints: the package's, one with speeds, and one with several methods."""
    if request.param == "bundled":
        return BUNDLED_CHECKPOINT
    (checkpoint / "results").mkdir()
    rows = ROWS if request.param == "timed" else [*ROWS, *(row | {"method": "Train+Inf", "low": 0.7} for row in ROWS)]
    (checkpoint / "results" / "esc50-test.json").write_text(json.dumps(TABLE | {"rows": rows}))
    training = TRAINING | {"teacher": {"backbone": "tf_b2", "accuracy": 0.931}}
    (checkpoint / "results.json").write_text(json.dumps(training))
    return checkpoint


def parts_of(folder: Path) -> dict[str, str]:
    return dict(SECTION.findall(render_card(folder, license_id="cc-by-4.0")))


def row_as_told(heading: list[str], line: list[str]) -> dict[str, Any]:
    """A line of a card's table as a row of the results file."""
    cells = dict(zip(heading, line, strict=True))
    low, high = cells["interval, %"].split(" to ")
    entering, left = cells["tokens"].split(" → ")
    told = {"tome_r": int(cells["r"]), "tokens_in": int(entering), "tokens_out": int(left)}
    told |= {"score": float(cells["accuracy, %"]) / 100, "low": float(low) / 100, "high": float(high) / 100}
    told |= {"gmacs": float(cells["GMACs"]), "mac_ratio": float(cells["MAC ratio"].removesuffix("×"))}
    told |= {"method": cells["method"]} if "method" in cells else {}
    told |= {"schedule": cells["schedule"]} if cells["r"] != "0" else {}
    return told | ({"samples_per_sec": float(cells["clips a second"])} if "clips a second" in cells else {})


def test_each_cell_of_a_measured_cards_tables_is_its_rows(folder: Path) -> None:
    text = parts_of(folder)["results"]
    files = re.findall(r"from `results/([^`]+)`", text)
    tables = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    assert len(files) == len(tables) == len(list((folder / "results").glob("*.json"))) > 0
    for file, table in zip(files, tables, strict=True):
        rows = json.loads((folder / "results" / file).read_text())["rows"]
        heading, _, *lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        assert len(lines) == len(rows)
        for line, row in zip(lines, rows, strict=True):
            for key, told in row_as_told(heading, line).items():
                near = {"gmacs": 5e-4, "mac_ratio": 5.1e-3, "samples_per_sec": 0.51}.get(key, 5.1e-4)
                assert told == row[key] or told == pytest.approx(row[key], abs=near), (key, line)


def test_the_results_that_the_hub_reads_are_scores_of_rows(folder: Path) -> None:
    facts = CardFacts.read(folder)
    results = ModelCard(render_card(folder)).data.eval_results
    assert results and unfounded_results(results, facts) == []
    for result in results:
        r = int(result.metric_name.rpartition(" = ")[2])
        scores = [
            row["score"] for table in facts.tables.values() if table["split"] == result.dataset_split
            for row in table["rows"] if row["tome_r"] == r
        ]  # fmt: skip
        assert result.metric_value in [round(score, 4) for score in scores]
        for key, value in (
            ("metric_value", result.metric_value + 1e-4),
            ("metric_name", result.metric_name + "1"),
            ("dataset_name", result.dataset_name.replace("clips", "1 clips")),
            ("dataset_split", "train"),
        ):
            kept = getattr(result, key)
            setattr(result, key, value)
            assert unfounded_results([result], facts)
            setattr(result, key, kept)


def test_a_number_with_another_digit_is_refused_wherever_it_stands(folder: Path) -> None:
    draw, facts, tried = random.Random(0), CardFacts.read(folder), 0
    for name, text in parts_of(folder).items():
        assert unfounded_in(name, text, facts, "cc-by-4.0") == []
        claimed = LEFT_OUT.sub(lambda found: "_" * len(found[0]), text)
        for place in re.finditer(NUMBER, claimed):
            at = draw.choice([i for i in range(*place.span()) if text[i].isdigit()])
            digit = draw.choice([d for d in "0123456789" if d != text[at]])
            wrong = text[:at] + digit + text[at + 1 :]
            if float(wrong[slice(*place.span())].replace(",", "")) == float(place[0].replace(",", "")):
                continue  # 0e-05 for 00e-05
            tried += 1
            assert unfounded_in(name, wrong, facts, "cc-by-4.0"), wrong[max(0, at - 40) : at + 40]
    assert tried >= 50


@pytest.mark.parametrize("sentence", ["accuracy 93.1 %", "`tome_r = 13`", "12 epochs", "0.5 million", "128 of 146"])
def test_a_number_in_words_that_no_file_has_is_refused(sentence: str) -> None:
    facts = CardFacts.read(BUNDLED_CHECKPOINT)
    for section in ("model", "results", "training"):
        assert unfounded_in(section, sentence, facts)


TEXTS = [
    ("accuracy 81.2 %", [81.25], []),
    ("accuracy 81.3 %", [81.25], []),
    ("accuracy 81.4 %", [81.25], ["81.4"]),
    ("accuracy 0.8125 %", [81.25], ["0.8125"]),  # the share is not the percent
    ("accuracy -81.2 %", [81.25], ["-81.2"]),
    ("accuracy 3,564 %", [3564], []),
    ("accuracy 5e-05 %", [5e-5], []),
    ("accuracy 6e-05 %", [5e-5], ["6e-05"]),
    ("81.2 %", [81.25], ["81.2"]),
    ("`r = 99`, [there](https://x.org/2024) and\n```\n77\n```", [], ["99"]),
    ("`name 3`, layer12 v2 ESC-50", [], []),
    ("x97.5 as fast, 2x97 of it, ×97", [], ["97.5", "2", "97", "97"]),
    (".5 and -.5, ab.5", [], [".5", "-.5", "5"]),
    ("by97.5, by_97.5 or by-97.5", [], ["97.5", "97.5", "97.5"]),
    ("accuracy .8 %", [0.8], []),
]


@pytest.mark.parametrize(("text", "known", "unfounded"), TEXTS)
def test_every_number_is_seen_and_known_in_its_words_alone(
    text: str, known: list[float], unfounded: list[str]
) -> None:
    assert unfounded_numbers(text, [Claim("accuracy {n} %", [known])], names=["name 3"]) == unfounded


def test_a_cell_is_known_beside_its_row_and_below_its_heading_alone() -> None:
    check = rows_check([{"r": 0, "score": 81.25}, {"r": 4, "score": 79.0}])
    table = "| r | score |\n|---|---|\n| 0 | {} |\n| 4 | {} |\n"
    assert unfounded_numbers(table.format("81.2", "79.0"), [], [check]) == []
    assert unfounded_numbers(table.format("79.0", "81.2"), [], [check]) == ["79.0", "81.2"]
    assert unfounded_numbers(table.format("81.2", "79.0 | 5"), [], [check]) == ["5"]
    assert unfounded_numbers(table.format("81.2", "79.0") + "| 8 | 78.0 |\n", [], [check]) == ["8", "78.0"]
    assert unfounded_numbers(table.format("81.2", "79.0"), []) == ["0", "81.2", "4", "79.0"]
