"""Incidents: when requests failed, and in which groups; and one of them whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text
from textual.widget import Widget

from flux.cli.console import escape
from flux.cli.incident import incident_lines, route_of
from flux.cli.story import Names
from flux.model.moment import Moment
from flux.tui.actions import bindings
from flux.tui.columns import CYAN, GREEN, RED, Column, heading, row
from flux.tui.jump import Cursor, ToIncident, ToRequest, ToRow, Window
from flux.tui.listing import Draw, Line, Listing, ansi
from flux.tui.timeline import Timeline
from flux.tui.view import View

if TYPE_CHECKING:
    import pyarrow as pa

    from flux.ledger import Ledger

Document = dict[str, Any]

BUCKETS = 240
"""Parts of the window that are asked for; the timeline makes of them as many as it has columns."""
LOCATED = 100
"""Columns from which on an error is named with its location."""
COUNTED_MAX = 100
"""Incidents whose rows are counted, the newest."""
TOUCHED_MAX = 1_000
"""Rows of an incident that are named."""

_COLUMNS = (
    Column("STATE", 5),
    Column("COUNT", 6, right=True),
    Column("ROWS", 5, right=True),
    Column("FIRST", 14, from_width=100),
    Column("LAST", 14),
    Column("ROUTE", 12, share=2),
    Column("ERROR", 12, share=3),
)


class Incidents(View):
    """The incidents, newest first, below the timeline of requests."""

    place = "incidents"
    about = "Failing requests in groups: one route, one error, one location, with no quiet time between."
    BINDINGS = bindings(place)

    def __init__(self) -> None:
        super().__init__()
        self.incidents: list[Document] = []
        self._rows: dict[str, int] = {}

    def panes(self) -> Iterable[Widget]:
        """Return the timeline and the table."""
        yield Timeline(id="timeline")
        yield Listing(
            "Incidents",
            "One line an incident. Enter shows its requests and rows.",
            header=lambda width: heading(_COLUMNS, width),
            id="incidents",
        )

    def main_pane(self) -> Widget:
        """Return the table: it is below the timeline only because that is of all its lines."""
        return self.query_one("#incidents")

    def load(self) -> None:
        """Ask for both."""
        since, until = self.browser.since, self.browser.until
        self.ask(lambda ledger: ledger.incidents(since=since, until=until).to_pylist(), self._show)

        def counted(ledger: Ledger) -> pa.Table:
            return ledger.activity(since=since, until=until, buckets=BUCKETS)

        self.ask(counted, self._draw, name="activity")

    def _draw(self, found: pa.Table) -> None:
        self.query_one(Timeline).show(found.to_pylist(), BUCKETS, self.look)

    def on_timeline_picked(self, message: Timeline.Picked) -> None:
        """Make what was picked the window."""
        moment = Moment(time=message.until.astimezone(UTC))
        self.browser.set_window(Window(message.since, Cursor(moment, message.until)))

    def _show(self, found: list[Document]) -> None:
        self.incidents = found
        self._redraw()
        uncounted = [one for one in found[:COUNTED_MAX] if _mark(one) not in self._rows]
        self._count(uncounted)

    def _count(self, uncounted: Sequence[Document]) -> None:
        """Count the rows of one incident after the other: the list stands before they are known."""
        if not uncounted:
            return
        first, *others = uncounted

        def counted(rows: int) -> None:
            self._rows[_mark(first)] = rows
            self._redraw()
            self._count(others)

        ids = first["request_ids"]
        self.ask(lambda ledger: ledger.rows_of(ids).num_rows, counted, name="rows")

    def _redraw(self) -> None:
        lines = [Line(self._drawn(one), ToIncident(one), one["incident"]) for one in self.incidents]
        self.query_one("#incidents", Listing).show(lines or [Line(Text("no request failed"))])

    def _drawn(self, one: Document) -> Draw:
        rows = self._rows.get(_mark(one))
        error = (one["error_type"] or "").rpartition(".")[2] or ", ".join(map(str, one["statuses"] or ()))
        place = f" ({one['error_location']})" if one["error_location"] else ""
        cells = [
            ("open" if one["open"] else "quiet", RED if one["open"] else GREEN),
            (f"{one['count']:,}", ""),
            ("…" if rows is None else f"{rows:,}", ""),
            (self._clock(one["first_at"]), ""),
            (self._clock(one["last_at"]), ""),
            (escape(route_of(one)), CYAN),
            (escape(error), RED),
        ]

        def draw(width: int) -> Text:
            located = (escape(error + place), RED)
            return row(_COLUMNS, [*cells[:-1], located] if width >= LOCATED else cells, width)

        return draw

    def _clock(self, at: datetime) -> str:
        return at.astimezone(self.browser.zone).strftime("%m-%d %H:%M:%S")

    def words(self) -> Sequence[str]:
        """Return `incident list`."""
        return ["incident", "list", *self.browser.window_words()]

    def document(self) -> Any:
        """Return the incidents."""
        return [dict(one, affected_rows=self._rows.get(_mark(one))) for one in self.incidents]


def _mark(one: Document) -> str:
    """Return what changes when an incident does."""
    return f"{one['incident']}/{one['count']}"


class Incident(View):
    """One incident: since when, how many, which requests, which rows."""

    place = "incident"
    about = "One incident with its requests and rows. Enter on a request or a row goes there."
    BINDINGS = bindings(place)

    def __init__(self, incident: Document) -> None:
        super().__init__(incident)
        self.incident = incident
        self.rows: list[Document] = []
        self._titles: dict[str, str] = {}

    @property
    def crumb(self) -> str:
        """`POST /checkout PaymentTimeout`."""
        error = (self.incident["error_type"] or "").rpartition(".")[2]
        return f"{route_of(self.incident)} {error}".strip()

    def panes(self) -> Iterable[Widget]:
        """Return what it is, its requests and its rows."""
        yield Listing("Requests", "The failed requests, newest first. Enter shows why.", id="requests")
        yield Listing("Rows", "Rows that they changed, or tried to. Enter shows a row's history.", id="rows")
        yield Listing("Incident", "What is known of it.", id="facts")

    def load(self) -> None:
        """Ask how far it has come, and for its rows."""
        self._list_requests(self._titles)
        known = self.incident

        def asked(ledger: Ledger) -> tuple[Document, list[Document], dict[str, str]]:
            # Its id stays while it goes on. One whose first request has gone by now is shown as it was.
            found = ledger.incidents(since=known["first_at"]).to_pylist()
            newest = next((one for one in found if one["incident"] == known["incident"]), known)
            ids = newest["request_ids"]
            return newest, list(ledger.rows_of(ids, TOUCHED_MAX).to_pylist()), ledger.request_titles(ids)

        self.ask(asked, self._show)

    def _list_requests(self, titles: dict[str, str]) -> None:
        """List them, with what each was where that is known."""
        ids = self.incident["request_ids"]
        names = Names(ids)
        self.query_one("#requests", Listing).show(
            [
                Line(
                    Text(names.request(one), CYAN).append(f"  {escape(titles.get(one, ''))}", "default"),
                    ToRequest(one),
                    one,
                )
                for one in reversed(ids)
            ]
        )

    def _show(self, answer: tuple[Document, list[Document], dict[str, str]]) -> None:
        self.incident, self.rows, self._titles = answer
        self._made_of = (self.incident,)
        rows = self.rows
        self._list_requests(self._titles)
        document = self.document()
        told = list(incident_lines(document, self.look))
        facts = [part for line in told for part in line.split("\n") if part]
        shown = facts[: next((nth for nth, one in enumerate(facts) if "REQUESTS" in one), len(facts))]
        self.query_one("#facts", Listing).show([ansi(line) for line in shown])
        self.query_one("#rows", Listing).show([self._row(one) for one in rows] or [Line(Text("none"))])

    def _row(self, one: Document) -> Line:
        table = one["relation"].removeprefix("public.")
        text = Text(escape(table), CYAN)
        text.append(f" {escape(one['key'] or '')}  ", "")
        if one["committed"]:
            text.append(f"{one['committed']:,} committed  ", GREEN)
        if one["rolled_back"]:
            text.append(f"{one['rolled_back']:,} rolled back", RED)
        jump = ToRow(one["relation"], one["key"], one["source"]) if one["key"] is not None else None
        return Line(text, jump, (one["relation"], one["key"]))

    def words(self) -> Sequence[str]:
        """Return `incident show`."""
        return ["incident", "show", self.incident["incident"]]

    def document(self) -> Any:
        """Return the incident with its rows."""
        state = "open" if self.incident["open"] else "quiet"
        return dict(self.incident, state=state, affected_rows=len(self.rows), rows=self.rows)

    def text(self) -> str:
        """Return what `flux incident show` prints."""
        return "".join(incident_lines(self.document(), replace(self.look, colour=False)))
