"""A span as the application's thread leaves it: what happened, by reference, to be put into words later.

Making a span of OpenTelemetry's SDK costs a request many times what is here (docs/decisions/0010). The
identifiers are OpenTelemetry's, and what goes out is OTLP (`flux.recorder.otlp`), so nobody downstream
sees a difference.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

SERVER, CLIENT, CONSUMER = 2, 3, 5
"""Kinds of spans, as OTLP numbers them."""
SPAN_BYTES = 1024
"""What a span is counted for beside its texts."""

# Not `os.urandom`: a system call for each identifier, which must differ and need not be secret. Not the
# module's own generator: the application may seed that.
_draw = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_draw.seed)


def new_id(size: int) -> bytes:
    """Return an identifier of so many bytes: 16 of a trace, 8 of a span."""
    return _draw.getrandbits(8 * size).to_bytes(size, "big")


class Parent:
    """Where a span hangs: its trace, the span above it, and what that said."""

    __slots__ = ("remote", "sampled", "span_id", "trace_id")

    def __init__(self, trace_id: bytes, span_id: bytes, *, sampled: bool, remote: bool) -> None:
        self.trace_id = trace_id
        """16 bytes."""
        self.span_id = span_id
        """8 bytes; empty above a root."""
        self.sampled = sampled
        """Whether the trace is sampled."""
        self.remote = remote
        """Whether the span above is another process's."""


class Record:
    """One span: open until `end`, then the exporter's."""

    __slots__ = (
        "attributes",
        "ended_ns",
        "events",
        "failed",
        "kind",
        "late",
        "name",
        "parent_id",
        "remote",
        "size",
        "span_id",
        "started_ns",
        "trace_id",
    )

    def __init__(
        self, name: str, kind: int, trace_id: bytes, parent_id: bytes, started_ns: int | None = None
    ) -> None:
        self.name = name
        self.kind = kind
        self.trace_id = trace_id
        self.span_id = new_id(8)
        self.parent_id = parent_id
        self.remote = False
        """Whether the parent is another process's span."""
        self.started_ns = time.time_ns() if started_ns is None else started_ns
        """Wall clock."""
        self.ended_ns = 0
        """Wall clock; 0 while it goes on."""
        self.attributes: dict[str, Any] = {}
        """Texts, whole numbers and lists of texts, by name."""
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        """Time (wall clock, ns), name and attributes of each."""
        self.failed: str | None = None
        """What its status ERROR says; None when it did not fail."""
        self.late: Callable[[Record], Iterable[bytes]] | None = None
        """Makes further attributes, encoded, in the exporter's thread."""
        self.size = SPAN_BYTES
        """About how many bytes of memory it holds, beside the texts in `attributes`."""

    def set(self, name: str, value: Any) -> None:
        """Set an attribute, unless it has ended."""
        if not self.ended_ns:
            self.attributes[name] = value

    def end(self, ended_ns: int | None = None) -> None:
        """End it; what is set later is lost."""
        self.ended_ns = ended_ns or time.time_ns()
        self.size += texts(self.attributes)
        for _, _, attributes in self.events:
            self.size += texts(attributes)


def texts(attributes: dict[str, Any]) -> int:
    """Return about how many bytes of memory attributes hold."""
    return sum([len(value) if isinstance(value, str) else 64 for value in attributes.values()])
