"""The score tables as they are read: what stands in them, how wide they are, and the words below."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sweep_rows import TABLE_1, TABLE_2, compared, row, without_speed

from fastast_hf.cli.tables import format_table
from fastast_hf.evaluation.rows import SweepRow
from fastast_hf.evaluation.tables import explanation, markdown_table, score_tables, what_was_scored

SCHEDULES_2 = [*TABLE_2, *compared("FastAST", 40, "decreasing"), *compared("FastAST + KD (PaSST)", 40, "decreasing")]
NARROW = {"Table 1": TABLE_1, "Table 2": TABLE_2, "Table 2, two schedules": SCHEDULES_2}


@pytest.mark.parametrize("rows", NARROW.values(), ids=NARROW)
def test_a_terminal_of_120_columns_holds_the_tables(rows: list[SweepRow]) -> None:
    for shown in score_tables(rows):
        text = format_table(list(shown[0]), [list(line.values()) for line in shown])
        assert max(map(len, text.splitlines())) <= 120


def test_table_2_is_a_table_for_each_metric_and_a_line_for_each_method_and_r() -> None:
    tables = score_tables(TABLE_2)
    assert [list(shown[0]) for shown in tables] == [
        ["method", "r", "MAC ratio", f"{metric}, %", "change", "gain", "clips/s"] for metric in ("accuracy", "mAP")
    ]
    first, last = tables[0][0], tables[0][-1]
    assert list(first.values()) == ["FastAST", "0", "1.00×", "82.0 [75.0, 85.5]", "", "", "210"]
    assert list(last.values())[3:6] == ["78.0 [75.0, 85.5]", "-4.0 [-12.3, +0.1]", "+2.2 [-7.9, +4.2]"]
    assert markdown_table(tables[0]).splitlines()[:2] == [
        "| method | r | MAC ratio | accuracy, % | change | gain | clips/s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]


def test_columns_that_tell_nothing_are_left_out() -> None:
    (alone,) = score_tables(without_speed([row("Inf", 0)]))
    assert alone == [{"r": "0", "MAC ratio": "1.00×", "accuracy, %": "82.0 [75.0, 85.5]"}]
    schedules = [line["schedule"] for line in score_tables(TABLE_1)[0]]
    assert schedules == ["", "constant", "", "constant", "decreasing", "decreasing"]
    mixed = [*without_speed(TABLE_2[:4]), *TABLE_2[4:]]  # a model of another size, which was not timed
    assert [line["clips/s"] for line in score_tables(mixed)[0]] == ["", "", "210", "250"]


def test_a_change_without_an_interval_stands_alone() -> None:
    unknown = replace(row("Inf", 40), change_low=None, change_high=None)
    same = replace(row("Inf", 40), change=0.0, change_low=0.0, change_high=0.0)
    shown = score_tables([row("Inf", 0), unknown, same])[0]
    assert [line["change"] for line in shown] == ["", "-4.0", "+0.0"]


EXPLAINED = [
    ([row("Inf", 0)], "95 % bootstrap intervals in brackets."),
    ([row("Inf", 0), row("Inf", 40)], "Changes are from r = 0, in points. Schedule: constant."),
    (TABLE_1, "Inf: one checkpoint, merging only at inference; Train+Inf: a checkpoint trained at each r."),
    (TABLE_1, "Changes are from Inf at r = 0, in points."),
    (
        TABLE_2,
        "Changes are from the same method at r = 0, in points. Gains are over FastAST at the same r, in points.",
    ),
]


@pytest.mark.parametrize(("rows", "said"), EXPLAINED)
def test_what_the_numbers_are_is_said(rows: list[SweepRow], said: str) -> None:
    assert said in explanation(rows)


FACTS: dict[str, Any] = {"title": "esc50", "classes": 10, "split": "test", "folds": [], "missing": 0}
SCORED = [
    ({"checkpoints": {"Inf": "x"}}, "400 clips of esc50 (10 classes), split test. Checkpoint: x."),
    (
        {"folds": [1, 2], "missing": 3, "checkpoints": {"a": "x", "b": "y"}},
        "400 clips of esc50 (10 classes), split test, folds 1, 2, without 3 missing. Checkpoints: a: x; b: y.",
    ),
]


@pytest.mark.parametrize(("facts", "said"), SCORED)
def test_what_was_scored_is_told_in_words(facts: dict[str, Any], said: str) -> None:
    assert what_was_scored(TABLE_1, FACTS | facts) == said
