"""Diff: two requests step by step, or two moments of a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual.widget import Widget

from flux.cli.answer import difference_document, rows_of
from flux.cli.picture import difference_lines
from flux.cli.story import Look
from flux.cli.trace import diff_document, diff_lines
from flux.cli.why import written
from flux.model.errors import FluxError
from flux.model.lsn import lsn_text
from flux.tui.actions import bindings
from flux.tui.jump import Jump, ToRequest, ToRow
from flux.tui.listing import Line, Listing, ansi
from flux.tui.view import View

if TYPE_CHECKING:
    from flux.ledger import Ledger

Document = dict[str, Any]
_HEAD = 2
"""Lines at the top of a comparison that are of one request each."""


class Diff(View):
    """A comparison of what was marked, A, with another, B."""

    place = "diff"
    about = "A is what was marked, B what the cursor was on. Enter on the first lines goes to the requests."
    BINDINGS = bindings(place)

    def __init__(self, first: ToRow | str, second: ToRow | str) -> None:
        super().__init__(first, second)
        self.first, self.second = first, second
        self.answer: Any = None
        self._columns: list[str] = []

    @classmethod
    def of(cls, first: ToRow | str, second: ToRow | str | None) -> Diff:
        """Return the comparison of two marks. Raises `FluxError` if they cannot be compared."""
        if second is None:
            raise FluxError("there is nothing here to compare", hint="go to a request, or to a row's history")
        if isinstance(first, str) != isinstance(second, str):
            raise FluxError(
                "a request and a row cannot be compared", hint="mark two requests, or two moments of a row"
            )
        if isinstance(first, ToRow) and isinstance(second, ToRow):
            if (first.relation, first.key) != (second.relation, second.key):
                raise FluxError("these are two rows", hint="mark two moments of one row")
            if (first.lsn or 0) > (second.lsn or 0):
                first, second = second, first
        return cls(first, second)

    @property
    def crumb(self) -> str:
        """`diff 550e8400 c0ffee00`."""
        if isinstance(self.first, ToRow) and isinstance(self.second, ToRow):
            return f"diff {lsn_text(self.first.lsn or 0)} {lsn_text(self.second.lsn or 0)}"
        return f"diff {str(self.first)[:8]} {str(self.second)[:8]}"

    def panes(self) -> Iterable[Widget]:
        """Return the one pane."""
        yield Listing(
            "Differences", "Step by step: ~ changed, - only A, + only B, « slower, » faster.", id="diff"
        )

    def load(self) -> None:
        """Ask for the comparison."""
        if isinstance(self.first, str) and isinstance(self.second, str):
            pair = self.first, self.second
            self.ask(lambda ledger: ledger.trace_diff(*pair), self._show)
        elif isinstance(self.first, ToRow) and isinstance(self.second, ToRow):
            row, until = self.first, self.second.lsn

            def asked(ledger: Ledger) -> list[Document]:
                relation = ledger.relation(row.relation, source=row.source)
                self._columns = [column.name for column in relation.columns]
                found = ledger.diff(relation.root, row.key, since=row.lsn, until=until, source=row.source)
                return list(rows_of(found))

            self.ask(asked, self._show)

    def _show(self, answer: Any) -> None:
        self.answer = answer
        jumps: list[Jump | None] = []
        if isinstance(self.first, str) and isinstance(self.second, str):
            jumps = [ToRequest(self.first), ToRequest(self.second)]
        lines: list[Line] = []
        for text in self._lines(self.look):
            for part in text.rstrip("\n").split("\n") if text.strip() else [""]:
                jump = jumps[len(lines)] if len(lines) < min(_HEAD, len(jumps)) else None
                lines.append(ansi(part, jump, len(lines)))
        self.query_one("#diff", Listing).show(lines)

    def _lines(self, look: Look) -> list[str]:
        if isinstance(self.first, str):
            return list(diff_lines(self.answer, look))
        if not self.answer:
            return ["they are the same\n"]
        found = [difference_document(one, self._columns) for one in self.answer]
        return list(difference_lines(self._title(), found, look))

    def _title(self) -> str:
        return f"{self.first.relation} {self.first.key}" if isinstance(self.first, ToRow) else ""

    def words(self) -> Sequence[str]:
        """Return `trace diff`, or `state diff`."""
        if isinstance(self.first, ToRow) and isinstance(self.second, ToRow):
            moments = [f"lsn:{lsn_text(one.lsn or 0)}" for one in (self.first, self.second)]
            name = self.first.relation.removeprefix("public.")
            return ["state", "diff", name, "--id", self.first.key, "--from", moments[0], "--to", moments[1]]
        return ["trace", "diff", str(self.first), str(self.second)]

    def document(self) -> Any:
        """Return the comparison."""
        if self.answer is None or isinstance(self.first, str):
            return None if self.answer is None else written(diff_document(self.answer))
        return [difference_document(one, self._columns) for one in self.answer]

    def text(self) -> str:
        """Return what the command prints."""
        return "" if self.answer is None else "".join(self._lines(replace(self.look, colour=False)))
