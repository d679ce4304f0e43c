"""Exchange: what a step asked of another service or of the database, and what came back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from rich.text import Text
from textual.widget import Widget

from flux.cli.console import escape
from flux.cli.tail import duration_text
from flux.tui.actions import bindings
from flux.tui.body import body_lines, text_lines
from flux.tui.jump import ToExchange
from flux.tui.listing import Line, Listing
from flux.tui.view import View

if TYPE_CHECKING:
    from flux.ledger import Ledger

Document = dict[str, Any]


class Exchange(View):
    """One exchange with its span."""

    place = "exchange"
    about = "What a step asked of another service, or of the database, and what came back."
    BINDINGS = bindings(place)

    def __init__(self, jump: ToExchange) -> None:
        super().__init__(jump)
        self.jump = jump
        self.exchange: Document | None = None

    @property
    def crumb(self) -> str:
        """What was asked, shortened."""
        return self.jump.span.label[:40]

    def panes(self) -> Iterable[Widget]:
        """Return the one pane."""
        yield Listing("Exchange", "What was asked, what came back, and the span it is from.", id="exchange")

    def load(self) -> None:
        """Ask for the exchanges of the request; it is the one at the place of the span."""

        def asked(ledger: Ledger) -> list[Document]:
            return list(ledger.exchanges_of(self.jump.request_id).to_pylist())

        self.ask(asked, self._show)

    def _show(self, found: list[Document]) -> None:
        self.exchange = _matching(found, self.jump)
        self.query_one("#exchange", Listing).show(self._lines())

    def _lines(self) -> list[Line]:
        span = self.jump.span
        failed = span.has_failed
        head = Text(escape(span.label), "bold red" if failed else "bold")
        lines = [
            Line(head),
            Line(Text(f"took {duration_text(span.row['duration_ms'])}", "dim")),
            Line(Text()),
        ]
        if self.exchange is None:
            lines.append(Line(Text("no exchange of it is recorded: this is its span", "yellow")))
        else:
            for name in ("request", "response", "error"):
                lines += _part(name.upper(), self.exchange[name])
        lines.append(Line(Text(f"SPAN {span.row['span_id']}", "bold")))
        for name, value in sorted(span.attributes.items()):
            first, *others = text_lines(value if value is not None else "null") or [""]
            lines.append(Line(Text(f"  {escape(name)}: ", "cyan").append(first, "default")))
            lines += [Line(Text(f"    {other}")) for other in others]
        failure = span.failure()
        if failure is not None and failure.stack:
            lines += [Line(Text()), Line(Text("STACK", "bold"))]
            lines += [Line(Text(f"  {line}")) for line in text_lines(failure.stack)]
        return lines

    def words(self) -> Sequence[str]:
        """Return the question that shows exchanges."""
        quoted = self.jump.request_id.replace("'", "''")
        return ["sql", f"from exchanges where request_id = '{quoted}' order by seq"]

    def document(self) -> Any:
        """Return the exchange and the span."""
        return {"exchange": self.exchange, "span": dict(self.jump.span.row)}


def _matching(found: Sequence[Document], jump: ToExchange) -> Document | None:
    """Return the exchange of a span: of its kind, as long as it took, at its place among equals."""
    kind = "sql" if jump.span.is_sql else "http"
    took = jump.span.row["duration_ms"]
    ordered = sorted(found, key=lambda one: one["seq"] or 0)
    fitting = [nth for nth, one in enumerate(ordered) if one["kind"] == kind and one["duration_ms"] == took]
    return ordered[min(fitting, key=lambda nth: abs(nth - jump.nth))] if fitting else None


def _part(title: str, text: str | None) -> list[Line]:
    if text is None:
        return []
    try:
        part = orjson.loads(text)
    except orjson.JSONDecodeError:
        part = text
    if isinstance(part, Mapping) and ("headers" in part or "body" in part):
        others = {name: value for name, value in part.items() if name not in {"headers", "body"}}
        lines = body_lines(title, part) or [Line(Text(title, "bold"))]
        more = [
            Line(Text(f"  {escape(name)}: ", "cyan").append(escape(str(value)), "default"))
            for name, value in others.items()
        ]
        return [lines[0], *more, *lines[1:]]
    return [Line(Text(title, "bold")), *(Line(Text(f"  {line}")) for line in text_lines(part)), Line(Text())]
