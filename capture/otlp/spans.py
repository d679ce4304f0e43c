"""Spans of OTLP as rows of `SPANS`, `REQUESTS` and `EXCHANGES`.

Every span is a row of `SPANS`. A SERVER or CONSUMER span is a request as well, a CLIENT span of HTTP or
a database an exchange. Spans that the specification calls invalid (an id of zeros or of another length,
no start) are left out and counted. One Python object a span: a few thousand a second is what comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from flux.capture.otlp.attribute import Attributes, attributes_of
from flux.capture.otlp.convention import exchange_of, failure_of, request_of
from flux.capture.otlp.stack import location
from flux.model.request import EXCHANGES, REQUESTS, SPANS

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
REQUEST_ID_CHARACTERS_MAX = 1024
"""As much as a tag in the database holds (sql/postgres/020_tag.sql)."""

_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_STATUSES = {1: "ok", 2: "error"}
_ENTRY = {"server", "consumer"}


@dataclass(frozen=True, slots=True)
class Mapped:
    """The spans of one export, n of them, as columns."""

    spans: pa.Table
    """[n] Rows of `SPANS`."""
    identity: list[bytes]
    """[n] Trace id and span id, 24 bytes."""
    ended_us: npt.NDArray[np.int64]
    """[n] Microseconds since 1970; the start where the end is not known."""
    requests: pa.Table
    request_span: npt.NDArray[np.int64]
    """The span that each row of `requests` is of."""
    exchanges: pa.Table
    """`seq` is always there; `occurrence` is null where the sender did not count."""
    exchange_span: npt.NDArray[np.int64]
    refused: Counter[str] = field(default_factory=Counter)
    """Spans left out, by reason."""

    def kept(self, which: npt.NDArray[np.bool_]) -> Mapped:
        """Return only these spans, with what is made of them."""
        if which.all():
            return self
        place = np.cumsum(which) - 1
        of_request, of_exchange = which[self.request_span], which[self.exchange_span]
        return Mapped(
            self.spans.filter(pa.array(which)),
            [each for each, is_kept in zip(self.identity, which.tolist(), strict=True) if is_kept],
            self.ended_us[which],
            self.requests.filter(pa.array(of_request)),
            place[self.request_span[of_request]],
            self.exchanges.filter(pa.array(of_exchange)),
            place[self.exchange_span[of_exchange]],
            self.refused,
        )


def mapped(export: ExportTraceServiceRequest) -> Mapped:
    """Return what an export holds, as columns."""
    spans, requests, exchanges = _Rows(SPANS), _Rows(REQUESTS), _Rows(EXCHANGES)
    identity: list[bytes] = []
    ended_us: list[int] = []
    request_span: list[int] = []
    exchange_span: list[int] = []
    refused: Counter[str] = Counter()
    for resource, each in _each_span(export):
        fault = _fault(each)
        if fault is not None:
            refused[fault] += 1
            continue
        seen = _Seen.of(each, resource)
        if seen.kind in _ENTRY:
            requests.add(_request(seen))
            request_span.append(len(identity))
        elif seen.kind == "client" and (exchange := _exchange(seen)) is not None:
            exchanges.add(exchange)
            exchange_span.append(len(identity))
        spans.add(seen.row)
        identity.append(each.trace_id + each.span_id)
        ended_us.append(max(each.start_time_unix_nano, each.end_time_unix_nano) // 1000)
    return Mapped(
        spans.table(),
        identity,
        np.array(ended_us, np.int64),
        requests.table(),
        np.array(request_span, np.int64),
        exchanges.table(),
        np.array(exchange_span, np.int64),
        refused,
    )


class _Rows:
    """Rows of a schema, gathered column by column."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._columns: list[list[Any]] = [[] for _ in schema]
        self._adders: list[Callable[[Any], None]] = [column.append for column in self._columns]

    def add(self, row: tuple[Any, ...]) -> None:
        for add, value in zip(self._adders, row, strict=True):
            add(value)

    def table(self) -> pa.Table:
        arrays = [
            pa.array(column, each.type) for column, each in zip(self._columns, self._schema, strict=True)
        ]
        return pa.table(arrays, schema=self._schema)


