"""Tables in plain text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from ..errors import printable

_NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?\s?[%x×]?|-?")


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]], align: str | None = None) -> str:
    r"""Lay out rows under their headers, in columns two spaces apart.

    Args:
        headers: One per column.
        rows: Cells, as many in each row as there are headers.
        align: A letter per column, `"l"` or `"r"`. If None, columns whose cells are all numbers (or percentages,
            factors such as 1.5x, `-` or empty) go to the right and others to the left.

    Returns:
        The lines, without a line break after the last.

    Raises:
        ValueError: A row, or `align`, has another length than the headers.

    Example:
        >>> print(format_table(["clip", "score"], [["dog.wav", "0.9"], ["rain.wav", "0.25"]]))
        clip      score
        --------  -----
        dog.wav     0.9
        rain.wav   0.25
    """
    cells = [[printable(cell) for cell in row] for row in (headers, *rows)]
    if any(len(row) != len(headers) for row in cells):
        raise ValueError(f"a table of {len(headers)} headers has rows of {sorted({len(row) for row in cells})} cells")
    columns = list(zip(*cells, strict=True))
    if align is None:
        align = "".join("r" if all(map(_NUMBER.fullmatch, column[1:])) else "l" for column in columns)
    if len(align) != len(headers):
        raise ValueError(f"align is {align!r} for {len(headers)} columns: give a letter for each")
    widths = [max(map(_width, column)) for column in columns]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(_pad(*cell) for cell in zip(row, widths, align, strict=True)).rstrip() for row in cells)


def _pad(cell: str, width: int, side: str) -> str:
    space = " " * (width - _width(cell))
    return space + cell if side == "r" else cell + space


def _width(text: str) -> int:
    """Columns of a terminal that `text` takes: 2 for wide (Chinese, say) characters, 0 for combining accents."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
