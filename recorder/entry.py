"""An HTTP request as it passes through a middleware: what ASGI, WSGI and Django have in common."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from opentelemetry.trace import SpanKind, Status, StatusCode

from flux.recorder import mask
from flux.recorder.ambient import Request
from flux.recorder.body import Body
from flux.recorder.fault import failing_open
from flux.recorder.identity import parent_context, request_id_from
from flux.recorder.life import Recorder
from flux.recorder.work import ended, fail, opened

Pairs = list[tuple[str, str]]
"""Headers, as they came."""
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
"""Methods that may be the name of a span."""
RESPONSE_HEADER = "x-request-id"
"""Answers the request's id, unless the application did."""


class Entry:
    """One HTTP request, from its first header to its last byte."""

    __slots__ = (
        "_answer",
        "_content",
        "_done",
        "_recorder",
        "ended_ns",
        "request",
        "request_body",
        "response_body",
        "route",
    )

    def __init__(
        self, recorder: Recorder, *, method: str, path: str, query: str, headers: Pairs, client: str | None
    ) -> None:
        self._recorder = recorder
        settings = recorder.settings
        by_name = {name.lower(): value for name, value in headers}
        method = method.upper()
        attributes: dict[str, Any] = {
            "http.request.method": method if method in METHODS else "_OTHER",
            "url.path": path,
        }
        if query:
            attributes["url.query"] = mask.query(query, settings)
        if client:
            attributes["client.address"] = client
        for name, values in mask.headers(headers, settings).items():
            attributes[f"http.request.header.{name}"] = values
        self._content = (by_name.get("content-type", ""), by_name.get("content-encoding", ""))
        self._answer: tuple[str, str] | None = None
        self._done = False
        self.request: Request = opened(
            attributes["http.request.method"],
            kind=SpanKind.SERVER,
            request_id=request_id_from(by_name),
            parent=parent_context(by_name),
            attributes=attributes,
        )
        self.request_body = Body(settings.body_bytes_max)
        """What the application has read."""
        self.response_body = Body(settings.body_bytes_max)
        """What it has answered."""
        self.route: str | None = None
        """The template of its path, when the framework knows one."""
        self.ended_ns: int | None = None
        """When the last byte went out, if the application went on after it; wall clock."""

    def answered(self, status: int, headers: Pairs) -> None:
        """Take note of the beginning of the response."""
        with failing_open("a response"):
            span, settings = self.request.span, self._recorder.settings
            span.set_attribute("http.response.status_code", status)
            for name, values in mask.headers(headers, settings).items():
                span.set_attribute(f"http.response.header.{name}", values)
            if status >= 500 and self.request.failure is None:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", str(status))
            by_name = {name.lower(): value for name, value in headers}
            self._answer = (by_name.get("content-type", ""), by_name.get("content-encoding", ""))

    def complete(self) -> None:
        """Take note that the last byte of the response is out."""
        self.ended_ns = time.time_ns()

    def finish(self, error: BaseException | None = None) -> None:
        """End it, once."""
        if self._done:
            return
        self._done = True
        with failing_open("the end of a request"):
            span, settings = self.request.span, self._recorder.settings
            if error is not None and self._answer is None:
                # Whoever is above answers for it, with what every server does then.
                span.set_attribute("http.response.status_code", 500)
            if self.route:
                span.set_attribute("http.route", self.route)
                span.update_name(f"{getattr(span, 'name', '')} {self.route}")
            text = self.request_body.text(*self._content, settings)
            if text is not None:
                span.set_attribute("flux.request.body", text)
            if self._answer is not None:
                text = self.response_body.text(*self._answer, settings)
                if text is not None:
                    span.set_attribute("flux.response.body", text)
        ended(self.request, error, self.ended_ns)

    def failed(self, error: BaseException) -> None:
        """Take note of an exception that the framework answers for."""
        fail(self.request, error)


def with_request_id(headers: Iterable[tuple[str, str]], request_id: str) -> tuple[str, str] | None:
    """Return the header to add to a response, None when the application set it."""
    if any(name.lower() == RESPONSE_HEADER for name, _ in headers):
        return None
    return RESPONSE_HEADER, request_id
