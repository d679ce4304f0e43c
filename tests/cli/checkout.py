"""A ledger made by hand, with requests of every kind that the command line shows."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from cli.shop import EVIL
from flux.ledger import create_ledger, sources
from flux.ledger.writer import Writer
from flux.model.request import EXCHANGES, REQUESTS, SPANS
from ledger.calls import rows_of
from ledger.log import EPOCH, Log, Row, insert, relation, update

USERS = relation(columns=("id", "email", "plan"))
ORDERS = relation("public.orders", ("id", "user_id", "status"), oid=16500)

UPGRADE = "4f9a3b2c-52c8-4bb0-9fd1-9a1c7b1f0002"
GOOD = "c0ffee00-52c8-4bb0-9fd1-9a1c7b1f0003"
FAILED = "550e8400-e29b-41d4-a716-446655440000"
FAILED_AGAIN = "550e8499-e29b-41d4-a716-446655440000"
NO_EMAIL = "deadbeef-52c8-4bb0-9fd1-9a1c7b1f0004"
FOREIGN = "4bf92f3577b34da6a3ce929d0e0e4736"
STRANGE = "e11e11e1-52c8-4bb0-9fd1-9a1c7b1f0005"
JOB = "0b0b0b0b-52c8-4bb0-9fd1-9a1c7b1f0006"
UNRECORDED = "00aa00aa-52c8-4bb0-9fd1-9a1c7b1f0007"

STACK = """Traceback (most recent call last):
  File "/srv/shop/payments.py", line 31, in charge
    answer = client.post("/charges", json=order, timeout=2.0)
httpx.ReadTimeout: timed out

The above exception was the direct cause of the following exception:

shop.errors.PaymentTimeout: payment service did not answer within 2 s
"""


class Recorder:
    """Requests as an application would send them."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.spans: list[dict[str, Any]] = []
        self._count = 0

    def request(self, request_id: str, at: datetime, took_ms: float, **words: Any) -> dict[str, Any]:
        """Add a request and its own span; returns the span."""
        trace_id = request_id.replace("-", "")[:32]
        row: dict[str, Any] = {
            "request_id": request_id,
            "trace_id": trace_id,
            "service": "shop",
            "method": "POST",
            "started_at": at,
            "duration_ms": took_ms,
            "code_version": "1f24e17c0ffee1f24e17c0ffee1f24e17c0ffee0",
            "is_replay": False,
        }
        row.update(words)
        self.requests.append(row)
        failed = (row.get("status") or 0) >= 500 or row.get("error_type")
        name = " ".join(part for part in (row["method"], row["route"]) if part)
        span = self._span(row, None, name, "server" if row["method"] else "consumer", at, took_ms)
        if row.get("error_type"):
            span["events"] = [_exception(row["error_type"], row["error_message"], row.get("error_stack"), at)]
        if row.get("status"):
            span["attributes"].append(("http.response.status_code", str(row["status"])))
        span["status"] = "error" if failed else "unset"
        return span

    def sql(
        self,
        parent: dict[str, Any],
        offset_ms: float,
        took_ms: float,
        text: str,
        *parameters: str | None,
        rows: int = 1,
    ) -> dict[str, Any]:
        """Add a statement."""
        span = self._child(parent, text.split(maxsplit=1)[0].upper(), offset_ms, took_ms)
        span["attributes"] = [("db.system.name", "postgresql"), ("db.query.text", text)]
        span["attributes"] += [
            (f"db.query.parameter.{number}", value)
            for number, value in enumerate(parameters)
            if value is not None
        ]
        nulls = [number for number, value in enumerate(parameters) if value is None]
        if nulls:
            span["attributes"].append(("flux.db.null_parameters", str(nulls)))
        span["attributes"].append(("db.response.returned_rows", str(rows)))
        return span

    def call(
        self, parent: dict[str, Any], offset_ms: float, took_ms: float, status: int | None
    ) -> dict[str, Any]:
        """Add a call of the payment service."""
        span = self._child(parent, "POST", offset_ms, took_ms)
        span["attributes"] = [
            ("http.request.method", "POST"),
            ("url.full", "http://127.0.0.1:9100/charges?token=%5Bmasked%5D"),
        ]
        if status is not None:
            span["attributes"].append(("http.response.status_code", str(status)))
        return span

    def tables(self) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Return what the intake would record."""
        return rows_of(REQUESTS, self.requests), rows_of(SPANS, self.spans), rows_of(EXCHANGES, [])

    def _child(self, parent: dict[str, Any], name: str, offset_ms: float, took_ms: float) -> dict[str, Any]:
        at = parent["started_at"] + timedelta(milliseconds=offset_ms)
        return self._span(parent, parent["span_id"], name, "client", at, took_ms)

    def _span(
        self, of: dict[str, Any], parent_id: str | None, name: str, kind: str, at: datetime, took_ms: float
    ) -> dict[str, Any]:
        self._count += 1
        span = {
            "trace_id": of["trace_id"],
            "span_id": f"{self._count:016x}",
            "parent_id": parent_id,
            "request_id": of["request_id"],
            "service": of["service"],
            "name": name,
            "kind": kind,
            "started_at": at,
            "duration_ms": took_ms,
            "status": "unset",
            "attributes": [],
            "events": [],
        }
        self.spans.append(span)
        return span


def fail(span: dict[str, Any], kind: str, message: str, **attributes: str) -> None:
    """Let a span have failed."""
    span["status"] = "error"
    span["attributes"] += [("error.type", kind), *attributes.items()]
    span["events"] = [_exception(kind, message, None, span["started_at"])]


def _exception(kind: str, message: str, stack: str | None, at: datetime) -> dict[str, Any]:
    told = [("exception.type", kind), ("exception.message", message)]
    if stack:
        told.append(("exception.stacktrace", stack))
    return {"name": "exception", "at": at, "attributes": told}


def clock(text: str) -> datetime:
    """Return a time of the day."""
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return EPOCH.replace(hour=hours, minute=minutes, second=seconds)


def _to(log: Log, at: datetime) -> None:
    """Let the next transaction be at this time."""
    log.clock = int((at - EPOCH).total_seconds()) - 60


def make(path: Path) -> Path:
    """Make the ledger; times are of 2026-03-10."""
    log, recorder = Log(), Recorder()
    log.shape(USERS)
    log.shape(ORDERS)
    user: Row = {"id": "42", "email": "a@b.com", "plan": "free"}
    _to(log, clock("12:00:00"))
    log.transaction(insert(USERS, "42", user), request="seed")
    user = user | {"plan": "pro"}
    _to(log, clock("14:20:00"))
    log.transaction(update(USERS, "42", user), request=UPGRADE)
    span = recorder.request(UPGRADE, clock("14:20:00"), 8.0, route="/upgrade", path="/upgrade", status=200)
    recorder.sql(span, 1, 2, "update users set plan = %s where id = %s", "pro", "42")
    _checkout(log, recorder, GOOD, "14:21:00", "7")
    _checkout(log, recorder, FAILED, "14:22:01", "8", user)
    _checkout(log, recorder, FAILED_AGAIN, "14:23:30", "9", user)
    _no_email(recorder)
    _others(log, recorder)
    create_ledger(path)
    with Writer.open(path, source="shop") as writer:
        log.store(writer)
        writer.record(*recorder.tables())
    sources.write(path, sources.Source("shop", "pgoutput", "flux_shop", "shop", "localhost"))
    return path


def _checkout(
    log: Log, recorder: Recorder, request_id: str, at: str, order: str, user: Row | None = None
) -> None:
    """A checkout; with `user` it fails while it waits for the payment."""
    start = clock(at)
    failed = user is not None
    words: dict[str, Any] = {
        "route": "/checkout/{user}",
        "path": "/checkout/42",
        "status": 500 if failed else 200,
    }
    if failed:
        words |= {
            "error_type": "shop.errors.PaymentTimeout",
            "error_message": "payment service did not answer within 2 s",
            "error_location": "shop/payments.py:31, charge",
            "error_stack": STACK,
        }
    span = recorder.request(request_id, start, 2_110.0 if failed else 60.0, **words)
    recorder.sql(span, 2, 1.5, "select * from users where id = %s", "42")
    recorder.sql(
        span, 5, 3000, "insert into orders (id, user_id, status) values (%s, %s, %s)", order, "42", "new"
    )
    made: Row = {"id": order, "user_id": "42", "status": "new"}
    _to(log, start + timedelta(seconds=1))
    if failed and user is not None:
        recorder.sql(span, 9, 3000, "update users set plan = %s where id = %s", None, "42")
        call = recorder.call(span, 60, 2_000.0, None)
        fail(call, "httpx.ReadTimeout", "timed out")
        _to(log, start)
        log.rolled_back(
            insert(ORDERS, order, made),
            update(USERS, "42", user | {"plan": None}, before=user),
            request=request_id,
        )
        for change in log.changes[-2:]:
            change["at"] = start + timedelta(milliseconds=50)
        return
    recorder.call(span, 20, 25.0, 201)
    recorder.sql(span, 50, 2, "update orders set status = %s where id = %s", "paid", order)
    log.transaction(
        insert(ORDERS, order, made), update(ORDERS, order, made | {"status": "paid"}), request=request_id
    )


def _no_email(recorder: Recorder) -> None:
    """A statement that failed: triggers saw nothing of it."""
    start = clock("14:40:00")
    message = 'null value in column "email" of relation "users" violates not-null constraint'
    span = recorder.request(
        NO_EMAIL,
        start,
        12.0,
        route="/users/{id}",
        path="/users/42",
        method="PUT",
        status=500,
        error_type="psycopg.errors.NotNullViolation",
        error_message=message,
        error_location="shop/users.py:12, rename",
    )
    text = "update public.users set email = %(email)s where id = %(id)s"
    sql = recorder.sql(span, 3, 2, text, rows=0)
    sql["attributes"] += [("db.query.parameter.id", "42"), ("flux.db.null_parameters", '["email"]')]
    fail(sql, "psycopg.errors.NotNullViolation", message, **{"db.response.status_code": "23502"})


def _others(log: Log, recorder: Recorder) -> None:
    recorder.request(
        FOREIGN,
        clock("14:41:00"),
        3.0,
        service="node",
        method="GET",
        route="/items",
        path="/items",
        status=404,
        code_version=None,
    )
    recorder.request(STRANGE, clock("14:42:00"), 3.0, method="GET", route=EVIL, path=EVIL, status=200)
    recorder.request(
        JOB,
        clock("15:00:00"),
        900.0,
        method=None,
        route="nightly",
        error_type="KeyError",
        error_message="'rate'",
    )
    _to(log, clock("15:10:00"))
    row: Row = {"id": "43", "email": "c@d.com", "plan": "free"}
    log.transaction(insert(USERS, "43", row), request=UNRECORDED)
