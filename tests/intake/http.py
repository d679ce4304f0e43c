"""Plain HTTP to an intake, as an exporter speaks it and as nobody should."""

from __future__ import annotations

import gzip
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def rejected(self) -> int:
        """Spans that a 200 says were left out."""
        return ExportTraceServiceResponse.FromString(self.body).partial_success.rejected_spans


def post(
    address: str,
    body: bytes,
    *,
    kind: str = PROTOBUF,
    path: str = "/v1/traces",
    method: str = "POST",
    packed: bool = False,
    token: str | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Send `body`, gzipped if `packed`; return what comes back, whatever its status."""
    sent = {"Content-Type": kind, **(headers or {})}
    if packed:
        body = gzip.compress(body)
        sent["Content-Encoding"] = "gzip"
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(address + path, data=body, headers=sent, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310
            return Answer(answer.status, _lower(answer.headers.items()), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, _lower(error.headers.items()), error.read())


def _lower(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}


def connect(address: str, sending: bytes = b"") -> socket.socket:
    """Open a connection and send what may be half of a request."""
    place = urlsplit(address)
    assert place.hostname is not None
    connection = socket.create_connection((place.hostname, place.port or 0), timeout=ANSWER_S)
    connection.sendall(sending)
    return connection


def raw(address: str, sending: bytes) -> bytes:
    """Send bytes and return everything until the other side closes."""
    with connect(address, sending) as connection:
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def span(
    *,
    name: str = "GET /orders",
    kind: int = Span.SPAN_KIND_SERVER,
    trace_id: bytes | None = None,
    span_id: bytes | None = None,
    parent_id: bytes = b"",
    lasted_ms: float = 5.0,
    attributes: dict[str, str | int | float | bool | list[str]] | None = None,
) -> Span:
    """Return a span that ends now."""
    now = time.time_ns()
    made = Span(
        trace_id=os.urandom(16) if trace_id is None else trace_id,
        span_id=os.urandom(8) if span_id is None else span_id,
        parent_span_id=parent_id,
        name=name,
        kind=kind,  # type: ignore[arg-type]
        start_time_unix_nano=now - int(lasted_ms * 1e6),
        end_time_unix_nano=now,
    )
    for key, value in (attributes or {}).items():
        added = made.attributes.add(key=key).value
        if isinstance(value, bool):
            added.bool_value = value
        elif isinstance(value, int):
            added.int_value = value
        elif isinstance(value, float):
            added.double_value = value
        elif isinstance(value, list):
            for each in value:
                added.array_value.values.add(string_value=each)
        else:
            added.string_value = value
    return made


def export(*spans: Span, service: str = "shop", resource: dict[str, str] | None = None) -> bytes:
    """Return spans of one service as an exporter sends them, in protobuf."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    for key, value in {"service.name": service, **(resource or {})}.items():
        group.resource.attributes.add(key=key).value.string_value = value
    group.scope_spans.add().spans.extend(spans)
    return message.SerializeToString()
