"""`flux.request(...)`: a job, a command, or any other piece of work as a request.

Works as `with` and `async with`. Without a running recorder it still gives the work an id, and records
nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, SpanKind, get_current_span, set_span_in_context

from flux.recorder import failure
from flux.recorder.ambient import Request, clean, in_force
from flux.recorder.fault import count, failing_open
from flux.recorder.identity import parent_context, request_id_from
from flux.recorder.life import active


def opened(
    name: str,
    *,
    kind: SpanKind,
    request_id: str,
    parent: Context,
    attributes: Mapping[str, Any],
    actor: str | None = None,
    tagged: Mapping[str, Any] | None = None,
) -> Request:
    """Return a request whose entry span has begun; `attributes` are the span's, `tagged` its changes'."""
    request = Request(request_id, actor, dict(tagged or {}))
    recorder = active()
    if recorder is None:
        return request
    with failing_open("a request's beginning"):
        caller = get_current_span(parent).get_span_context()
        request.sampled = caller.trace_flags.sampled if caller.is_valid else True
        told = {**attributes, "flux.request_id": request_id}
        if actor is not None:
            told["flux.actor"] = actor
        request.span = recorder.tracer.start_span(name, context=parent, kind=kind, attributes=told)
        request.context = set_span_in_context(request.span, Context())
        count("requests")
    return request


def fail(request: Request, error: BaseException) -> None:
    """Record the exception that ended a request, once."""
    recorder = active()
    if recorder is None or request.failure is error or request.span is INVALID_SPAN:
        return
    with failing_open("an exception"):
        request.failure = error
        failure.record(request.span, error)
        place = failure.location(error, recorder.settings.root)
        if place is not None:
            request.span.set_attribute("flux.error.location", place)


class request:  # noqa: N801 (reads as the statement it is)
    """`with flux.request("send invoices", actor="cron", batch=7) as request:` a job, with its id.

    Every write inside is tagged with `request_id` (made when None), `actor` and the attributes, and the
    work becomes an entry span of kind CONSUMER named `name`. An exception is recorded and goes on.
    `headers` (names in any case) carry `x-request-id` and `traceparent` of what queued the job.
    """

    def __init__(
        self,
        name: str,
        request_id: str | None = None,
        actor: str | None = None,
        headers: Mapping[str, str] | None = None,
        **attributes: Any,
    ) -> None:
        self._name = name
        self._request_id = request_id
        self._actor = actor
        self._headers = {key.lower(): value for key, value in (headers or {}).items()}
        self._attributes = attributes
        self._request: Request | None = None
        self._in_force: in_force | None = None

    def __enter__(self) -> Request:
        given = clean(self._request_id) if self._request_id else ""
        request_id = given or secrets.token_hex(16)
        parent = Context()
        with failing_open("a job's identity"):
            request_id = given or request_id_from(self._headers)
            parent = parent_context(self._headers)
        self._request = opened(
            self._name,
            kind=SpanKind.CONSUMER,
            request_id=request_id,
            parent=parent,
            attributes={},
            actor=self._actor,
            tagged=self._attributes,
        )
        self._in_force = in_force(self._request)
        self._in_force.__enter__()
        return self._request

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._in_force is not None:
            self._in_force.__exit__()
        if self._request is not None:
            ended(self._request, error)

    async def __aenter__(self) -> Request:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def ended(request: Request, error: BaseException | None, end_ns: int | None = None) -> None:
    """End a request: its span goes out."""
    with failing_open("a request's end"):
        if error is not None:
            fail(request, error)
        request.span.end(end_ns)
        request.ended_s = time.monotonic()
