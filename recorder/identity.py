"""Whose request this is: its id, and its place in a trace, from the headers it came with.

The id comes from `x-request-id`, else it is the trace id of `traceparent` (W3C Trace Context), else
one is made. What a caller sends is taken up to 200 visible ASCII characters; anything else is not an id.
"""

from __future__ import annotations

import re

from opentelemetry.trace import get_current_span

from flux.recorder.record import Parent, Record, new_id

REQUEST_ID_CHARS_MAX = 200
"""Of an id that comes from outside; a UUID has 36."""

_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-|\Z)")


def identity(given: str, traceparent: str) -> tuple[str, Parent]:
    """Return the request's id and where its span hangs, from the values of the two headers ("" for none).

    It hangs below the application's own span, else below the caller's, else it begins a trace.
    """
    caller = _caller(traceparent) if traceparent else None
    own = get_current_span().get_span_context()
    if own.is_valid:
        parent = Parent(
            own.trace_id.to_bytes(16, "big"),
            own.span_id.to_bytes(8, "big"),
            sampled=own.trace_flags.sampled,
            remote=own.is_remote,
        )
    else:
        parent = caller or Parent(new_id(16), b"", sampled=True, remote=False)
    given = given.strip()
    if given and len(given) <= REQUEST_ID_CHARS_MAX and _VISIBLE.match(given):
        return given, parent
    if caller is not None:
        return caller.trace_id.hex(), parent
    # Of a trace that begins here, its id; below the application's own span, one more than its trace has.
    return (new_id(16) if parent.span_id else parent.trace_id).hex(), parent


def _caller(text: str) -> Parent | None:
    """Return the span that called; None when there is no valid one."""
    match = _TRACEPARENT.match(text.strip())
    if match is None:
        return None
    trace_id, span_id = bytes.fromhex(match[1]), bytes.fromhex(match[2])
    if not any(trace_id) or not any(span_id):
        return None
    return Parent(trace_id, span_id, sampled=bool(int(match[3], 16) & 1), remote=True)


def traceparent(record: Record, sampled: bool) -> str:
    """Return the header that makes a callee's spans children of `record`."""
    return f"00-{record.trace_id.hex()}-{record.span_id.hex()}-{'01' if sampled else '00'}"
