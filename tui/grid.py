"""Tables of Arrow data: a cell becomes text when it is seen, escaped as everywhere.

A table is replaced by the next one in one step, with the cursor where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, ClassVar

import pyarrow as pa
from rich.cells import cell_len
from rich.text import Text
from textual.binding import BindingType
from textual.containers import Vertical
from textual.coordinate import Coordinate
from textual.message import Message
from textual_fastdatatable import ArrowBackend, DataTable

from flux.cli.cell import WIDTH_MAX, cell_text
from flux.cli.console import escape
from flux.tui.actions import GRIDS, LISTS, bindings

MEASURED_MAX = 200
"""Rows that are measured for the width of their columns; wider values are cut."""


class _Escaped(ArrowBackend):
    """Arrow data whose cells are what the command line would print of them."""

    def __init__(self, data: pa.Table, zone: tzinfo) -> None:
        super().__init__(data)
        self._zone = zone

    def get_row_at(self, index: int) -> Sequence[Any]:
        """Return the texts of a row."""
        return [cell_text(value, self._zone) for value in super().get_row_at(index)]

    def get_cell_at(self, row_index: int, column_index: int) -> Any:
        """Return the text of a cell."""
        return cell_text(super().get_cell_at(row_index, column_index), self._zone)

    @property
    def column_content_widths(self) -> list[int]:
        """The widths of the columns, by their first rows."""
        head = self.data.slice(0, MEASURED_MAX)
        return [
            min(
                WIDTH_MAX,
                max((cell_len(cell_text(value.as_py(), self._zone)) for value in column), default=0),
            )
            for column in head.columns
        ]


class _Table(DataTable, inherit_bindings=False):
    """The table itself, with the keys of all lists."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(LISTS), *bindings(GRIDS)]

    def action_down(self) -> None:
        """Go a row down."""
        self.action_cursor_down()

    def action_up(self) -> None:
        """Go a row up."""
        self.action_cursor_up()

    def action_left(self) -> None:
        """Go a column to the left."""
        self.action_cursor_left()

    def action_right(self) -> None:
        """Go a column to the right."""
        self.action_cursor_right()

    def action_first(self) -> None:
        """Go to the first row."""
        self.move_cursor(row=0)

    def action_last(self) -> None:
        """Go to the last row."""
        self.move_cursor(row=self.row_count - 1)

    def action_open(self) -> None:
        """Follow the row."""
        pane = self.parent
        if isinstance(pane, Grid) and 0 <= self.cursor_row < self.row_count:
            pane.post_message(Grid.Opened(pane, self.cursor_row))


class Grid(Vertical):
    """A pane with a table."""

    DEFAULT_CSS = """
    Grid { border: round $panel; border-title-color: $text-muted; }
    Grid:focus-within { border: round $accent; border-title-color: $text; }
    Grid DataTable { height: 1fr; background: $background; scrollbar-size: 1 1; }
    """

    @dataclass
    class Opened(Message):
        """Enter on a row."""

        grid: Grid
        row: int

    @dataclass
    class NearEnd(Message):
        """The cursor is on the last row."""

        grid: Grid

    def __init__(self, title: str, about: str, zone: tzinfo, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.border_title = title
        self.title = title
        self.about = about
        self._zone = zone
        self.data: pa.Table | None = None

    @property
    def table(self) -> DataTable | None:
        """The table that is shown."""
        found = list(self.query(_Table))
        return found[-1] if found else None

    @property
    def row(self) -> int:
        """The row of the cursor."""
        return self.table.cursor_row if self.table is not None else 0

    async def show(self, data: pa.Table) -> None:
        """Show a table instead of the one before; the cursor stays where it was, and so does the focus."""
        before = self.table
        had_focus = before is not None and before.has_focus
        cursor = before.cursor_coordinate if before is not None else Coordinate(0, 0)
        self.data = data
        made = _Table(
            backend=_Escaped(data, self._zone),
            column_labels=[Text(escape(name)) for name in data.column_names],
            cursor_type="row",
            render_markup=False,
            max_column_content_width=WIDTH_MAX,
        )
        async with self.batch():
            await self.remove_children()
            await self.mount(made)
        made.move_cursor(row=min(cursor.row, max(0, data.num_rows - 1)), column=cursor.column)
        if had_focus:
            made.focus()

    def focus_table(self) -> None:
        """Focus the table."""
        if self.table is not None:
            self.table.focus()

    def on_data_table_row_highlighted(self, message: DataTable.RowHighlighted) -> None:
        """Say when the end is near."""
        if self.data is not None and message.cursor_row >= self.data.num_rows - 1 > 0:
            self.post_message(self.NearEnd(self))

    def plain(self) -> str:
        """Return the table as text."""
        if self.data is None:
            return ""
        lines = ["\t".join(escape(name) for name in self.data.column_names)]
        lines += [
            "\t".join(cell_text(value, self._zone, full=True) for value in record.values())
            for record in self.data.to_pylist()
        ]
        return "\n".join(lines) + "\n"
