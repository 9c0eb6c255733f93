"""How objects show themselves in a notebook: small tables of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def html_table(heading: str, rows: Iterable[Sequence[Any]], columns: Sequence[str] = ()) -> str:
    """A table with a heading above, every text escaped; the heading alone where there are neither rows nor columns.

    Args:
        heading: Above the table.
        rows: The cells of each row.
        columns: Names of the columns, if any.

    Example:
        >>> html_table("a < b", [["r", 8]])
        '<p><b>a &lt; b</b></p><table><tr><td>r</td><td>8</td></tr></table>'
    """

    def row(cells: Sequence[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    head = row(columns, "th") if columns else ""
    body = head + "".join(row(cells, "td") for cells in rows)
    return f"<p><b>{escape(heading)}</b></p>" + (f"<table>{body}</table>" if body else "")
