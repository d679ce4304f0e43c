"""An HTTP request as it passes through a middleware: what ASGI, WSGI and Django have in common.

While it runs its texts are kept by reference, bounded; they are masked and put into words in the exporter's
thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from flux.recorder import mask, otlp
from flux.recorder.ambient import Request
from flux.recorder.body import Body
from flux.recorder.fault import failing_open
from flux.recorder.identity import identity
from flux.recorder.life import Recorder
from flux.recorder.record import SERVER, Record
from flux.recorder.work import ended, fail, opened

Pairs = Sequence[tuple[str, str]] | Sequence[tuple[bytes, bytes]]
"""Headers, as they came; bytes are Latin-1."""
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
"""Methods that may be the name of a span."""
RESPONSE_HEADER = "x-request-id"
"""Answers the request's id, unless the application did."""


class Entry:
    """One HTTP request, from its first header to its last byte."""

    __slots__ = (
        "_answer",
        "_done",
        "_headers",
        "_query",
        "_recorder",
        "ended_ns",
        "request",
        "request_body",
        "response_body",
        "route",
    )

    def __init__(
        self,
        recorder: Recorder,
        *,
        method: str,
        path: str,
        query: str,
        headers: Pairs,
        client: str | None,
        request_id: str,
        traceparent: str,
    ) -> None:
        """Begin; `request_id` and `traceparent` are the values of these two of the headers, "" for none."""
        self._recorder = recorder
        self._headers = headers
        self._query = query
        self._answer: Pairs | None = None
        self._done = False
        found, parent = identity(request_id, traceparent)
        self.request = Request(found)
        method = method if method in METHODS else method.upper()
        method = method if method in METHODS else "_OTHER"
        opened(method, SERVER, self.request, parent)
        if self.request.record is not None:
            attributes = self.request.record.attributes
            attributes["http.request.method"] = method
            attributes["url.path"] = path
            if client:
                attributes["client.address"] = client
        limit = recorder.settings.body_bytes_max
        self.request_body = Body(limit)
        """What the application has read."""
        self.response_body = Body(limit)
        """What it has answered."""
        self.route: str | None = None
        """The template of its path, when the framework knows one."""
        self.ended_ns: int | None = None
        """When the last byte went out, if the application went on after it; wall clock."""

    def answered(self, status: int, headers: Pairs) -> None:
        """Take note of the beginning of the response."""
        self._answer = headers
        record = self.request.record
        if record is not None:
            record.set("http.response.status_code", status)
            if status >= 500 and self.request.failure is None and not record.ended_ns:
                record.failed = ""
                record.set("error.type", str(status))

    def complete(self) -> None:
        """Take note that the last byte of the response is out."""
        self.ended_ns = time.time_ns()

    def finish(self, error: BaseException | None = None) -> None:
        """End it, once."""
        if self._done:
            return
        self._done = True
        record = self.request.record
        if record is not None:
            with failing_open("the end of a request"):
                if error is not None and self._answer is None:
                    # Whoever is above answers for it, with what every server does then.
                    record.set("http.response.status_code", 500)
                if self.route:
                    record.set("http.route", self.route)
                    record.name = f"{record.name} {self.route}"
                record.late = self._late
                record.size += self.request_body.kept + self.response_body.kept + len(self._query)
                record.size += sum([len(name) + len(value) for name, value in self._headers])
                record.size += sum([len(name) + len(value) for name, value in self._answer or ()])
        ended(self.request, error, self.ended_ns)

    def failed(self, error: BaseException) -> None:
        """Take note of an exception that the framework answers for."""
        fail(self.request, error)

    def _late(self, _record: Record) -> Iterable[bytes]:
        """Return the encoded attributes of what was kept."""
        settings = self._recorder.settings
        if self._query:
            yield otlp.attribute("url.query", mask.query(self._query, settings))
        for side, pairs, body in (
            ("request", self._headers, self.request_body),
            ("response", self._answer, self.response_body),
        ):
            if pairs is None:
                continue
            encoded, content = mask.encoded_headers(side, pairs, settings)
            yield from encoded
            text = body.text(*content, settings)
            if text is not None:
                yield otlp.attribute(f"flux.{side}.body", text)


def with_request_id(headers: Iterable[tuple[str, str]], request_id: str) -> tuple[str, str] | None:
    """Return the header to add to a response, None when the application set it."""
    if any(name.lower() == RESPONSE_HEADER for name, _ in headers):
        return None
    return RESPONSE_HEADER, request_id
