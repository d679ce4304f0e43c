"""Request: why it failed beside what it did step by step, and its bodies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.text import Text
from textual.widget import Widget

from flux.cli.cell import pad, shorten
from flux.cli.console import escape
from flux.cli.story import Look
from flux.cli.tail import duration_text
from flux.cli.trace import trace_document
from flux.cli.why import (
    CHANGES_TITLE,
    PREVIOUS_TITLE,
    SIMILAR_TITLE,
    change_text,
    names_of,
    request_line,
    why_lines,
    why_sections,
    written,
)
from flux.tui.actions import bindings
from flux.tui.body import body_lines
from flux.tui.jump import Jump, ToExchange, ToRequest, ToRow
from flux.tui.listing import Draw, Line, Listing, ansi
from flux.tui.view import View

if TYPE_CHECKING:
    from flux.ledger import Ledger
    from flux.ledger.spans import Span

Document = dict[str, Any]

BAR_WIDTH_MIN = 12
"""Columns that the bars of the waterfall have at least."""
_INDENT = "  "


class Request(View):
    """One request."""

    place = "request"
    about = (
        "Why a request failed, and what it did: spans, statements, calls, and the changes in their places."
    )
    BINDINGS = bindings(place)

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id
        self.why: Document | None = None
        self.trace: Document | None = None

    @property
    def crumb(self) -> str:
        """`req:550e8400`."""
        return f"req:{self.request_id[:8]}"

    def panes(self) -> Iterable[Widget]:
        """Return why, the waterfall, the bodies."""
        why = Listing("Why", "The cause with its evidence. Enter on a change goes to its row.", id="why")
        why.add_class("left")
        yield why
        yield Listing(
            "Waterfall",
            "Every step with its time. Enter on a change (*) goes to its row, on a call to its exchange.",
            id="waterfall",
        )
        bodies = Listing("Bodies", "What was asked and answered: headers and bodies.", id="bodies")
        bodies.display = False  # until they are asked for
        yield bodies

    def load(self) -> None:
        """Ask why, then what it did, then for the bodies."""
        prefix = self.request_id
        self.ask(lambda ledger: ledger.why(prefix), self._show_why)
        self.ask(lambda ledger: ledger.trace(prefix), self._show_trace, name="trace")

        def recorded(ledger: Ledger) -> list[Document]:
            rows = ledger.request_rows(ledger.request(prefix))
            return list(rows.to_pylist(maps_as_pydicts="lossy"))

        self.ask(recorded, self._show_bodies, name="bodies")

    def _show_why(self, answer: Document) -> None:
        self.why = answer
        self.request_id = answer["request"]["request_id"]
        self.draw_top()
        self.query_one("#why", Listing).show(list(_why(answer, self.look)))

    def _show_trace(self, answer: Document) -> None:
        self.trace = answer
        self.query_one("#waterfall", Listing).show(
            list(waterfall(answer, self.look)) or [Line(Text("no span of it is recorded"))]
        )

    def _show_bodies(self, rows: Sequence[Mapping[str, Any]]) -> None:
        lines: list[Line] = []
        for row in rows:
            lines += body_lines("REQUEST", row["request"]) + body_lines("RESPONSE", row["response"])
        self.query_one("#bodies", Listing).show(lines or [Line(Text("nothing is recorded of it"))])

    def action_bodies(self) -> None:
        """Show the bodies, or hide them."""
        pane = self.query_one("#bodies", Listing)
        pane.display = not pane.display
        (pane if pane.display else self.query_one("#why", Listing)).focus()

    def subject(self) -> str:
        """Return its id."""
        return self.request_id

    def words(self) -> Sequence[str]:
        """Return `why` or `trace`, by the focused pane."""
        focused = self.focused
        return ["trace" if focused is not None and focused.id == "waterfall" else "why", self.request_id]

    def document(self) -> Any:
        """Return both answers."""
        return {
            "why": written(self.why),
            "trace": None if self.trace is None else written(trace_document(self.trace)),
        }

    def text(self) -> str:
        """Return what `flux why` prints, and the waterfall."""
        if self.why is None:
            return super().text()
        plain = replace(self.look, colour=False)
        return "".join(why_lines(self.why, plain)) + "\n" + self.query_one("#waterfall", Listing).plain()


def _why(answer: Document, look: Look) -> Iterator[Line]:
    """Yield the answer under its headings; a change and a previous value lead to their rows."""
    for part in request_line(answer["request"], names_of(answer), look).split("  "):
        yield ansi(part)
    similar = (answer["similar"] or {}).get("request_ids") or ()
    jumps: dict[str, list[Jump | None]] = {
        CHANGES_TITLE: [_row_of(one) for one in answer["changes"]],
        PREVIOUS_TITLE: [_row_of(one) for one in answer["previous"]],
        SIMILAR_TITLE: [ToRequest(one) for one in similar[:1]],
    }
    for title, lines in why_sections(answer, look):
        yield Line(Text())
        yield Line(Text(title, "bold"), mark=title)
        leading = jumps.get(title, [])
        for nth, line in enumerate(lines):
            yield ansi(_INDENT + line, leading[nth] if nth < len(leading) else None, (title, nth))


def _row_of(change: Mapping[str, Any]) -> Jump | None:
    if change["key"] is None:
        return None
    return ToRow(change["relation"], change["key"], change.get("source"), change.get("lsn"))


def waterfall(answer: Document, look: Look) -> Iterator[Line]:
    """Yield a request's steps, each with its bar in the time of the whole; what it changed below it."""
    from flux.ledger.spans import walk

    steps = list(walk(answer["tops"]))
    if not steps:
        return
    start = min(span.start for _, span in steps)
    whole_s = max((span.end - start).total_seconds() for _, span in steps) or 1e-6
    request_id = answer["request"]["request_id"]
    calls = sorted(
        (span for _, span in steps if span.is_sql or span.is_outbound), key=lambda span: span.start
    )
    places = {span.row["span_id"]: nth for nth, span in enumerate(calls)}
    for depth, span in steps:
        nth = places.get(span.row["span_id"])
        jump = None if nth is None else ToExchange(span.row["request_id"] or request_id, span, nth)
        yield Line(_step(span, depth, start, whole_s), jump, span.row["span_id"])
        failure = span.failure()
        if failure is not None and not any(child.has_failed for child in span.children):
            told = ": ".join(one for one in (failure.kind, (failure.message or "").partition("\n")[0]) if one)
            yield Line(Text(_INDENT * (depth + 1) + "! " + escape(told or "failed"), "red"), jump)
        for change in span.changes:
            yield _changed(change, depth + 1, look)
    for change in answer["unplaced"]:
        yield _changed(change, 1, look)
    if answer["skipped"]:
        yield Line(Text())
        sibling = answer["sibling"]
        yield Line(Text(f"skipped, which req:{escape(sibling[:8])} did:", "bold"), ToRequest(sibling))
        for one in answer["skipped"]:
            yield Line(Text(_INDENT * (one.depth + 1) + escape(one.span.label), "yellow"))


