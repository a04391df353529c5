"""Text cells of CSV files, written so that a spreadsheet shows them as text and runs none as a formula."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


def text_cell(value: Any) -> Any:
    """Return a cell's value with an apostrophe before text that a spreadsheet would take for a formula.

    Text that begins with an apostrophe gets another one, so that ``plain_text`` gives back what was written. Numbers, also
    negative ones, are no text and stay as they are.

    >>> text_cell("=1+1"), text_cell("a-1"), text_cell(-0.5)
    ("'=1+1", 'a-1', -0.5)
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_STARTS) else value


def text_cells(row: Mapping[str, Any] | Iterable[Any]) -> Any:
    """Return a line, as mapping or list, with each cell as ``text_cell`` writes it."""
    if isinstance(row, Mapping):
        return {key: text_cell(value) for key, value in row.items()}
    return [text_cell(value) for value in row]


def plain_text(cell: str) -> str:
    """Return the text that ``text_cell`` was given.

    >>> plain_text("'=1+1"), plain_text("''a"), plain_text("a")
    ('=1+1', "'a", 'a')
    """
    return cell[1:] if cell.startswith(tuple(f"'{start}" for start in _STARTS)) else cell
