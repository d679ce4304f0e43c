"""A real HTTP intake for spans: takes OTLP over HTTP, and can be slow, full, wrong, or away."""

from __future__ import annotations

import gzip
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from servers import eventually


class Collector:
    """Keeps every span that it accepted, with how often."""

    def __init__(self) -> None:
        self.spans: dict[bytes, Span] = {}
        self.times: Counter[bytes] = Counter()
        self.resources: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.dropped = 0
        """What the recorder said it dropped."""
        self.answers: list[tuple[int, dict[str, str]]] = []
        """What is answered to the next exports, instead of 200."""
        self.attempts = 0
        self.hold = threading.Event()
        """Exports are answered while it is set."""
        self.hold.set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold.set()
        self.stop()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def start(self) -> None:
        """Take spans, on the same port as before."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """Go away."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def wait_for(self, count: int, within_s: float = 20) -> list[Span]:
        """Return the spans, when there are so many."""
        eventually(lambda: len(self.spans) >= count, within_s=within_s, what=f"{count} spans")
        return list(self.spans.values())

    def named(self, name: str) -> dict[str, Any]:
        """Return the attributes of the one span with this name."""
        (found,) = [span for span in self.spans.values() if span.name == name]
        return attributes_of(found)


def attributes_of(span: Any) -> dict[str, Any]:
    """Return the attributes of a span, event or resource as plain values."""
    return {each.key: _plain(each.value) for each in span.attributes}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    return getattr(value, kind)


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.attempts += 1
            collector.hold.wait(30)
            status, headers = collector.answers.pop(0) if collector.answers else (200, {})
            if status == 200:
                take(body, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    def take(body: bytes, headers: dict[str, str]) -> None:
        request = ExportTraceServiceRequest.FromString(
            gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        )
        collector.dropped += int(headers.get("x-flux-dropped", 0))
        collector.headers.append(headers)
        for of_resource in request.resource_spans:
            collector.resources.append(attributes_of(of_resource.resource))
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    collector.times[span.span_id] += 1
                    collector.spans[span.span_id] = span

    return Handler
