"""Whether the numbers of a card are those of its files: each by the words or the table cell that it stands in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

# A whole one not within a name, such as ESC-50 or V2, but behind a factor's x; one with a fraction wherever it stands.
NUMBER = (
    r"(?:(?<!\w)(?<![A-Za-z]-)[-+]?|(?<=(?<![^\W\d_])[xX])|(?<=[^\W\d]|-)(?=\d+\.\d))"
    r"(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?"
)
LIST = r"\[?\d+(?:, \d+)*\]?"
LEFT_OUT = re.compile(r"```.*?```|\]\([^)]*\)|https?://\S+", re.DOTALL)
TABLE = re.compile(r"(?:^\|.*\|$\n?)+", re.MULTILINE)
RULE = re.compile(r"\|(?:-+\|)+")

# Reads the cells of a table, line by line, and gives those that are wrong.
CellCheck = Callable[[Sequence[Sequence[str]]], list[str]]


@dataclass(frozen=True)
class Claim:
    """Words around numbers, and what the numbers may be.

    Attributes:
        words: A regular expression, with `{n}` for a number and `{list}` for several.
        values: What the numbers may be, all those of one place together: none but these, in the unit of the words.
    """

    words: str
    values: Sequence[Sequence[Any]]

    def without(self, text: str) -> str:
        """A text without the places where these words stand with right numbers."""
        pattern = self.words.replace("{n}", f"({NUMBER})").replace("{list}", f"({LIST})")
        return re.sub(pattern, lambda place: " " if self._holds(place.groups()) else place[0], text)

    def _holds(self, found: Sequence[str]) -> bool:
        return any(
            len(found) == len(values) and all(map(tells, found, values)) and None not in values
            for values in self.values
        )


def unfounded_numbers(
    text: str, claims: Iterable[Claim], tables: Sequence[CellCheck] = (), names: Iterable[str] = ()
) -> list[str]:
    """The numbers of a card's section that nothing stands behind.

    A number is founded in words that a claim knows, with the very values that the claim has for them; in a table, in
    its own cell. Fenced code and links are left out, and so are names that are known, in backticks.

    Args:
        text: Markdown.
        claims: What may be said in prose.
        tables: Of each table of the text, in turn; the numbers of a table without one are unfounded.
        names: Of labels, models and files, which may have digits.

    Returns:
        The numbers as they are written, and whole cells of tables.

    Example:
        >>> unfounded_numbers("accuracy 81.0 % of 3 folds", [Claim("accuracy {n} %", [(81.04,)])])
        ['3']
    """
    text = LEFT_OUT.sub(" ", text)
    checks = iter(tables)
    unfounded = [wrong for table in TABLE.findall(text) for wrong in next(checks, _numbers_of_cells)(_cells(table))]
    text = TABLE.sub(" ", text)
    for claim in claims:
        text = claim.without(text)
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(f"`{name}`", " ")
    return unfounded + re.findall(NUMBER, text)


def tells(shown: str, expected: Any) -> bool:
    """Whether a text is a number, rounded to the digits shown, or each of several; of a text, whether it is the same.

    Example:
        >>> tells("81.2", 81.25), tells("81.4", 81.25), tells("5e-05", 5e-5), tells("0, 4 → 8", [0, 4, 8])
        (True, False, True, True)
    """
    if isinstance(expected, str) or expected is None:
        return shown == (expected or "")
    wanted = list(expected) if isinstance(expected, Sequence) else [expected]
    found = re.findall(NUMBER, shown)
    return len(found) == len(wanted) and all(map(rounds_to, wanted, found))


def rounds_to(number: float, shown: str) -> bool:
    """Whether a number is shown by these digits: within half of the last one."""
    digits = Decimal(shown.replace(",", ""))
    half = 0.5 * 10.0 ** int(digits.as_tuple().exponent)
    return abs(float(digits) - number) <= half * (1 + 1e-9)


def rows_check(rows: Sequence[dict[str, Any]]) -> CellCheck:
    """A check of a table with a heading: each line beside its row, each cell beside its value there."""

    def wrong(table: Sequence[Sequence[str]]) -> list[str]:
        heading, *lines = table
        strange = _numbers_of_cells([[cell for cell in heading if not any(cell in row for row in rows)]])
        for index, line in enumerate(lines):
            row = rows[index] if index < len(rows) else {}
            for name, cell in zip(heading, line, strict=False):
                if not (tells(cell, row[name]) if name in row else not re.search(NUMBER, cell)):
                    strange.append(cell)
            strange += _numbers_of_cells([line[len(heading) :]])
        return strange

    return wrong


def _cells(table: str) -> list[list[str]]:
    lines = [line for line in table.strip().splitlines() if not RULE.fullmatch(line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _numbers_of_cells(table: Sequence[Sequence[str]]) -> list[str]:
    return [number for line in table for cell in line for number in re.findall(NUMBER, cell)]
