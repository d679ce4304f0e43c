"""One HTTP call of a request, whichever library makes it: a span from its beginning to its body's end."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from flux.recorder import failure, mask
from flux.recorder.body import Body
from flux.recorder.exchange import Exchange, begin, fingerprint_of
from flux.recorder.fault import failing_open
from flux.recorder.identity import traceparent
from flux.recorder.record import Record

Pairs = Iterable[tuple[str, str]]
"""Headers."""


class Call:
    """A call that goes on."""

    __slots__ = (
        "_answer",
        "_content",
        "_done",
        "_exchange",
        "_method",
        "_record",
        "_url",
        "request_body",
        "response_body",
    )

    def __init__(self, exchange: Exchange, record: Record, method: str, url: str, headers: Pairs) -> None:
        settings = exchange.recorder.settings
        self._exchange = exchange
        self._method = method.upper()
        self._url = mask.url(url, settings)
        parts = urlsplit(url)
        attributes: dict[str, Any] = {
            "http.request.method": self._method,
            "url.full": self._url,
            "server.address": parts.hostname or "",
            "flux.request_id": exchange.request.request_id,
            "flux.exchange.seq": exchange.seq,
        }
        if parts.port is not None:
            attributes["server.port"] = parts.port
        by_name = mask.headers(headers, settings)
        for name, values in by_name.items():
            attributes[f"http.request.header.{name}"] = values
        self._content = _content_of(by_name)
        self._answer = ("", "")
        self._done = False
        self._record = record
        record.attributes = attributes
        self.request_body = Body(settings.body_bytes_max)
        """What is sent."""
        self.response_body = Body(settings.body_bytes_max)
        """What comes back, as it is read."""

    def mark(self, headers: MutableMapping[str, str]) -> None:
        """Add `traceparent`, unless the application's own tracing did."""
        if not any(name.lower() == "traceparent" for name in headers):
            headers["traceparent"] = traceparent(self._record, self._exchange.request.sampled)

    def answered(self, status: int, headers: Pairs) -> None:
        """Take note of the beginning of the response."""
        with failing_open("an outbound response"):
            self._record.set("http.response.status_code", status)
            by_name = mask.headers(headers, self._exchange.recorder.settings)
            for name, values in by_name.items():
                self._record.set(f"http.response.header.{name}", values)
            self._answer = _content_of(by_name)
            if status >= 400:
                self._record.failed = ""
                self._record.set("error.type", str(status))

    def plain(self) -> None:
        """Take note that the response's body was seen after it was unpacked."""
        self._answer = (self._answer[0], "")

    def finish(self, error: BaseException | None = None) -> None:
        """End it, once."""
        if self._done:
            return
        self._done = True
        with failing_open("an outbound call"):
            settings = self._exchange.recorder.settings
            sent = self.request_body.text(*self._content, settings)
            if sent is not None:
                self._record.set("flux.request.body", sent)
            answer = self.response_body.text(*self._answer, settings)
            if answer is not None:
                self._record.set("flux.response.body", answer)
            fingerprint = fingerprint_of(f"{self._method} {self._url}\n{sent or ''}")
            target = f"{self._method} {self._url.partition('?')[0]}"
            occurrence = self._exchange.request.next_occurrence("http", target, fingerprint)
            self._record.set("flux.exchange.fingerprint", fingerprint)
            self._record.set("flux.exchange.occurrence", occurrence)
            if error is not None:
                failure.note(self._record, error)
            self._record.end()
            self._exchange.recorder.waiting.put(self._record)


def called(method: str, url: str, headers: Pairs) -> Call | None:
    """Begin a call of the request in force; None outside one."""
    with failing_open("an outbound call"):
        exchange = begin()
        record = exchange.open(method.upper()) if exchange is not None else None
        if exchange is not None and record is not None:
            return Call(exchange, record, method, url, headers)
    return None


def _content_of(headers: dict[str, list[str]]) -> tuple[str, str]:
    """Return content type and encoding."""
    kinds, encodings = headers.get("content-type", [""]), headers.get("content-encoding", [""])
    return kinds[0], encodings[0]
