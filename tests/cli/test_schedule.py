"""`fastast schedule`: the table, the JSON object, and what it refuses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from transformers import ASTConfig

from fastast_hf import FastASTConfig
from fastast_hf.cli import schedule
from fastast_hf.merging.complexity import complexity, solve_tome_r
from fastast_hf.model.token_merging import SCHEDULES

BASE = ASTConfig(num_labels=527)
REFUSED_BY_PARSER = [
    ["--r", "20", "--speedup", "2"],
    ["--seconds", "5", "--frames", "498"],
    ["--r", "few"],
    ["--schedule", "falling"],
]
REFUSED = [
    (["--r", "-5"], "tome_r is -5"),
    (["--r", "1", "2"], "2 numbers for 12 layers"),
    (["--seconds", "0.1"], "0.175 seconds"),
    (["--frames", "0"], "0 frames"),
    (["--speedup", "0.5"], "1 or more"),
    (["--speedup", "nan"], "1 or more"),
    (["--speedup", "50"], "half of its patch tokens"),
]


def call(*options: str) -> int:
    parser = argparse.ArgumentParser()
    schedule.add_parser(parser.add_subparsers())
    args = parser.parse_args(["schedule", *options])
    return args.run(args)


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]):  # noqa: ANN201 - a function
    """Runs the command and gives what it prints."""

    def run(*options: str) -> str:
        assert call(*options) == 0
        return capsys.readouterr().out

    return run


def cells(text: str, row: str) -> list[str]:
    """The words of the table's row that starts with `row`."""
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [row]]
    return line.split()


def test_table_has_each_layer_and_the_total(output) -> None:  # noqa: ANN001
    text = output("--r", "20", "--seconds", "5")
    assert cells(text, "0") == ["0", "590", "20", "4.616", "98", "%", "0.006"]
    assert cells(text, "11") == ["11", "370", "20", "2.735", "58", "%", "0.002"]
    assert cells(text, "total") == ["total", "240", "44.087", "78", "%", "0.045"]
    assert "44.09 GMACs, where stock AST takes 56.64: at most 1.28 times as fast" in text
    assert "350 of 590 tokens" in text
    assert "5 s of audio at 16 kHz (498 frames, no padding)" in text
    assert "50 %" not in text


def test_rows_add_up_to_the_total(output) -> None:  # noqa: ANN001
    text = output("--r", "40", "--schedule", "decreasing")
    shown = [float(cells(text, row)[1]) for row in ("patches", "head")]
    shown += [float(cells(text, str(layer))[3]) for layer in range(12)]
    assert sum(shown) == pytest.approx(float(cells(text, "total")[2]), abs=0.01)


def test_stock_ast_is_shown_when_nothing_is_asked_for(output) -> None:  # noqa: ANN001
    text = output()
    assert "1024 frames, r = 0" in text
    assert cells(text, "11")[:3] == ["11", "1214", "0"]
    assert "Matching" not in text


def test_the_cap_is_told_of(output) -> None:  # noqa: ANN001
    text = output("--r", "20", "--frames", "128")
    # 146 tokens, 20 fewer each layer: the seventh has 26, and half of its 24 patch tokens is 12.
    assert "The 50 % cap bites in 6 of 12 layers, from layer 6 on" in text
    assert cells(text, "6")[1:3] == ["26", "12"]
    assert "3 of 146 tokens are left at the end" in text


def test_speedup_finds_r(output) -> None:  # noqa: ANN001
    r = solve_tome_r(BASE, 2.0, num_frames=1024)
    text = output("--speedup", "2")
    assert f"r = {r} is the smallest that reaches the 2 asked for." in text
    assert cells(text, "0")[2] == str(r)


def test_json_has_all_that_was_computed(output) -> None:  # noqa: ANN001
    report = json.loads(output("--r", "40", "--frames", "128", "--schedule", "increasing", "--json"))
    cost = complexity(BASE, 40, "increasing", 128)
    for field in ("patch_macs", "head_macs", "tokens_out", "stock_macs", "macs", "speedup"):
        assert report[field] == getattr(cost, field)
    for layer, expected in zip(report["layers"], cost.layers, strict=True):
        for field in ("index", "tokens_in", "tokens_merged", "attention_macs", "mlp_macs", "matching_macs", "macs"):
            assert layer[field] == getattr(expected, field)
    assert report["matching_macs"] == sum(layer.matching_macs for layer in cost.layers)
    assert (report["tome_r"], report["tome_schedule"], report["num_frames"]) == (40, "increasing", 128)
    assert (report["model"], report["seconds"], report["speedup_asked"]) == (None, None, None)
    bitten = [layer["index"] for layer in report["layers"] if layer["tokens_merged"] < layer["tokens_asked"]]
    assert report["capped_layers"] == bitten != []


def test_json_says_which_r_was_found_and_for_how_long_a_clip(output) -> None:  # noqa: ANN001
    report = json.loads(output("--speedup", "1.5", "--seconds", "10", "--json"))
    assert report["tome_r"] == solve_tome_r(BASE, 1.5, seconds=10)
    assert (report["speedup_asked"], report["seconds"], report["num_frames"]) == (1.5, 10, 998)
    assert report["speedup"] >= 1.5


@pytest.mark.parametrize("kind", [ASTConfig, FastASTConfig])
def test_a_model_is_read_from_its_config_alone(kind: type[ASTConfig], tmp_path: Path, output) -> None:  # noqa: ANN001
    settings = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "num_hidden_layers": 2}
    config = kind(max_length=128, **settings)
    config.save_pretrained(tmp_path)
    report = json.loads(output("--model", str(tmp_path), "--r", "8", "10", "--json"))
    assert report["tome_r"] == [8, 10]
    assert report["macs"] == complexity(config, [8, 10]).macs
    text = output("--model", str(tmp_path), "--r", "8", "10")
    assert "r = [8, 10] (per layer)" in text
    # Small layers come out in four digits.
    assert cells(text, "0")[3] == f"{report['layers'][0]['macs'] / 1e9:.5f}"


def test_a_model_merges_as_its_config_says(tmp_path: Path, output) -> None:  # noqa: ANN001
    FastASTConfig(max_length=128, tome_r=6, tome_schedule="decreasing").save_pretrained(tmp_path)
    assert "128 frames, r = 6 (decreasing schedule)" in output("--model", str(tmp_path))


@pytest.mark.parametrize("options", REFUSED_BY_PARSER)
def test_options_that_exclude_each_other_or_make_no_sense_exit_with_2(options: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        call(*options)
    assert stop.value.code == 2


@pytest.mark.parametrize(("options", "told"), REFUSED)
def test_wrong_numbers_are_refused_in_one_line(options: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        call(*options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_can_be_chosen(name: str, output) -> None:  # noqa: ANN001
    assert f"({name} schedule)" in output("--schedule", name, "--r", "3")
