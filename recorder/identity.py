"""Whose request this is: its id, and its place in a trace, from the headers it came with.

The id comes from `x-request-id`, else it is the trace id of `traceparent` (W3C Trace Context), else
one is made. What a caller sends is taken up to 200 visible ASCII characters; anything else is not an id.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

REQUEST_ID_CHARS_MAX = 200
"""Of an id that comes from outside; a UUID has 36."""

_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-|\Z)")


def request_id_from(headers: Mapping[str, str]) -> str:
    """Return the request's id; the headers' names are in lower case."""
    given = headers.get("x-request-id", "").strip()
    if given and len(given) <= REQUEST_ID_CHARS_MAX and _VISIBLE.match(given):
        return given
    caller = caller_from(headers)
    return f"{caller.trace_id:032x}" if caller is not None else secrets.token_hex(16)


def caller_from(headers: Mapping[str, str]) -> SpanContext | None:
    """Return the span that called, from `traceparent`; None when there is none, or no valid one."""
    match = _TRACEPARENT.match(headers.get("traceparent", "").strip())
    if match is None:
        return None
    trace_id, span_id = int(match[1], 16), int(match[2], 16)
    if not trace_id or not span_id:
        return None
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(int(match[3], 16)))


def parent_context(headers: Mapping[str, str]) -> Context:
    """Return the context for an entry span: below the application's own span, else below the caller's."""
    own = trace.get_current_span()
    if own.get_span_context().is_valid:
        return trace.set_span_in_context(own, Context())
    caller = caller_from(headers)
    if caller is not None:
        return trace.set_span_in_context(NonRecordingSpan(caller), Context())
    return Context()


def traceparent(span: SpanContext, sampled: bool) -> str:
    """Return the header that makes a callee's spans children of `span`."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{'01' if sampled else '00'}"