def _changed(change: Document, depth: int, look: Look) -> Line:
    place = ("change", change["relation"], change["key"], change["lsn"], change["seq"])
    return ansi(_INDENT * depth + "* " + change_text(change, look), _row_of(change), place)


def _step(span: Span, depth: int, start: datetime, whole_s: float) -> Draw:
    offset_s = (span.start - start).total_seconds()
    took_s = (span.row["duration_ms"] or 0.0) / 1000
    status = f" → {span.status}" if span.status else ""
    label = _INDENT * depth + escape(span.label + status)
    took = duration_text(span.row["duration_ms"]).rjust(8)
    style = "red" if span.has_failed else ""
    kind = "red" if span.has_failed else "green" if span.is_sql else "magenta" if span.is_outbound else "blue"

    def draw(width: int) -> Text:
        bar_width = max(BAR_WIDTH_MIN, width // 3)
        room = max(8, width - bar_width - len(took) - 3)
        text = Text(pad(label if cell_len(label) <= room else shorten(label, room), room), style, end="")
        text.append(f" {took} ", style or "dim")
        first = min(bar_width - 1, int(offset_s / whole_s * bar_width))
        long = max(1, min(bar_width - first, round(took_s / whole_s * bar_width)))
        return (
            text.append("·" * first, "dim")
            .append("█" * long, kind)
            .append("·" * (bar_width - first - long), "dim")
        )

    return draw
