"""Rows of a list in columns that fit the width there is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from flux.cli.cell import pad, shorten

RED, YELLOW, GREEN, CYAN, DIM = "red", "yellow", "green", "cyan", "dim"
Cell = tuple[str, str]
"""A text, escaped already, and its style."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    title: str
    width: int
    """Columns of the terminal; of one that takes a share of what is left: at least so many."""
    share: int = 0
    right: bool = False
    from_width: int = 0
    """It is left out where there are fewer columns than this."""


def heading(columns: Sequence[Column], width: int) -> Text:
    """Return the titles."""
    return row(columns, [(column.title, "") for column in columns], width)


def row(columns: Sequence[Column], cells: Sequence[Cell], width: int) -> Text:
    """Return the cells in their columns."""
    shown = [
        (column, cell) for column, cell in zip(columns, cells, strict=True) if width >= column.from_width
    ]
    left = width - sum(column.width + 2 for column, _ in shown) + 2
    shares = sum(column.share for column, _ in shown)
    line = Text(no_wrap=True, end="")
    for nth, (column, (text, style)) in enumerate(shown):
        room = column.width + (max(0, left) * column.share // shares if shares else 0)
        fitting = text if cell_len(text) <= room else shorten(text, room)
        line.append(pad(fitting, room, right=column.right), style)
        if nth < len(shown) - 1:
            line.append("  ")
    return line
