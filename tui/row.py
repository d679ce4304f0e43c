"""Row: its history, who owns its values, and what it was at the time cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.text import Text
from textual.containers import Vertical
from textual.widget import Widget

from flux.cli.answer import blame_document, history_document, row_document, rows_of, timeline
from flux.cli.console import escape
from flux.cli.picture import row_lines
from flux.cli.story import Layout, Look, Names, blame_lines, counted, gap_line, history_lines
from flux.cli.subject import key_title
from flux.model.moment import Moment, moment_text
from flux.model.relation import Relation
from flux.tui.actions import bindings
from flux.tui.jump import Cursor, Jump, ToRequest, ToRow
from flux.tui.listing import Line, Listing, ansi
from flux.tui.view import View

if TYPE_CHECKING:
    from flux.ledger import Ledger

Document = dict[str, Any]
LINES_MAX = 2_000
"""Changes of a row that are shown, the newest."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """All that is shown of a row, of one moment of the ledger."""

    relation: Relation
    history: pa.Table
    blame: pa.Table
    state: pa.Table


class Row(View):
    """One row."""

    place = "row"
    about = "Every change of a row, committed or rolled back; who owns its values; what it was at the time."
    BINDINGS = bindings(place)

    def __init__(self, jump: ToRow) -> None:
        super().__init__(jump)
        self.jump = jump
        self.answer: _Answer | None = None
        self.events: list[Document] = []
        self._begin = jump.lsn
        self._is_new = True

    @property
    def crumb(self) -> str:
        """`users id=42`."""
        name = self.jump.relation.removeprefix("public.")
        if self.answer is None:
            return f"{name} {self.jump.key}"
        return f"{name} {key_title(self.answer.relation.key, self.jump.key)}"

    def panes(self) -> Iterable[Widget]:
        """Return the history, the blame and the state."""
        history = Listing(
            "History",
            "One change a line, oldest first. Enter goes to its request; , and . step the time cursor.",
            id="history",
        )
        history.add_class("left")
        yield history
        blame = Listing(
            "Blame", "Who owns each value at the time cursor. Enter goes to the request.", id="blame"
        )
        state = Listing("State", "The row as it was at the time cursor.", id="state")
        yield Vertical(blame, state, id="beside")

    def load(self) -> None:
        """Ask for all of it."""
        jump, as_of = self.jump, self.browser.as_of

        def asked(ledger: Ledger) -> _Answer:
            relation = ledger.relation(jump.relation, source=jump.source)
            name = relation.root
            return _Answer(
                relation,
                ledger.history(name, jump.key, limit=LINES_MAX, source=jump.source),
                ledger.blame(name, jump.key, as_of=as_of, source=jump.source),
                ledger.at(name, jump.key, as_of=as_of, source=jump.source),
            )

        self.ask(asked, self._show)

    def _show(self, answer: _Answer) -> None:
        self.answer = answer
        self.events = [row for row in rows_of(answer.history) if row["op"] != "gap"]
        self.draw_top()
        look = self._look()
        history = self.query_one("#history", Listing)
        lines = timeline(answer.history, with_key=False)
        history.border_title = f"History: {counted([line for line in lines if 'gap' not in line])}"
        drawn = _history(answer.history, look, self.browser.cursor)
        history.show(drawn or [Line(Text(f"nothing is recorded of {escape(self.crumb)}"))], at=self._at())
        blame = blame_document(answer.relation.root, self.jump.key, answer.blame)
        self.query_one("#blame", Listing).show(_blame(blame, look) or [Line(Text("it was not there then"))])
        rows = [row_document(row) for row in rows_of(answer.state)]
        state = [ansi(line) for row in rows for line in row_lines(row, look)]
        pane = self.query_one("#state", Listing)
        cursor = self.browser.cursor
        pane.border_title = (
            f"State as of {moment_text(cursor.moment, self.browser.zone) if cursor else 'now'}"
        )
        pane.show(state or [Line(Text("it was not there then"))])

    def _look(self) -> Look:
        key = self.answer.relation.key if self.answer else ()
        return replace(self.look, key=frozenset(key))

    def _at(self) -> Any:
        """Return the mark of the change on which the cursor begins: the newest, unless one was named."""
        is_first, self._is_new = self._is_new, False
        begin, self._begin = self._begin, None
        if begin is None:
            return _mark(self.events[-1]) if is_first and self.events else None
        return next((_mark(one) for one in self.events if begin in {one["lsn"], one["commit_lsn"]}), None)

    # -- time -------------------------------------------------------------------------------------

    def action_earlier(self) -> None:
        """Step to the change before the time cursor."""
        places = _moments(self.events)
        cursor = self.browser.cursor
        if cursor is None:
            self._step(places[-1] if places else None)
            return
        before = [one for one in places if _is_before(one, cursor)]
        self._step(before[-1] if before else None)

    def action_later(self) -> None:
        """Step to the next change after the time cursor."""
        cursor = self.browser.cursor
        after = [one for one in _moments(self.events) if cursor is not None and _is_before(cursor, one)]
        self._step(after[0] if after else None)

    def _step(self, cursor: Cursor | None) -> None:
        if cursor is None:
            self.notify("there is no further change")
            return
        for one in self.events:
            if (one["commit_lsn"] or one["lsn"]) == cursor.moment.lsn:
                self.query_one("#history", Listing).put_cursor(_mark(one))
        self.browser.set_cursor(cursor)

    def subject(self) -> ToRow | str | None:
        """Return the moment of the change that the cursor is on."""
        line = self.query_one("#history", Listing).current
        event = next((one for one in self.events if line is not None and _mark(one) == line.mark), None)
        if event is None:
            return None
        lsn = event["commit_lsn"] or event["lsn"]
        return ToRow(self.jump.relation, self.jump.key, event["source"], lsn)

    # -- taking away ------------------------------------------------------------------------------

    def words(self) -> Sequence[str]:
        """Return `state history`, `blame` or `at`, by the focused pane."""
        pane = self.focused.id if self.focused is not None and self.focused.id else "history"
        verb = {"blame": "blame", "state": "at"}.get(pane, "history")
        words = ["state", verb, self.jump.relation.removeprefix("public."), "--id", self.jump.key]
        cursor = self.browser.as_of
        if cursor is not None and verb != "history":
            words += ["--as-of", moment_text(cursor, self.browser.zone)]
        if self.jump.source is not None:
            words += ["--source", self.jump.source]
        return words

    def document(self) -> Any:
        """Return history, blame and state."""
        if self.answer is None:
            return None
        name, key = self.answer.relation.root, self.jump.key
        return {
            "history": history_document(name, key, timeline(self.answer.history, with_key=False)),
            "blame": blame_document(name, key, self.answer.blame),
            "state": [row_document(row) for row in rows_of(self.answer.state)],
        }

    def text(self) -> str:
        """Return what `flux state history` and `blame` print."""
        if self.answer is None:
            return super().text()
        plain = replace(self._look(), colour=False)
        lines = timeline(self.answer.history, with_key=False)
        blame = blame_document(self.answer.relation.root, self.jump.key, self.answer.blame)
        told = [*history_lines(self.crumb, lines, plain), "\n"]
        return "".join([*told, *blame_lines(blame["columns"], plain, blame["gaps"])])


def _mark(event: Document) -> tuple[Any, ...]:
    return event["source"], event["commit_lsn"], event["lsn"], event["seq"]


def _moments(events: Sequence[Document]) -> list[Cursor]:
    """Return the moments at which a row changed, or was tried to, in the order of the log, each once."""
    found = {one["commit_lsn"] or one["lsn"]: one["at"] for one in events}
    return [Cursor(Moment(lsn=lsn), found[lsn]) for lsn in sorted(lsn for lsn in found if lsn is not None)]


def _is_before(one: Cursor, other: Cursor) -> bool:
    if one.moment.lsn is not None and other.moment.lsn is not None:
        return one.moment.lsn < other.moment.lsn
    return one.at is not None and other.at is not None and one.at < other.at


def _history(table: pa.Table, look: Look, cursor: Cursor | None) -> list[Line]:
    """Return the lines of a history; what lies after the time cursor is dim."""
    rows = list(rows_of(table))
    documents = timeline(table, with_key=False)
    mutations = [one for one in documents if "gap" not in one]
    layout, names = Layout.of(mutations, look), Names([one["request_id"] for one in mutations])
    lines: list[Line] = []
    for row, document in zip(rows, documents, strict=True):
        if "gap" in document:
            lines.append(ansi(gap_line(document["gap"], look)))
            continue
        jump: Jump | None = ToRequest(row["request_id"]) if row["request_id"] else None
        moment = Cursor(Moment(lsn=row["commit_lsn"] or row["lsn"] or 0), row["at"])
        for text in layout.block(document, names, look):
            line = ansi(text, jump, _mark(row))
            if cursor is not None and _is_before(cursor, moment) and isinstance(line.text, Text):
                line.text.stylize("dim")
            lines.append(line)
    return lines


def _blame(document: Document, look: Look) -> list[Line]:
    """Return the lines of a blame; each leads to the request that set the value, or tried to."""
    jumps: list[str | None] = []
    for column in document["columns"]:
        jumps += [column["request_id"], *(one["request_id"] for one in column["rolled_back"][1:])]
    lines = list(blame_lines(document["columns"], look, document["gaps"]))
    jumps += [None] * (len(lines) - len(jumps))
    return [
        ansi(text, ToRequest(one) if one else None, ("blame", nth))
        for nth, (text, one) in enumerate(zip(lines, jumps, strict=True))
    ]
