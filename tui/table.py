"""Tables: which are captured; and one of them as of the time cursor, with what changed since."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa
from rich.text import Text
from textual.widget import Widget

from flux.cli.answer import difference_document, row_document, rows_of
from flux.cli.console import escape
from flux.cli.picture import difference_lines, spread
from flux.model.key import parse_key
from flux.model.moment import moment_text
from flux.model.relation import Relation
from flux.tui.actions import bindings
from flux.tui.grid import Grid
from flux.tui.jump import Cursor, ToRow, ToTable
from flux.tui.listing import Line, Listing, ansi
from flux.tui.view import View

if TYPE_CHECKING:
    from flux.ledger import Ledger

PAGE = 500
"""Rows that are asked for at first; the next page doubles them."""
ROWS_MAX = 2_000
"""Rows that are shown: so many the ledger folds one by one, which is fast. Others are found by their key."""
DIFFERENCES_MAX = 2_000
"""Differences that are shown."""


class Tables(View):
    """The captured tables."""

    place = "tables"
    about = "The tables that the ledger knows. Enter shows one as of the time cursor."
    BINDINGS = bindings(place)

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def panes(self) -> Iterable[Widget]:
        """Return the one pane."""
        yield Listing("Tables", "One line a table. Enter shows its rows.", id="tables")

    def load(self) -> None:
        """Ask for the names."""
        self.ask(lambda ledger: ledger.relation_names(), self._show)

    def _show(self, names: list[str]) -> None:
        self.names = sorted(names)
        lines = [Line(Text(escape(name.removeprefix("public."))), ToTable(name), name) for name in self.names]
        self.query_one("#tables", Listing).show(lines or [Line(Text("no table is captured yet"))])

    def words(self) -> Sequence[str]:
        """Return `ledger info`, which counts what is there."""
        return ["ledger", "info"]

    def document(self) -> Any:
        """Return the names."""
        return self.names


@dataclass(frozen=True, slots=True)
class _Answer:
    """A table at a moment."""

    relation: Relation
    rows: pa.Table
    differences: pa.Table | None


class Table(View):
    """One table at the time cursor."""

    place = "table"
    about = "The rows as of the time cursor; s shows what changed since. / goes to a row by its key."
    search_title = "Key"
    search_hint: ClassVar[str] = "one row by its key: 42; of several columns: eu,42; empty: all"
    BINDINGS = bindings(place)

    def __init__(self, jump: ToTable) -> None:
        super().__init__(jump)
        self.jump = jump
        self.answer: _Answer | None = None
        self.key = ""
        self._shows_since = False
        self._limit = PAGE

    @property
    def crumb(self) -> str:
        """`users`, or `users key 42`."""
        name = self.jump.relation.removeprefix("public.")
        return f"{name} key {self.key}" if self.key else name

    @property
    def search_value(self) -> str:
        """The key there is."""
        return self.key

    def panes(self) -> Iterable[Widget]:
        """Return the rows, and what changed since."""
        about = "The rows as of the time cursor, by key. Enter goes to the row."
        yield Grid("Rows", about, self.browser.zone, id="rows")
        yield Listing("Changed since", "What differs from now. Enter goes to the row.", id="since")

    def load(self) -> None:
        """Ask for the rows, and for the differences if they are shown."""
        jump, as_of, key = self.jump, self.browser.as_of, self.key
        limit, with_since = self._limit, self._shows_since and as_of is not None
        self.query_one("#since").display = with_since

        def asked(ledger: Ledger) -> _Answer:
            relation = ledger.relation(jump.relation, source=jump.source)
            name = relation.root
            wanted = parse_key(key, relation.key) if key else None
            rows = ledger.at(name, wanted, as_of=as_of, limit=limit, source=jump.source)
            differences = None
            if with_since and as_of is not None:
                differences = ledger.diff(name, wanted, since=as_of, source=jump.source)
            return _Answer(relation, rows, differences)

        self.ask(asked, self._show)

    def _show(self, answer: _Answer) -> None:
        self.answer = answer
        self.begin(partial(self._draw, answer), "draw")

    async def _draw(self, answer: _Answer) -> None:
        grid = self.query_one("#rows", Grid)
        columns = [column.name for column in answer.relation.columns]
        await grid.show(spread(answer.rows, columns))
        more = " or more" if answer.rows.num_rows >= self._limit and not self.key else ""
        grid.border_title = f"Rows: {answer.rows.num_rows:,}{more} as of {self._moment()}"
        if self.focused is None:
            grid.focus_table()
        if answer.differences is not None:
            self.query_one("#since", Listing).show(self._differences(answer.relation, answer.differences))
        self.draw_top()

    def _moment(self) -> str:
        cursor = self.browser.cursor
        return "now" if cursor is None else moment_text(cursor.moment, self.browser.zone)

    def _differences(self, relation: Relation, table: pa.Table) -> list[Line]:
        columns = [column.name for column in relation.columns]
        found = list(rows_of(table.slice(0, DIFFERENCES_MAX)))
        lines = []
        for one in found:
            document = difference_document(one, columns)
            told = list(difference_lines("", [document], self.look))[1:]
            jump = ToRow(relation.root, one["key"], one["source"]) if one["key"] is not None else None
            lines += [ansi(text, jump, one["key"]) for text in told if text.strip()]
        if table.num_rows > DIFFERENCES_MAX:
            lines.append(Line(Text(f"… and {table.num_rows - DIFFERENCES_MAX:,} more", "dim")))
        return lines or [Line(Text("nothing changed since"))]

    # -- keys -------------------------------------------------------------------------------------

    def on_grid_opened(self, message: Grid.Opened) -> None:
        """Go to a row."""
        if self.answer is None:
            return
        key = self.answer.rows.column("key")[message.row].as_py()
        source = self.answer.rows.column("source")[message.row].as_py()
        if key is None:
            self.notify("the table has no key: its rows have no history of their own", severity="warning")
            return
        self.browser.open(ToRow(self.answer.relation.root, key, source))

    def on_grid_near_end(self) -> None:
        """Ask for more rows."""
        is_whole = self.answer is None or self.answer.rows.num_rows < self._limit
        if not is_whole and not self.key and self._limit < ROWS_MAX and "main" not in self._pending:
            self._limit = min(ROWS_MAX, self._limit * 2)
            self.load()

    def action_since(self) -> None:
        """Show what changed since the time cursor, or hide it."""
        if self.browser.cursor is None:
            self.notify("set the time cursor first: t", severity="warning")
            return
        self._shows_since = not self._shows_since
        self.reload()

    def action_earlier(self) -> None:
        """Step to the commit before."""
        self._step(-1)

    def action_later(self) -> None:
        """Step to the next commit."""
        self._step(1)

    def _step(self, step: Literal[-1, 1]) -> None:
        jump, cursor = self.jump, self.browser.cursor

        def asked(ledger: Ledger) -> Cursor | None:
            name = ledger.relation(jump.relation, source=jump.source).root
            found = ledger.commit_beside(name, cursor.moment if cursor else None, step, source=jump.source)
            return None if found is None else Cursor(*found)

        self.ask(asked, self._stepped, name="step")

    def _stepped(self, cursor: Cursor | None) -> None:
        if cursor is None:
            self.notify("there is no further change")
        else:
            self.browser.set_cursor(cursor)

    def search_for(self, words: str) -> None:
        """Show one row by its key; all without one."""
        self.key = words.strip()
        self.reload()

    # -- taking away ------------------------------------------------------------------------------

    def words(self) -> Sequence[str]:
        """Return `state at`, or `state diff`."""
        name = self.jump.relation.removeprefix("public.")
        key = ["--id", self.key] if self.key else []
        as_of = self.browser.as_of
        source = ["--source", self.jump.source] if self.jump.source else []
        if self._shows_since and as_of is not None:
            return ["state", "diff", name, "--from", moment_text(as_of, self.browser.zone), *key, *source]
        moment = ["--as-of", moment_text(as_of, self.browser.zone)] if as_of is not None else []
        return ["state", "at", name, *key, *moment, *source]

    def document(self) -> Any:
        """Return the rows."""
        return [row_document(row) for row in rows_of(self.answer.rows)] if self.answer else []

    def text(self) -> str:
        """Return the rows as text."""
        parts = [self.query_one("#rows", Grid).plain()]
        if self.answer is not None and self.answer.differences is not None:
            columns = [column.name for column in self.answer.relation.columns]
            found = [difference_document(one, columns) for one in rows_of(self.answer.differences)]
            parts += difference_lines(self.crumb, found, replace(self.look, colour=False))
        return "\n".join(parts)
