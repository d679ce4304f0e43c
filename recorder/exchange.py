"""What a request asks of the world: SQL statements and outbound HTTP calls, each a span.

An exchange has an ordinal in its request (`seq`, from its beginning), a fingerprint of what was asked, and an
occurrence, so that a later run of the same request can find each answer again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

from flux.recorder import failure, otlp
from flux.recorder.ambient import Request, current
from flux.recorder.fault import count
from flux.recorder.life import Recorder, active
from flux.recorder.record import CLIENT, Record
from flux.recorder.settings import (
    EXCHANGES_MAX,
    PARAMETER_CHARS_MAX,
    PARAMETERS_MAX,
    STATEMENT_CHARS_MAX,
)
from flux.recorder.statement import KNOWN, KNOWN_CHARS_MAX


class Exchange:
    """One that has begun."""

    __slots__ = ("recorder", "request", "seq", "started_ns")

    def __init__(self, request: Request, recorder: Recorder, seq: int) -> None:
        self.request = request
        """Whose it is."""
        self.recorder = recorder
        """Who records it."""
        self.seq = seq
        """Its ordinal."""
        self.started_ns = time.time_ns()
        """Wall clock."""

    def open(self, name: str) -> Record | None:
        """Return its span, begun; None when no spans are made."""
        entry = self.request.record
        return Record(name, CLIENT, entry.trace_id, entry.span_id, self.started_ns) if entry else None


def begin(request: Request | None = None) -> Exchange | None:
    """Begin an exchange of the request in force; None outside one, and beyond the bound of one request."""
    request = request or current()
    recorder = active()
    if request is None or recorder is None or request.record is None:
        return None
    seq = request.exchanges
    request.exchanges = seq + 1
    if seq >= EXCHANGES_MAX:
        count("exchanges_left_out")
        return None
    return Exchange(request, recorder, seq)


def fingerprint_of(text: str) -> str:
    """Return 16 hex digits of the text's SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class _Said:
    """What is said of a statement that is over: made into attributes in the exporter's thread."""

    __slots__ = ("database", "occurrence", "parameters", "request_id", "rows", "seq", "statement")

    statement: str
    database: str
    request_id: str
    seq: int
    occurrence: int
    rows: int | None
    parameters: list[tuple[Any, Any]]

    def __call__(self, _record: Record) -> Iterable[bytes]:
        """Return the encoded attributes."""
        _, _, always = _known(self.statement, self.database)
        yield always
        yield otlp.attribute("flux.request_id", self.request_id)
        yield _number("flux.exchange.seq", self.seq)
        yield _number("flux.exchange.occurrence", self.occurrence)
        if self.rows is not None and self.rows >= 0:
            yield _number("db.response.returned_rows", self.rows)
        nulls = []
        for name, value in self.parameters:
            if value is None:
                nulls.append(str(name))
            else:
                yield otlp.attribute(f"db.query.parameter.{name}", cut(_text_of(value), PARAMETER_CHARS_MAX))
        if nulls:
            yield otlp.attribute("flux.db.null_parameters", nulls)


def _known(statement: str, database: str) -> tuple[str, str, bytes]:
    return _cached(statement, database) if len(statement) <= KNOWN_CHARS_MAX else _say(statement, database)


def _say(statement: str, database: str) -> tuple[str, str, bytes]:
    """Return a span's name, the fingerprint, and the encoded attributes that are always the statement's."""
    verb = statement.lstrip()[:20].split(None, 1)[:1]
    name = f"{verb[0].upper()} {database}" if verb else database
    fingerprint = fingerprint_of(statement)
    always = {
        "db.system.name": "postgresql",
        "db.namespace": database,
        "db.query.text": cut(statement, STATEMENT_CHARS_MAX),
        "flux.exchange.fingerprint": fingerprint,
    }
    return name, fingerprint, b"".join(otlp.attributes(always))


_cached = lru_cache(maxsize=KNOWN)(_say)


@lru_cache(maxsize=otlp.CACHED)
def _number(name: str, value: int) -> bytes:
    return otlp.attribute(name, value)


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
    request = exchange.request
    name, fingerprint, _ = _known(statement, database)
    record = exchange.open(name)
    if record is None:
        return
    said = _Said()
    said.statement = statement
    said.database = database
    said.request_id = request.request_id
    said.seq = exchange.seq
    said.occurrence = request.next_occurrence("sql", database, fingerprint)
    said.rows = rows
    said.parameters = []
    if parameters and exchange.recorder.settings.parameters:
        said.parameters = _kept(parameters)
        record.size += sum([len(value) for _, value in said.parameters if isinstance(value, str | bytes)])
        if len(parameters) > PARAMETERS_MAX:
            record.set("flux.db.parameters", len(parameters))
    if batch is not None:
        record.set("db.operation.batch.size", batch)
    if error is not None:
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if state:
            record.set("db.response.status_code", state)
        failure.note(record, error)
    record.late = said
    record.end()
    exchange.recorder.waiting.put(record)


def cut(text: str, chars_max: int) -> str:
    """Return the text within the bound, with a note when it was cut."""
    if len(text) <= chars_max:
        return text
    return f"{text[:chars_max]}\n[flux: cut, {chars_max:,} of {len(text):,} characters]"


_UNCHANGING = frozenset({int, float, bool, type(None), Decimal, UUID, date, datetime, time_of_day})
"""Types whose values may be looked at later: small, and nobody can change them meanwhile."""


def _kept(parameters: Any) -> list[tuple[Any, Any]]:
    """Return names and values of parameters; what is large or could change is text already."""
    named: Iterable[tuple[Any, Any]]
    if isinstance(parameters, list | tuple):
        named = enumerate(parameters[:PARAMETERS_MAX])
    elif isinstance(parameters, Mapping):
        named = [(name, parameters[name]) for name in list(parameters)[:PARAMETERS_MAX]]
    elif isinstance(parameters, Sequence) and not isinstance(parameters, str | bytes):
        named = enumerate(parameters[:PARAMETERS_MAX])
    else:
        return []
    kept = []
    for name, value in named:
        kind = type(value)
        if kind in _UNCHANGING or (kind is str and len(value) <= PARAMETER_CHARS_MAX):
            kept.append((name, value))
        else:
            kept.append((name, cut(_text_of(value), PARAMETER_CHARS_MAX)))
    return kept


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
