"""What the recorder writes as protobuf, read by protobuf's own classes."""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flux.recorder import mask, otlp
from flux.recorder.record import CLIENT, Record
from flux.recorder.settings import Settings
from recorder.collector import attributes_of

VALUES = {
    "text": "é" * 20_000,
    "empty": "",
    "half a pair": "a\ud800b",
    "zero": 0,
    "negative": -7,
    "large": 2**62,
    "true": True,
    "half": 0.5,
    "texts": ["a", "", "c" * 300],
    "k" * 300: "v",
}


def test_a_batch_is_what_protobuf_reads() -> None:
    record = Record("GET /é", CLIENT, b"t" * 16, b"p" * 8, started_ns=5)
    record.attributes |= VALUES
    record.events.append((7, "exception", {"exception.type": "LookupError"}))
    record.failed, record.remote = "LookupError", True
    record.late = lambda _: [otlp.attribute("late", "x")]
    record.end(2**60)
    bare = Record("", CLIENT, b"t" * 16, b"")
    bare.end()
    spans = [otlp.span(record), *[otlp.span(bare)] * 200]
    read = ExportTraceServiceRequest.FromString(otlp.request(spans, {"service.name": "shop"}, "1.2"))
    (of_resource,) = read.resource_spans
    assert attributes_of(of_resource.resource) == {"service.name": "shop"}
    (of_scope,) = of_resource.scope_spans
    assert (of_scope.scope.name, of_scope.scope.version) == ("flux.recorder", "1.2")
    first, *others = of_scope.spans
    assert attributes_of(first) == VALUES | {"half a pair": "a?b", "late": "x"}
    assert (first.name, first.kind, first.flags) == ("GET /é", 3, 0x300)
    assert (first.trace_id, first.span_id, first.parent_span_id) == (b"t" * 16, record.span_id, b"p" * 8)
    assert (first.start_time_unix_nano, first.end_time_unix_nano) == (5, 2**60)
    assert (first.status.code, first.status.message) == (2, "LookupError")
    (event,) = first.events
    assert (event.name, event.time_unix_nano) == ("exception", 7)
    assert attributes_of(event) == {"exception.type": "LookupError"}
    assert len(others) == 200
    assert (others[0].parent_span_id, others[0].flags, others[0].status.code) == (b"", 0x100, 0)
    # What we leave out or write twice would show in what protobuf makes of the same message.
    assert len(first.SerializeToString()) == len(spans[0])


def test_headers_come_in_lists_and_secret_ones_masked() -> None:
    pairs = [(b"Accept", b"a"), (b"accept", b"b"), (b"x-long", b"c" * 100), (b"Cookie", b"hunter2")]
    encoded, content = mask.encoded_headers("request", pairs, Settings("shop"))
    read = ExportTraceServiceRequest.FromString(
        otlp.request([b"".join(encoded)], {"service.name": "shop"}, "1")
    )
    assert content == ("", "")
    assert attributes_of(read.resource_spans[0].scope_spans[0].spans[0]) == {
        "http.request.header.accept": ["a", "b"],
        "http.request.header.x-long": ["c" * 100],
        "http.request.header.cookie": ["[masked]"],
    }
