"""What a request asks of the world: SQL statements and outbound HTTP calls, each a span.

An exchange has an ordinal in its request (`seq`, from its beginning), a fingerprint of what was asked, and an
occurrence, so that a later run of the same request can find each answer again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from datetime import time as time_of_day
from typing import Any

from opentelemetry.trace import SpanKind

from flux.recorder import failure
from flux.recorder.ambient import Request, current
from flux.recorder.fault import count, failing_open
from flux.recorder.life import Recorder, active
from flux.recorder.settings import (
    EXCHANGES_MAX,
    PARAMETER_CHARS_MAX,
    PARAMETERS_MAX,
    STATEMENT_CHARS_MAX,
)


@dataclass(slots=True)
class Exchange:
    """One that has begun."""

    request: Request
    """Whose it is."""
    recorder: Recorder
    """Who records it."""
    seq: int
    """Its ordinal."""
    started_ns: int
    """Wall clock."""


def begin(request: Request | None = None) -> Exchange | None:
    """Begin an exchange of the request in force; None outside one, and beyond the bound of one request."""
    request = request or current()
    recorder = active()
    if request is None or recorder is None or (not request.span.is_recording() and request.ended_s is None):
        return None
    seq, request.exchanges = request.exchanges, request.exchanges + 1
    if seq >= EXCHANGES_MAX:
        count("exchanges_left_out")
        return None
    return Exchange(request, recorder, seq, time.time_ns())


def fingerprint_of(text: str) -> str:
    """Return 16 hex digits of the text's SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def finish_sql(
    exchange: Exchange | None,
    statement: str,
    parameters: Any,
    *,
    database: str,
    rows: int | None = None,
    batch: int | None = None,
    error: BaseException | None = None,
) -> None:
    """Record a statement that is over.

    `parameters` is a sequence or a mapping as the driver was given it, for a batch (of `batch` sets) the
    first one.
    """
    if exchange is None:
        return
    with failing_open("a statement's span"):
        attributes: dict[str, Any] = {"db.system.name": "postgresql", "db.namespace": database}
        attributes["db.query.text"] = cut(statement, STATEMENT_CHARS_MAX)
        if exchange.recorder.settings.parameters and parameters:
            _add_parameters(attributes, parameters)
        if rows is not None and rows >= 0:
            attributes["db.response.returned_rows"] = rows
        if batch is not None:
            attributes["db.operation.batch.size"] = batch
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if state:
            attributes["db.response.status_code"] = state
        verb = statement.lstrip()[:20].split(None, 1)[:1]
        name = f"{verb[0].upper()} {database}" if verb else database
        finish(exchange, "sql", name, database, fingerprint_of(statement), attributes, error)


def finish(
    exchange: Exchange,
    kind: str,
    name: str,
    target: str,
    fingerprint: str,
    attributes: dict[str, Any],
    error: BaseException | None = None,
) -> None:
    """Make the span of an exchange that is over."""
    request = exchange.request
    attributes["flux.request_id"] = request.request_id
    attributes["flux.exchange.seq"] = exchange.seq
    attributes["flux.exchange.occurrence"] = request.next_occurrence(kind, target, fingerprint)
    attributes["flux.exchange.fingerprint"] = fingerprint
    span = exchange.recorder.tracer.start_span(
        name,
        context=request.context,
        kind=SpanKind.CLIENT,
        attributes=attributes,
        start_time=exchange.started_ns,
    )
    if error is not None:
        failure.record(span, error)
    span.end()


def cut(text: str, chars_max: int) -> str:
    """Return the text within the bound, with a note when it was cut."""
    if len(text) <= chars_max:
        return text
    return f"{text[:chars_max]}\n[flux: cut, {chars_max:,} of {len(text):,} characters]"


def _add_parameters(attributes: dict[str, Any], parameters: Any) -> None:
    """Add `db.query.parameter.…`, and the names of those that are NULL."""
    named: Sequence[tuple[Any, Any]]
    if isinstance(parameters, Mapping):
        named = [(name, parameters[name]) for name in list(parameters)[:PARAMETERS_MAX]]
    elif isinstance(parameters, Sequence) and not isinstance(parameters, str | bytes):
        named = list(enumerate(parameters[:PARAMETERS_MAX]))
    else:
        return
    nulls = []
    for name, value in named:
        if value is None:
            nulls.append(str(name))
        else:
            attributes[f"db.query.parameter.{name}"] = cut(_text_of(value), PARAMETER_CHARS_MAX)
    if nulls:
        attributes["flux.db.null_parameters"] = nulls
    if len(parameters) > PARAMETERS_MAX:
        attributes["flux.db.parameters"] = len(parameters)


def _text_of(value: Any) -> str:
    """Return a parameter's value as text, much as PostgreSQL would print it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes | bytearray | memoryview):
        return "\\x" + bytes(value[:PARAMETER_CHARS_MAX]).hex()
    if isinstance(value, datetime | date | time_of_day):
        return value.isoformat()
    # The wrappers of JSON: psycopg's `obj`, psycopg2's `adapted`.
    value = getattr(value, "obj", getattr(value, "adapted", value))
    if isinstance(value, dict | list | tuple):
        if len(value) > PARAMETERS_MAX:
            return f"[flux: {len(value):,} elements]"
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)