def _each_span(export: ExportTraceServiceRequest) -> Iterator[tuple[Attributes, Span]]:
    for group in export.resource_spans:
        resource = attributes_of(group.resource.attributes)
        for scope in group.scope_spans:
            for each in scope.spans:
                yield resource, each


def _fault(span: Span) -> str | None:
    """Return why a span cannot be stored, None if it can."""
    if len(span.trace_id) != TRACE_ID_BYTES or not any(span.trace_id):
        return "trace_id"
    if len(span.span_id) != SPAN_ID_BYTES or not any(span.span_id):
        return "span_id"
    return None if span.start_time_unix_nano else "start_time"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A span as its rows need it."""

    span: Span
    resource: Attributes
    attributes: Attributes
    events: list[dict[str, Any]]
    trace_id: str
    request_id: str
    kind: str
    started_us: int
    duration_ms: float | None
    """None where the end is missing or before the start: clocks are set."""

    @classmethod
    def of(cls, span: Span, resource: Attributes) -> _Seen:
        attributes = attributes_of(span.attributes)
        trace_id = span.trace_id.hex()
        lasted = span.end_time_unix_nano - span.start_time_unix_nano
        return cls(
            span,
            resource,
            attributes,
            [
                {
                    "name": event.name,
                    "at": event.time_unix_nano // 1000 if event.time_unix_nano else None,
                    "attributes": attributes_of(event.attributes),
                }
                for event in span.events
            ],
            trace_id,
            (attributes.get("flux.request_id") or trace_id)[:REQUEST_ID_CHARACTERS_MAX],
            _KINDS.get(span.kind, "internal"),
            span.start_time_unix_nano // 1000,
            lasted / 1e6 if lasted >= 0 else None,
        )

    @property
    def failed(self) -> bool:
        return self.span.status.code == Status.STATUS_CODE_ERROR

    @property
    def row(self) -> tuple[Any, ...]:
        """A row of `SPANS`."""
        span = self.span
        events = [{**event, "attributes": list(event["attributes"].items())} for event in self.events]
        return (
            self.trace_id,
            span.span_id.hex(),
            span.parent_span_id.hex() if any(span.parent_span_id) else None,
            self.request_id,
            self.resource.get("service.name"),
            span.name,
            self.kind,
            self.started_us,
            self.duration_ms,
            _STATUSES.get(span.status.code, "unset"),
            list(self.attributes.items()),
            events,
        )


def _request(seen: _Seen) -> tuple[Any, ...]:
    """Return a row of `REQUESTS`."""
    found = request_of(seen.span.name, seen.attributes)
    failure = failure_of(seen.attributes, seen.events, failed=seen.failed, said=seen.span.status.message)
    resource = seen.resource
    return (
        seen.request_id,
        seen.trace_id,
        resource.get("service.name"),
        found.method,
        found.route,
        found.path,
        found.status,
        seen.started_us,
        seen.duration_ms,
        failure.type if failure else None,
        failure.message if failure else None,
        found.location or (location(failure.stack) if failure else None),
        failure.stack if failure else None,
        resource.get("vcs.ref.head.revision") or resource.get("service.version"),
        _message(found.request),
        _message(found.response),
        False,
        None,
    )


def _message(fields: dict[str, Any]) -> dict[str, Any] | None:
    headers = fields["headers"]
    if headers is None and fields["body"] is None:
        return None
    return {"headers": list(headers.items()) if headers is not None else None, "body": fields["body"]}


def _exchange(seen: _Seen) -> tuple[Any, ...] | None:
    """Return a row of `EXCHANGES`."""
    failure = failure_of(seen.attributes, seen.events, failed=seen.failed, said=seen.span.status.message)
    found = exchange_of(seen.attributes, failure)
    if found is None:
        return None
    return (
        seen.request_id,
        found.seq if found.seq is not None else seen.span.start_time_unix_nano,
        found.kind,
        found.target,
        found.fingerprint,
        found.occurrence,
        found.request,
        found.response,
        found.error,
        seen.duration_ms,
    )
