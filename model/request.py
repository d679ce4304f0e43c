"""Requests as columns: what came in, its spans, and its exchanges with others. Arrow schemas, no I/O.

The columns are those of docs/FORMAT.md. A request's id is in all three; a change carries it as well.
"""

from __future__ import annotations

import pyarrow as pa

from flux.model.batch import ROW, TEXT, TIME

MESSAGE = pa.struct([("headers", ROW), ("body", TEXT)])
"""A request or a response: header name in lower case → value, and the body as text."""

REQUESTS = pa.schema(
    [
        ("request_id", TEXT),
        ("trace_id", TEXT),  # 32 hexadecimal digits
        ("service", TEXT),
        ("method", TEXT),  # null for a job
        ("route", TEXT),  # the template, `/users/{id}`; the name of a job
        ("path", TEXT),
        ("status", pa.int32()),
        ("started_at", TIME),
        ("duration_ms", pa.float64()),
        ("error_type", TEXT),
        ("error_message", TEXT),
        ("error_location", TEXT),  # `file:line, function` in the application's own code
        ("error_stack", TEXT),
        ("code_version", TEXT),
        ("request", MESSAGE),
        ("response", MESSAGE),
        ("is_replay", pa.bool_()),
        ("replay_of", TEXT),
    ]
)

EVENT = pa.struct([("name", TEXT), ("at", TIME), ("attributes", ROW)])

SPANS = pa.schema(
    [
        ("trace_id", TEXT),
        ("span_id", TEXT),  # 16 hexadecimal digits
        ("parent_id", TEXT),
        ("request_id", TEXT),
        ("service", TEXT),
        ("name", TEXT),
        ("kind", TEXT),  # internal, server, client, producer, consumer
        ("started_at", TIME),
        ("duration_ms", pa.float64()),
        ("status", TEXT),  # unset, ok, error
        ("attributes", ROW),
        ("events", pa.list_(EVENT)),
    ]
)

EXCHANGES = pa.schema(
    [
        ("request_id", TEXT),
        ("seq", pa.uint64()),  # order within the request
        ("kind", TEXT),  # http, sql, clock, random, job, mail
        ("target", TEXT),
        ("fingerprint", TEXT),
        ("occurrence", pa.uint64()),  # earlier ones of the same kind, target and fingerprint in the request
        ("request", TEXT),  # JSON
        ("response", TEXT),  # JSON
        ("error", TEXT),  # JSON
        ("duration_ms", pa.float64()),
    ]
)
