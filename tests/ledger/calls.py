"""Requests, spans and exchanges as the intake hands them to a ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from flux.model.request import EXCHANGES, REQUESTS, SPANS

START = datetime(2026, 3, 10, 14, 0, tzinfo=UTC)


def rows_of(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    """Return a table; what a row does not say is null."""
    return pa.Table.from_pylist([{**dict.fromkeys(schema.names), **row} for row in rows], schema=schema)


def call(number: int, **words: Any) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return a request `r<number>` with two spans and an exchange, a second after the one before."""
    start = START + timedelta(seconds=number)
    request_id, trace_id = f"r{number}", f"{number:032x}"
    request = {
        "request_id": request_id,
        "trace_id": trace_id,
        "service": "shop",
        "method": "POST",
        "route": "/checkout",
        "path": "/checkout",
        "status": 200,
        "started_at": start,
        "duration_ms": 12.5,
        "request": {"headers": [("host", "shop")], "body": '{"it\'s": "é"}'},
        "response": {"headers": [], "body": None},
        "is_replay": False,
    }
    span = {
        "trace_id": trace_id,
        "span_id": f"{2 * number:016x}",
        "request_id": request_id,
        "service": "shop",
        "name": "POST /checkout",
        "kind": "server",
        "started_at": start,
        "duration_ms": 12.5,
        "status": "unset",
        "attributes": [("http.request.method", "POST")],
        "events": [{"name": "log", "at": start, "attributes": [("a", "b")]}],
    }
    child = {
        **span,
        "span_id": f"{2 * number + 1:016x}",
        "parent_id": span["span_id"],
        "name": "SELECT",
        "kind": "client",
        "events": [],
    }
    exchange = {
        "request_id": request_id,
        "seq": 0,
        "kind": "sql",
        "target": "shop",
        "fingerprint": "00ff",
        "occurrence": 0,
        "request": '{"statement":"select 1"}',
        "duration_ms": 1.0,
    }
    return (
        rows_of(REQUESTS, [request | words]),
        rows_of(SPANS, [span, child]),
        rows_of(EXCHANGES, [exchange]),
    )


def calls(numbers: range) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Return many requests at once."""
    requests, spans, exchanges = zip(*map(call, numbers), strict=True)
    return pa.concat_tables(requests), pa.concat_tables(spans), pa.concat_tables(exchanges)
