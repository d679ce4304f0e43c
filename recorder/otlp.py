"""OTLP's protobuf, written directly: what a batch of records is on the wire.

The messages are opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest and what it holds
(https://github.com/open-telemetry/opentelemetry-proto, 1.x; field numbers beside each). Building them as
protobuf objects takes several times as long, in a thread that shares the interpreter with the application's
(docs/decisions/0010). tests/recorder/test_otlp.py reads what is written here with protobuf's own classes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from flux.recorder.record import Record
from flux.recorder.settings import ATTRIBUTES_MAX

SHORT = 100
"""Bytes of a value whose length, and those of the messages around it, are one byte each."""
CACHED = 1024
"""Names and numbers whose encoding is kept, some 100 KiB."""

_TIMES = struct.Struct("<BQBQ").pack
_TIME = struct.Struct("<BQ").pack
_VARINTS = tuple(bytes((n,)) for n in range(128)) + tuple(
    bytes((n & 127 | 128, n >> 7)) for n in range(128, 16_384)
)
_KINDS = tuple(b"\x30" + bytes((kind,)) for kind in range(6))
_LOCAL, _REMOTE = b"\x85\x01\x00\x01\x00\x00", b"\x85\x01\x00\x03\x00\x00"
"""Span.flags (16): whether the parent is remote is known, and it is."""


def varint(number: int) -> bytes:
    """Return a number that is not negative as protobuf's varint."""
    if number < 16_384:
        return _VARINTS[number]
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def message(tag: bytes, content: bytes) -> bytes:
    """Return a field that holds a message, bytes or a text; `tag` is field number * 8 + 2."""
    return tag + varint(len(content)) + content


def text(tag: bytes, value: str) -> bytes:
    """Return a field that holds a text; halves of surrogate pairs become question marks."""
    return message(tag, value.encode("utf-8", "replace"))


def attribute(name: str, value: Any, tag: bytes = b"\x4a") -> bytes:
    """Return a KeyValue (key 1, value 2); Span.attributes is 9, an event's and a resource's other fields."""
    if type(value) is str:
        data = value.encode("utf-8", "replace")
        size = len(data)
        if size <= SHORT:
            content = _key(name) + bytes((0x12, size + 2, 0x0A, size)) + data
        else:
            content = _key(name) + message(b"\x12", message(b"\x0a", data))
    else:
        content = _key(name) + message(b"\x12", _any(value))
    return tag + varint(len(content)) + content


def list_of_one(name: str, value: str) -> bytes:
    """Return a span's attribute that is a list of one text, as most headers are."""
    data = value.encode("utf-8", "replace")
    size = len(data)
    if size > SHORT:
        return attribute(name, [value])
    head = bytes((0x12, size + 6, 0x2A, size + 4, 0x0A, size + 2, 0x0A, size))
    content = _key(name) + head + data
    return b"\x4a" + varint(len(content)) + content


@lru_cache(maxsize=CACHED)
def _key(name: str) -> bytes:
    return text(b"\x0a", name)


def _any(value: Any) -> bytes:
    """Return an AnyValue: string 1, bool 2, int 3, double 4, array 5 (its values 1)."""
    if isinstance(value, str):
        return text(b"\x0a", value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(value & 0xFFFFFFFFFFFFFFFF)
    if isinstance(value, float):
        return struct.pack("<Bd", 0x21, value)
    if isinstance(value, list | tuple):
        return message(b"\x2a", b"".join([message(b"\x0a", _any(each)) for each in value]))
    return text(b"\x0a", str(value))


def attributes(values: Mapping[str, Any]) -> list[bytes]:
    """Return a span's attributes."""
    return [attribute(name, value) for name, value in list(values.items())[:ATTRIBUTES_MAX]]


def span(record: Record) -> bytes:
    """Return a Span.

    trace_id 1, span_id 2, parent_span_id 4, name 5, kind 6, start 7, end 8, attributes 9, events 11,
    status 15 (message 2, code 3), flags 16.
    """
    late = record.late(record) if record.late is not None else ()
    parts = [
        b"\x0a\x10",
        record.trace_id,
        b"\x12\x08",
        record.span_id,
        b"\x22\x08" + record.parent_id if record.parent_id else b"",
        text(b"\x2a", record.name),
        _KINDS[record.kind],
        _TIMES(0x39, record.started_ns, 0x41, record.ended_ns),
        *attributes(record.attributes),
        *late,
        _REMOTE if record.remote else _LOCAL,
    ]
    for time_ns, name, told in record.events:
        content = [_TIME(0x09, time_ns), text(b"\x12", name)]
        content += [attribute(key, value, b"\x1a") for key, value in told.items()]
        parts.append(message(b"\x5a", b"".join(content)))
    if record.failed is not None:
        parts.append(message(b"\x7a", text(b"\x12", record.failed) + b"\x18\x02"))
    return b"".join(parts)


def request(spans: Iterable[bytes], resource: Mapping[str, str], version: str) -> bytes:
    """Return the request: resource_spans 1 (resource 1, scope_spans 2).

    ScopeSpans: scope 1 (name 1, version 2), spans 2.
    """
    about = message(b"\x0a", b"".join([attribute(name, value, b"\x0a") for name, value in resource.items()]))
    scope = message(b"\x0a", text(b"\x0a", "flux.recorder") + text(b"\x12", version))
    # Joined once: a batch is large, and each copy of it is memory that has to be got from the system.
    parts = [scope]
    for each in spans:
        parts += (b"\x12", varint(len(each)), each)
    of_scope = sum(map(len, parts))
    head = about + b"\x12" + varint(of_scope)
    return b"".join([b"\x0a", varint(len(head) + of_scope), head, *parts])
