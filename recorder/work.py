"""`flux.request(...)`: a job, a command, or any other piece of work as a request.

Works as `with` and `async with`. Without a running recorder it still gives the work an id, and records
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from flux.recorder import failure
from flux.recorder.ambient import Request, clean, in_force
from flux.recorder.fault import count, failing_open
from flux.recorder.identity import identity
from flux.recorder.life import active
from flux.recorder.record import CONSUMER, Parent, Record, new_id


def opened(name: str, kind: int, request: Request, parent: Parent) -> None:
    """Begin the entry span of a request."""
    recorder = active()
    if recorder is None:
        return
    request.sampled = parent.sampled
    if recorder.silent:
        return
    record = Record(name, kind, parent.trace_id, parent.span_id)
    record.remote = parent.remote
    record.attributes["flux.request_id"] = request.request_id
    if request.actor is not None:
        record.attributes["flux.actor"] = request.actor
    request.record = record
    count("requests")


def fail(request: Request, error: BaseException) -> None:
    """Record the exception that ended a request, once."""
    recorder = active()
    if recorder is None or request.failure is error or request.record is None:
        return
    with failing_open("an exception"):
        request.failure = error
        failure.note(request.record, error)
        place = failure.location(error, recorder.settings.root)
        if place is not None:
            request.record.set("flux.error.location", place)


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
        request = Request(given or new_id(16).hex(), self._actor, dict(self._attributes))
        with failing_open("a job's identity"):
            headers = self._headers
            found, parent = identity(headers.get("x-request-id", ""), headers.get("traceparent", ""))
            request.request_id = given or found
            opened(self._name, CONSUMER, request, parent)
        self._request = request
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
        record, recorder = request.record, active()
        if record is not None and not record.ended_ns:
            record.end(end_ns)
            if recorder is not None:
                recorder.waiting.put(record)
        request.ended_s = time.monotonic()
