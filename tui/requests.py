"""Requests: the newest, or those of the window; filtered as `flux tail` filters; live."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.widget import Widget

from flux.cli.console import escape
from flux.cli.story import Names
from flux.cli.tail import changes_text, described, duration_text
from flux.model.errors import UsageError
from flux.model.filter import among, is_of_changes, parse_filter
from flux.tui.actions import bindings
from flux.tui.columns import CYAN, GREEN, RED, YELLOW, Cell, Column, heading, row
from flux.tui.jump import ToRequest
from flux.tui.listing import Draw, Line, Listing
from flux.tui.view import View

if TYPE_CHECKING:
    from flux.ledger import Ledger

Document = dict[str, Any]

PAGE = 200
"""Requests that are asked for at once."""
SHOWN_MAX = 20_000
"""Requests that are kept in the list; older ones are found by a filter or the time cursor."""

SETTLE_S = 10.0
"""So long after a request came, what it changed, or that it was rolled back, may come with later commits."""
UNSETTLED_MAX = 200
"""Requests that are asked for again at once, the newest."""

_COLUMNS = (
    Column("TIME", 12),
    Column("", 4, right=True),
    Column("TOOK", 8, right=True),
    Column("REQUEST", 16, share=3),
    Column("CHANGES", 14, share=3),
    Column("ERROR", 12, share=2, from_width=110),
    Column("ID", 12, from_width=90),
)


@dataclass(frozen=True, slots=True)
class _Come:
    """A request that came just now."""

    at: datetime
    until_s: float
    """On the monotonic clock: until then it is asked for again with each commit."""


@dataclass(frozen=True, slots=True)
class _Newer:
    """What a look for more found."""

    requests: Sequence[Document]
    unsettled: dict[str, _Come]
    reached: int
    """The version of the ledger that was looked at."""


class Requests(View):
    """The requests, newest first."""

    place = "requests"
    about = 'Requests with what they changed. / filters: status>=500 and path~"^/check", table=users, …'
    search_title = "Filter"
    search_hint: ClassVar[str] = "as in flux tail: status>=500 and duration>250ms, table=users; empty: all"
    BINDINGS = bindings(place)

    def __init__(self, where: str = "") -> None:
        super().__init__(where)
        self.where = where
        self.requests: list[Document] = []
        self._reached = 0
        self._unsettled: dict[str, _Come] = {}
        self._is_whole = False

    @property
    def crumb(self) -> str:
        """The filter, if there is one."""
        return "Requests" + (f" where {self.where}" if self.where else "")

    @property
    def search_value(self) -> str:
        """The filter there is."""
        return self.where

    def panes(self) -> Iterable[Widget]:
        """Return the one pane."""
        yield Listing(
            "Requests",
            "One line a request, newest first. Enter shows why; f follows what comes; / filters.",
            header=lambda width: heading(_COLUMNS, width),
            id="requests",
        )

    # -- asking -----------------------------------------------------------------------------------

    def load(self) -> None:
        """Ask for the newest."""
        where, since, until = self.where or None, self.browser.since, self.browser.until

        def asked(ledger: Ledger) -> tuple[list[Document], int]:
            found = ledger.requests(where, since=since, until=until, limit=PAGE)
            return described(ledger, found)[::-1], ledger.version

        self.ask(asked, self._show)

    def _show(self, answer: tuple[list[Document], int]) -> None:
        self.requests, self._reached = answer
        self._is_whole = len(self.requests) < PAGE
        until_s = monotonic() + SETTLE_S
        self._unsettled = {one["request_id"]: _Come(one["at"], until_s) for one in self.requests}
        self._redraw()

    def on_listing_near_end(self) -> None:
        """Ask for older ones."""
        if self._is_whole or not self.requests or len(self.requests) >= SHOWN_MAX or "older" in self._pending:
            return
        where, since, until = self.where or None, self.browser.since, self.requests[-1]["at"]
        # As many as share the oldest one's time come again.
        again = sum(one["at"] == until for one in self.requests)

        def asked(ledger: Ledger) -> list[Document]:
            found = ledger.requests(where, since=since, until=until, limit=PAGE + again)
            return described(ledger, found)[::-1]

        self.ask(asked, self._add_older, name="older")

    def _add_older(self, found: Sequence[Document]) -> None:
        known = {_mark(one) for one in self.requests}
        fresh = [one for one in found if _mark(one) not in known]
        self._is_whole = not fresh
        self.requests += fresh
        self._redraw()

    def look_for_more(self) -> None:
        """Ask for what came since, and again for what came just now; not again for all."""
        tree = parse_filter(self.where) if self.where else None
        since, version, now = self.browser.since, self._reached, monotonic()
        waiting = {one: come for one, come in self._unsettled.items() if come.until_s > now}

        def asked(ledger: Ledger) -> _Newer:
            came, reached = ledger.requests_after(version, None if is_of_changes(tree) else tree)
            until_s = monotonic() + SETTLE_S
            fresh = {one["request_id"]: _Come(one["at"], until_s) for one in came.to_pylist()}
            unsettled = dict(list((waiting | fresh).items())[-UNSETTLED_MAX:])
            if reached == version or not unsettled:
                return _Newer([], unsettled, reached)
            begin = min(one.at for one in unsettled.values())
            found = ledger.requests(among(tree, list(unsettled)), since=max(begin, since or begin))
            return _Newer(described(ledger, found)[::-1], unsettled, reached)

        self.ask(asked, self._add_newer, name="newer")

    def _add_newer(self, newer: _Newer) -> None:
        self._unsettled, self._reached = newer.unsettled, newer.reached
        found = newer.requests
        if not found:
            return
        fresh = {_mark(one) for one in found}
        kept = [one for one in self.requests if _mark(one) not in fresh]
        ordered = sorted([*found, *kept], key=lambda one: (one["at"], one["request_id"]), reverse=True)
        self.requests = ordered[:SHOWN_MAX]
        self._redraw()

    def search_for(self, words: str) -> None:
        """Filter by these words."""
        try:
            if words.strip():
                parse_filter(words)
        except UsageError as error:
            self.show_trouble(error)
            return
        self.where = words.strip()
        self._made_of = (self.where,)
        self.reload()

    # -- drawing ----------------------------------------------------------------------------------

    def _redraw(self) -> None:
        names = Names([one["request_id"] for one in self.requests])
        lines = [
            Line(self._drawn(one, names), ToRequest(one["request_id"]), _mark(one)) for one in self.requests
        ]
        listing = self.query_one("#requests", Listing)
        follows = listing.cursor == 0
        listing.show(lines or [Line(Text("no request fits" if self.where else "no request is recorded yet"))])
        if follows:
            listing.cursor = 0

    def _drawn(self, one: Document, names: Names) -> Draw:
        zone = self.browser.zone
        status = str(one["status"]) if one["status"] is not None else "fail" if one["failed"] else "ok"
        style = RED if one["failed"] else YELLOW if (one["status"] or 0) >= 400 else GREEN

        def draw(width: int) -> Text:
            asked = " ".join(part for part in (one["method"], one["path"] or one["route"]) if part)
            when: datetime = one["at"]
            error = one["error_type"] or ""
            undone = any(change["outcome"] != "committed" for change in one["changes"])
            cells: tuple[Cell, ...] = (
                (when.astimezone(zone).strftime("%H:%M:%S.%f")[:-3], ""),
                (status, style),
                (duration_text(one["duration_ms"]), ""),
                (escape(asked or "(unnamed)"), ""),
                (changes_text(one["changes"]), RED if undone else ""),
                (escape(error), RED),
                (names.request(one["request_id"]), CYAN),
            )
            return row(_COLUMNS, cells, width)

        return draw

    # -- keys -------------------------------------------------------------------------------------

    def action_next_failed(self) -> None:
        """Go to the next request that failed."""
        self._to_failed(1)

    def action_previous_failed(self) -> None:
        """Go to the failed request before."""
        self._to_failed(-1)

    def _to_failed(self, step: int) -> None:
        listing = self.query_one("#requests", Listing)
        place = listing.cursor + step
        while 0 <= place < len(self.requests):
            if self.requests[place]["failed"]:
                listing.cursor = place
                return
            place += step
        self.notify("no further one failed")

    def subject(self) -> str | None:
        """Return the request under the cursor."""
        line = self.query_one("#requests", Listing).current
        return line.jump.request_id if line is not None and isinstance(line.jump, ToRequest) else None

    def words(self) -> Sequence[str]:
        """Return `tail`."""
        words = ["tail", *(["--filter", self.where] if self.where else []), *self.browser.window_words()]
        return words if self.browser.until else [*words, "--no-follow"]

    def document(self) -> Any:
        """Return the requests with their changes."""
        return self.requests


def _mark(one: Document) -> tuple[Any, ...]:
    return one["request_id"], one["service"], one["at"]
