"""Plain-text tables."""

from __future__ import annotations

import pytest

from fastast_hf.cli.tables import format_table

# A column's cells, and whether they go to the right.
COLUMNS = [
    (["1", "-20", "+3.5"], True),
    (["1,024", "1e-05", "7 %"], True),
    (["1.28x", "2×", "-"], True),
    (["", "12"], True),
    (["dog", "12"], False),
    (["3.wav", "4.wav"], False),
    (["2024-01-05"], False),
]
MISSHAPEN = [
    (["a", "b"], [["1"]], None),
    (["a"], [["1", "2"]], None),
    (["a", "b"], [["1", "2"]], "l"),
]


@pytest.mark.parametrize(("cells", "right"), COLUMNS)
def test_numbers_go_right_and_text_left(cells: list[str], right: bool) -> None:
    lines = format_table(["a wide header", "end"], [[cell, "|"] for cell in cells]).splitlines()[2:]
    padded = [line.removesuffix("  |") for line in lines]
    assert padded == [cell.rjust(13) if right else cell.ljust(13) for cell in cells]


def test_given_alignment_is_kept() -> None:
    assert format_table(["ab", "cd"], [["1", "x"]], align="lr").splitlines() == ["ab  cd", "--  --", "1    x"]


def test_table_without_rows_is_its_headers() -> None:
    assert format_table(["ab", "c"], []) == "ab  c\n--  -"


def test_wide_and_combining_characters_keep_columns_in_line() -> None:
    rows = [["雨.wav", "1"], ["re\u0301.wav", "2"], ["abcd.wav", "3"]]
    assert format_table(["clip", "n"], rows).splitlines()[2:] == [
        "雨.wav    1",
        "re\u0301.wav    2",
        "abcd.wav  3",
    ]


@pytest.mark.parametrize("name", ["a\nb", "a\x1bb", "a\udcffb", "a\tb"])
def test_a_cell_can_break_neither_line_nor_terminal(name: str) -> None:
    table = format_table(["clip"], [[name]])
    assert table.splitlines() == ["clip", "----", "a?b"]
    table.encode()


@pytest.mark.parametrize(("headers", "rows", "align"), MISSHAPEN)
def test_rows_and_alignment_of_another_length_are_refused(
    headers: list[str], rows: list[list[str]], align: str | None
) -> None:
    with pytest.raises(ValueError, match=r"cells|columns"):
        format_table(headers, rows, align)
