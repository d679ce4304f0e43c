"""The spans of a request as a tree, each with what it says of itself. Pure: no I/O.

Names are those of OpenTelemetry's semantic conventions, the stable ones first, the old ones after them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

_STATEMENT = ("db.query.text", "db.statement")
_METHOD = ("http.request.method", "http.method")
_URL = ("url.full", "http.url")
_STATUS = ("http.response.status_code", "http.status_code")
_SYSTEM = ("db.system.name", "db.system")
_ROWS = ("db.response.returned_rows",)
_SQLSTATE = ("db.response.status_code", "db.postgresql.sqlstate")
_NUMBERED = re.compile(r"(?<=/)(?:\d+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{16,})(?=/|$)")


@dataclass(frozen=True, slots=True)
class Failure:
    """What a span says went wrong."""

    kind: str | None
    """The type of the exception, or an error's code."""
    message: str | None
    stack: str | None
    sqlstate: str | None
    location: str | None


@dataclass(eq=False, slots=True)
class Span:
    """One span, with those that it called."""

    row: Mapping[str, Any]
    """A row of `spans`, maps as dicts."""
    children: list[Span] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    """What it wrote, as far as that can be told (`trace.placed`)."""

    @property
    def attributes(self) -> Mapping[str, str | None]:
        """Its attributes as texts."""
        return self.row["attributes"] or {}

    @property
    def name(self) -> str:
        """Its name, or `(no name)`."""
        return self.row["name"] or "(no name)"

    @property
    def start(self) -> datetime:
        """When it began."""
        start: datetime = self.row["started_at"]
        return start

    @property
    def end(self) -> datetime:
        """When it ended."""
        return self.start + timedelta(milliseconds=self.row["duration_ms"] or 0.0)

    @property
    def statement(self) -> str | None:
        """The SQL it ran; None if it ran none."""
        return _first(self.attributes, _STATEMENT)

    @property
    def is_sql(self) -> bool:
        """Whether it is a call of a database."""
        return self.row["kind"] == "client" and _first(self.attributes, (*_SYSTEM, *_STATEMENT)) is not None

    @property
    def is_outbound(self) -> bool:
        """Whether it is a call of another service by HTTP."""
        return (
            self.row["kind"] == "client" and not self.is_sql and _first(self.attributes, _METHOD) is not None
        )

    @property
    def status(self) -> str | None:
        """The status of an HTTP answer."""
        return _first(self.attributes, _STATUS)

    @property
    def row_count(self) -> int | None:
        """Rows that a statement returned or changed, if that is recorded."""
        count = _first(self.attributes, _ROWS)
        return int(count) if count is not None and count.isdigit() else None

    @property
    def has_failed(self) -> bool:
        """Whether it says that it failed."""
        return self.row["status"] == "error" or any(
            event["name"] == "exception" for event in self.row["events"] or ()
        )

    @property
    def label(self) -> str:
        """What it did, in one line: the statement, the method and URL, or its name."""
        if self.is_sql and self.statement:
            return " ".join(self.statement.split())
        if self.is_outbound:
            url = (_first(self.attributes, _URL) or "").partition("?")[0]
            return f"{_first(self.attributes, _METHOD)} {url}".rstrip() if url else self.name
        return self.name

    @property
    def likeness(self) -> str:
        """What a span of another request must share to be the same step: the label without its numbers."""
        return self.label if self.is_sql else _NUMBERED.sub("{n}", self.label)

    def failure(self) -> Failure | None:
        """Return what went wrong in it, from its last exception and attributes; None if nothing did."""
        if not self.has_failed:
            return None
        told: Mapping[str, str | None] = {}
        for event in self.row["events"] or ():
            if event["name"] == "exception":
                told = event["attributes"] or {}
        own = self.attributes
        status = f"{self.status}" if self.status and self.status >= "400" else None
        return Failure(
            kind=told.get("exception.type") or own.get("error.type") or status,
            message=told.get("exception.message") or own.get("error.message"),
            stack=told.get("exception.stacktrace"),
            sqlstate=_first(own, _SQLSTATE) if self.is_sql else None,
            location=own.get("flux.error.location"),
        )


def _first(attributes: Mapping[str, str | None], names: Sequence[str]) -> str | None:
    for name in names:
        value = attributes.get(name)
        if value is not None:
            return value
    return None


def tree(rows: Sequence[Mapping[str, Any]]) -> list[Span]:
    """Return the spans that no other of `rows` called, oldest first, each with its children.

    A span whose caller is missing stands at the top, and so does one that is its own caller.
    """
    spans: dict[str, Span] = {}
    for row in rows:
        spans.setdefault(row["span_id"], Span(row))
    tops = []
    for span in spans.values():
        caller = spans.get(span.row["parent_id"] or "")
        if caller is None or _calls(span, caller, spans):
            tops.append(span)
        else:
            caller.children.append(span)
    for span in spans.values():
        span.children.sort(key=lambda one: (one.start, one.row["span_id"]))
    return sorted(tops, key=lambda one: (one.start, one.row["span_id"]))


def _calls(span: Span, caller: Span, spans: Mapping[str, Span]) -> bool:
    """Tell whether `span` is among the callers of its own caller."""
    seen: set[str] = set()
    above: Span | None = caller
    while above is not None and above.row["span_id"] not in seen:
        if above is span:
            return True
        seen.add(above.row["span_id"])
        above = spans.get(above.row["parent_id"] or "")
    return above is not None


def walk(tops: Sequence[Span], depth: int = 0) -> Iterator[tuple[int, Span]]:
    """Yield every span with its depth, callers first."""
    waiting = [(depth, span) for span in reversed(tops)]
    while waiting:
        level, span = waiting.pop()
        yield level, span
        waiting += [(level + 1, child) for child in reversed(span.children)]


def cause(entry: Span) -> list[Span]:
    """Return the way from a span that failed to the deepest one that failed it, itself first.

    At each step it is the failed call that ended last, unless a later call of the same kind went well: then
    it was tried again, and the failure is the span's own.
    """
    way = [entry]
    while True:
        failed = [one for one in way[-1].children if _fails(one)]
        failed = [one for one in failed if not _was_repeated(one, way[-1].children)]
        if not failed:
            return way
        way.append(max(failed, key=lambda one: one.end))


def _fails(span: Span) -> bool:
    return span.has_failed or bool(span.is_outbound and span.status and span.status >= "500")


def _was_repeated(span: Span, siblings: Sequence[Span]) -> bool:
    return any(
        other.likeness == span.likeness and other.start >= span.end and not _fails(other)
        for other in siblings
    )
