"""What a moment means for one source: a bound for commits and one for attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from flux import sql
from flux.model.lsn import LSN_MAX
from flux.model.moment import Moment

AsOf = Moment | datetime | int | None
"""A moment, a time (aware), a log position; None: now."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Everything up to a moment."""

    lsn: int = LSN_MAX
    """The newest commit, baseline or schema change that belongs to it: a position, so that the cut is a state
    that was."""
    at_us: int | None = None
    """Attempts belong to it by their own clock; None: by position."""
    is_time: bool = False

    def has(self, place_lsn: int, at_us: int | None, *, is_committed: bool) -> bool:
        """Tell whether what lies there belongs to the moment."""
        if is_committed or self.at_us is None or at_us is None:
            return place_lsn <= self.lsn
        return at_us <= self.at_us


def resolve(lake: duckdb.DuckDBPyConnection, source: str, as_of: AsOf) -> Cut:
    """Return what `as_of` means in the log of `source`."""
    time = as_of.time if isinstance(as_of, Moment) else as_of
    if isinstance(as_of, Moment) and as_of.lsn is not None:
        return Cut(lsn=as_of.lsn)
    if isinstance(time, int):
        return Cut(lsn=time)
    if not isinstance(time, datetime):
        return Cut()
    at_us = microseconds(time)
    found = lake.execute(sql.text("ledger/reader/cut.sql"), {"source": source, "at_us": at_us}).fetchone()
    lsn = int(found[0]) if found is not None and found[0] is not None else 0
    return Cut(lsn=lsn, at_us=at_us, is_time=True)


def microseconds(time: datetime) -> int:
    """Return an aware time as microseconds since 1970-01-01 UTC."""
    since = time.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
