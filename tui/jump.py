"""Where a line leads to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flux.model.moment import Moment

if TYPE_CHECKING:
    from datetime import datetime

    from flux.ledger.spans import Span


@dataclass(frozen=True, slots=True)
class Cursor:
    """The time cursor: a moment of the past."""

    moment: Moment
    at: datetime | None = None
    """Its time, where it is known: what has no log position goes by it."""


@dataclass(frozen=True, slots=True)
class Window:
    """What all views look at: from `since`, if it has a beginning, to the time cursor."""

    since: datetime | None = None
    cursor: Cursor | None = None

    def moved(self, cursor: Cursor | None) -> Window:
        """Return it with another end; a beginning that is not before it is let go of."""
        at = cursor.at if cursor is not None else None
        is_before = at is not None and self.since is not None and at < self.since
        return Window(None if is_before else self.since, cursor)


@dataclass(frozen=True, slots=True)
class ToIncident:
    """To an incident, a row of `Ledger.incidents`."""

    incident: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToRequest:
    """To a request."""

    request_id: str


@dataclass(frozen=True, slots=True)
class ToExchange:
    """To what a span asked of another service, or of the database."""

    request_id: str
    span: Span
    nth: int
    """Place of the span among the request's exchanges, in their order."""


@dataclass(frozen=True, slots=True)
class ToTable:
    """To a table."""

    relation: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class ToRow:
    """To a row, with the cursor on one of its changes."""

    relation: str
    key: str
    source: str | None = None
    lsn: int | None = None


Jump = ToIncident | ToRequest | ToExchange | ToTable | ToRow
