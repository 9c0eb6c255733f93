"""The score tables as they are read: what stands in them, how wide they are, and the words below."""

from __future__ import annotations

from typing import Any

import pytest
from sweep_rows import TABLE_1, TABLE_2, compared, merging, without_speed

from fastast_hf.cli.tables import format_table
from fastast_hf.evaluation.rows import SweepRow
from fastast_hf.evaluation.tables import (
    explanation,
    in_words,
    lines,
    markdown_table,
    schedules_named,
    terminal_tables,
    what_was_scored,
)

SCHEDULES_2 = [*TABLE_2, *compared("FastAST", 40, "decreasing"), *compared("FastAST + KD (PaSST)", 40, "decreasing")]


NARROW = {
    "Table 1": TABLE_1,
    "Table 2": TABLE_2,
    "Table 2, two schedules": SCHEDULES_2,
    "Table 1, no time": without_speed(TABLE_1),
    "Table 2, no time": without_speed(TABLE_2),
}


@pytest.mark.parametrize("rows", NARROW.values(), ids=NARROW)
def test_a_terminal_of_120_columns_holds_the_tables(rows: list[SweepRow]) -> None:
    for shown in terminal_tables(rows):
        text = format_table(list(shown[0]), [list(line.values()) for line in shown])
        assert max(map(len, text.splitlines())) <= 120


def test_table_2_is_shown_a_table_for_each_metric_and_a_line_for_each_method_and_r() -> None:
    tables = terminal_tables(TABLE_2)
    assert [list(shown[0]) for shown in tables] == [
        ["method", "r", "tokens", f"{metric} (95 %)", "change (95 %)", "gain (95 %)", "clips/s"]
        for metric in ("accuracy", "mAP")
    ]
    first, last = tables[0][0], tables[0][-1]
    assert list(first.values()) == ["FastAST", "0", "1214→1214", "82.0 (78.0 to 85.5)", "", "", "210"]
    assert list(last.values())[3:6] == ["78.0 (78.0 to 85.5)", "-4.0 (-12.3 to +0.1)", "+2.2 (-7.9 to +4.2)"]


def test_markdown_keeps_what_the_terminal_leaves_out() -> None:
    for rows in (TABLE_1, TABLE_2):
        kept, printed = lines(rows)[0], terminal_tables(rows)[0][0]
        assert {"GMACs", "MAC ratio", "schedule", "front end/s", "model/s"} <= set(kept)
        assert "GMACs" not in printed
    assert [head for head in lines(TABLE_2)[0] if "(95 %)" in head] == [
        f"{metric} {what}(95 %)" for metric in ("accuracy", "mAP") for what in ("", "change ", "gain ")
    ]
    assert markdown_table(lines(TABLE_2)).splitlines()[3].startswith("| FastAST | constant | 40 | 1214 → 734 |")


def test_gains_and_schedules_have_a_column_where_there_are_some() -> None:
    alone = [part for r in (0, 40) for part in compared("FastAST", r)]
    for shown in (*terminal_tables(alone), lines(alone)):
        assert not [head for head in shown[0] if "gain" in head]
    assert "gains" not in explanation(alone) and "gains over FastAST at the same r" in explanation(TABLE_2)
    assert "schedule" not in terminal_tables(TABLE_2)[0][0] and schedules_named(TABLE_2) == "schedule constant"
    assert [line["schedule"] for line in terminal_tables(TABLE_1)[0]][-2:] == ["decreasing", "decreasing"]
    assert schedules_named(TABLE_1) == "schedules constant and decreasing" and schedules_named(TABLE_2[:2]) == ""


def test_the_mac_ratio_stands_for_time_that_was_not_taken() -> None:
    shown = terminal_tables(without_speed(TABLE_2))[0]
    assert [line["MAC ratio"] for line in shown] == ["1.00×", "2.00×"] * 2 and "clips/s" not in shown[0]
    mixed = [*without_speed(TABLE_2[:4]), *TABLE_2[4:]]  # a model of another size, which was not timed
    assert [line["clips/s"] for line in terminal_tables(mixed)[0]] == ["", "", "210", "250"]
    assert [line["clips/s"] for line in lines(mixed)] == ["", "", "210", "250"]


def test_changes_are_told_from_inf_at_r_0_which_has_none() -> None:
    rows = [merging("random r", 0), merging("Inf", 0), merging("Inf", 40)]
    assert [bool(line["change (95 %)"]) for line in lines(rows)] == [True, False, True]
    assert "changes are from Inf at r = 0" in explanation(rows)
    unknown = merging("Inf", 40, change_low=float("nan"), change_high=float("nan"))
    assert lines([rows[1], unknown])[1]["change (95 %)"] == "-4.0"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"corpus": "esc50"}, "400 clips of esc50."),
        (
            {"corpus": "esc50", "classes": 10, "split": "test", "folds": [1, 2], "checkpoints": {"a": "x", "b": "y"}},
            "400 clips of esc50 (10 classes), split test, folds 1 and 2. a is `x`; b is `y`.",
        ),
        ({"corpus": "esc50", "folds": [3]}, "400 clips of esc50, fold 3."),
        ({"corpus": "audioset", "folds": [], "checkpoints": {}}, "400 clips of audioset."),
        ({"corpus": "audioset", "title": "mixtures of ESC-10"}, "400 clips of mixtures of ESC-10."),
    ],
)
def test_what_was_scored_is_told_in_words(facts: dict[str, Any], said: str) -> None:
    assert what_was_scored(TABLE_1, facts) == said


@pytest.mark.parametrize(
    ("names", "said"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_a_list_is_read_as_words(names: list[str], said: str) -> None:
    assert in_words(names) == said
