"""Questions about requests: which there were, one whole, and those that failed together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from flux import sql
from flux.ledger.engine import literals
from flux.ledger.predicate import compiled, expression
from flux.model.errors import UsageError
from flux.model.filter import Filter, parse_filter

QUIET_S = 300.0
"""Failures of one kind with less than so many seconds between them are one incident."""
_ALL = 1 << 62


def _text(name: str, **words: str) -> str:
    return sql.text(f"ledger/requests/{name}.sql").format(failed=expression("failed"), **words)


def listed(
    lake: duckdb.DuckDBPyConnection,
    where: Filter | str | None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
    source: str = "requests",
) -> pa.Table:
    """Return the newest `limit` requests that fit, newest first; `source` is what is read as `requests`."""
    predicate = "true"
    values: dict[str, Any] = {}
    if where is not None:
        tree = parse_filter(where) if isinstance(where, str) else where
        predicate, values = compiled(tree, expression("failed"))
    words: dict[str, Any] = {"since": since, "until": until, "limit": limit or _ALL, **values}
    try:
        if limit:
            text = _text("newest", requests=source, filter=predicate)
            (found,) = lake.execute(text, words).fetchall()
            words["since"] = found[0] or since
        return lake.execute(_text("listed", requests=source, filter=predicate), words).to_arrow_table()
    except duckdb.InvalidInputException as error:  # a regular expression that Python takes and RE2 does not
        raise UsageError("the filter cannot be answered", why=str(error).splitlines()[0]) from error


def arrived(files: Sequence[tuple[str, int | None]], version: int) -> str:
    """Return what to read for the rows that came into `files` after a version of the catalog.

    `files` are paths, each with the last version of the rows of a merged file, None for others.
    """
    whole = [path for path, last in files if last is None]
    merged = [path for path, last in files if last is not None]
    parts = []
    if whole:
        parts.append(_text("arrived", files=literals(whole)))
    if merged:
        parts.append(_text("arrived_merged", files=literals(merged), version=str(version)))
    return "(" + " union all by name ".join(parts) + ")"


def whole(lake: duckdb.DuckDBPyConnection, request_id: str) -> pa.Table:
    """Return a request with all that is recorded of it: one row a service that took part, none if none is."""
    return lake.execute(_text("whole"), {"request_id": request_id}).to_arrow_table()


def changes(lake: duckdb.DuckDBPyConnection, request_ids: Sequence[str]) -> pa.Table:
    """Return what requests changed, or tried to: request by request, in the order of the log."""
    return lake.execute(_text("changes"), {"request_ids": list(request_ids)}).to_arrow_table()


def rows(lake: duckdb.DuckDBPyConnection, request_ids: Sequence[str], limit: int | None) -> pa.Table:
    """Return the rows that requests changed, or tried to, with how often."""
    words = {"request_ids": list(request_ids), "limit": limit or _ALL}
    return lake.execute(_text("rows"), words).to_arrow_table()


def spans(lake: duckdb.DuckDBPyConnection, request_id: str, trace_id: str | None) -> pa.Table:
    """Return the spans of a request and of its trace, oldest first."""
    words = {"request_id": request_id}
    if trace_id is None:
        return lake.execute(_text("spans"), words).to_arrow_table()
    return lake.execute(_text("spans_of_trace"), words | {"trace_id": trace_id}).to_arrow_table()


def exchanges(lake: duckdb.DuckDBPyConnection, request_id: str) -> pa.Table:
    """Return what a request asked of others, in its order."""
    return lake.execute(_text("exchanges"), {"request_id": request_id}).to_arrow_table()


def alike(lake: duckdb.DuckDBPyConnection, request: dict[str, Any]) -> pa.Table:
    """Return the other requests that failed as this one did, newest first."""
    names = ("service", "method", "route", "error_type", "error_location", "request_id")
    return lake.execute(_text("alike"), {name: request[name] for name in names}).to_arrow_table()


def sibling(lake: duckdb.DuckDBPyConnection, request: dict[str, Any]) -> str | None:
    """Return the request of the same route nearest in time that went well; None if there is none."""
    words = {name: request[name] for name in ("service", "method", "route", "request_id")}
    row = lake.execute(_text("sibling"), words | {"at": request["started_at"]}).fetchone()
    return None if row is None else str(row[0])


def incidents(
    lake: duckdb.DuckDBPyConnection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    quiet_s: float = QUIET_S,
    now: datetime | None = None,
) -> pa.Table:
    """Return the incidents that touch a window, newest first: `sql/ledger/requests/incidents.sql`."""
    words = {"since": since, "until": until, "gap_s": quiet_s, "now": now or datetime.now(UTC)}
    return lake.execute(_text("incidents"), words).to_arrow_table()


def activity(
    lake: duckdb.DuckDBPyConnection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    buckets: int,
) -> pa.Table:
    """Return how many requests there were, and failed, per part of a window."""
    words = {"since": since, "until": until, "buckets": buckets}
    return lake.execute(_text("activity"), words).to_arrow_table()


def window(request: dict[str, Any]) -> tuple[datetime, datetime]:
    """Return when a request began and ended."""
    start: datetime = request["started_at"]
    return start, start + timedelta(milliseconds=request["duration_ms"] or 0.0)


def titles(lake: duckdb.DuckDBPyConnection, request_ids: Sequence[str]) -> dict[str, str]:
    """Return `POST /checkout → 500` for those of the requests that are recorded."""
    found = lake.execute(_text("touching"), {"request_ids": list(request_ids)}).fetchall()
    return {row[0]: title(*row[1:]) for row in found}


def title(method: str | None, route: str | None, path: str | None, status: int | None) -> str:
    """Return what a request was, in a few words."""
    asked = " ".join(part for part in (method, path or route) if part) or "(unnamed)"
    return f"{asked} → {status}" if status is not None else asked
