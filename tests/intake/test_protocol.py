"""OTLP over HTTP: what is taken, what is refused and with which status, whatever is sent."""

from __future__ import annotations

import base64
import gzip
import json
import socket
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flux.capture.otlp.intake import Intake, NotListening
from flux.capture.otlp.reading import Encoding, parsed
from flux.capture.otlp.refusal import Refused
from flux.capture.otlp.spans import mapped
from flux.capture.settings import IntakeBounds, IntakeSettings
from flux.ledger.layout import create_ledger
from flux.ledger.writer import Writer
from flux.model.errors import UsageError
from intake.http import JSON, PROTOBUF, connect, export, post, raw, span
from intake.shelf import Shelf, running

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def as_json(content: bytes) -> dict[str, Any]:
    """Return an export as OTLP's JSON, with ids in hexadecimal."""
    document: dict[str, Any] = json_format.MessageToDict(ExportTraceServiceRequest.FromString(content))
    for group in document["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for each in scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in each:
                        each[name] = base64.b64decode(each[name]).hex()
    return document


def fixed(**others: Any) -> bytes:
    return export(span(trace_id=bytes.fromhex(TRACE), span_id=bytes.fromhex(SPAN), **others))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
def test_both_encodings_are_taken(shelf: Shelf, kind: str, packed: bool) -> None:
    content = fixed(attributes={"http.request.method": "GET", "n": 7, "ok": True})
    if kind == JSON:
        content = json.dumps(as_json(content)).encode()
    answer = post(shelf.address, content, kind=kind, packed=packed)
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert answer.body == (b"{}" if kind == JSON else b"")
    assert shelf.rows(
        "select trace_id, span_id, kind, service, attributes['n'], attributes['ok'] from spans"
    ) == [(TRACE, SPAN, "server", "shop", "7", "true")]
    assert shelf.rows("select request_id, method from requests") == [(TRACE, "GET")]


def test_json_as_exporters_write_it(shelf: Shelf) -> None:
    """Base64 ids, upper-case ids, unknown fields, numbers as texts and enumerations as names."""
    document = as_json(fixed())
    (each,) = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    each["traceId"] = base64.b64encode(bytes.fromhex(TRACE)).decode()
    each["spanId"] = SPAN.upper()
    each["kind"] = 2
    each["somethingNew"] = {"deep": [1, {"er": None}]}
    each["attributes"] = [{"key": "n", "value": {"intValue": 7}}, {"key": "m", "value": {"intValue": "8"}}]
    document["alsoNew"] = 1
    assert post(shelf.address, json.dumps(document).encode(), kind=JSON).status == 200
    assert shelf.rows("select trace_id, span_id, attributes['n'], attributes['m'] from spans") == [
        (TRACE, SPAN, "7", "8")
    ]


def test_invalid_spans_are_left_out_and_told(shelf: Shelf) -> None:
    startless = span()
    startless.start_time_unix_nano = 0
    answer = post(
        shelf.address,
        export(span(), span(trace_id=b"\0" * 16), span(span_id=b"abc"), span(span_id=b""), startless),
    )
    assert (answer.status, answer.rejected) == (200, 4)
    assert b"start" in answer.body
    assert shelf.rows("select count(*) from spans") == [(1,)]
    assert shelf.meter.read().spans_refused == {"trace_id": 1, "span_id": 2, "start_time": 1}


def test_an_export_without_spans_is_taken(shelf: Shelf) -> None:
    assert post(shelf.address, b"").status == 200
    assert post(shelf.address, b"{}", kind=JSON).status == 200


@pytest.mark.parametrize(
    ("status", "request_of"),
    [
        (404, {"path": "/v1/metrics"}),
        (404, {"path": "/"}),
        (405, {"method": "PUT"}),
        (415, {"kind": "text/plain"}),
        (415, {"headers": {"Content-Encoding": "zstd"}}),
        (400, {"body": b"\xff\xff\xff"}),
        (400, {"body": b"{", "kind": JSON}),
        (400, {"body": b"[]", "kind": JSON}),
        (400, {"body": b'{"resourceSpans": 1}', "kind": JSON}),
        (400, {"body": b'{"resourceSpans": ' + b"[" * 5000, "kind": JSON}),
        (400, {"headers": {"Content-Encoding": "gzip"}, "body": b"not gzip"}),
        (400, {"headers": {"Content-Encoding": "gzip"}, "body": gzip.compress(b"x" * 999)[:-9]}),
        (413, {"body": b"x" * (1 << 21)}),
        (413, {"packed": True, "body": b"\0" * (5 << 20)}),
        (403, {"headers": {"Origin": "http://evil.example"}}),
        (431, {"headers": {"X-Long": "x" * 60_000}}),
    ],
)
def test_bad_requests_are_refused(strict: Shelf, status: int, request_of: dict[str, Any]) -> None:
    before = strict.meter.read().exports_refused.get(str(status), 0)
    answer = post(strict.address, **{"body": b"", **request_of})
    assert answer.status == status
    kind = request_of.get("kind")
    assert answer.headers["content-type"] == (kind if kind == JSON else PROTOBUF)
    if kind == JSON:
        assert json.loads(answer.body)["message"]
    assert answer.headers["connection"] == "close"
    assert strict.meter.read().exports_refused[str(status)] == before + 1
    assert post(strict.address, export(span())).status == 200
    assert strict.meter.read().intake_queue_bytes == 0


@pytest.mark.parametrize(
    "sending",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"POST /v1/traces HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n%s\r\n\r\nzz\r\n"
        % b"Transfer-Encoding: chunked",
    ],
)
def test_what_is_no_http_is_refused(strict: Shelf, sending: bytes) -> None:
    assert raw(strict.address, sending).split(b" ", 2)[1] in {b"400", b"404", b"413"}
    assert post(strict.address, export(span())).status == 200


def test_a_chunked_body_and_one_that_asks_first(shelf: Shelf) -> None:
    content = export(span())
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, bytes([each])) for each in content) + b"0\r\n\r\n"
    answer = raw(shelf.address, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert answer.startswith(b"HTTP/1.1 200 ")
    with connect(shelf.address, head + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n") as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    asking = head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(content)
    with connect(shelf.address, asking) as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
        connection.sendall(content)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_one_connection_serves_many_exports(shelf: Shelf) -> None:
    content = fixed()
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    one = head + b"Content-Length: %d\r\n\r\n" % len(content) + content
    answers = raw(shelf.address, one * 5)
    assert answers.count(b"HTTP/1.1 200 ") == 5
    assert shelf.rows("select count(*) from spans") == [(1,)]


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    token = "0123456789abcdef"
    with running(tmp_path / "ledger", token=token) as shelf:
        content = export(span())
        for wrong in (None, "", "0123456789abcdeg", token + "0", token[:-1], "ü"):
            headers = {} if wrong is None else {"Authorization": f"Bearer {wrong}"}
            answer = post(shelf.address, content, headers=headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert post(shelf.address, content, headers={"Authorization": f"Basic {token}"}).status == 401
        # Nothing is told to one who may not ask.
        assert post(shelf.address, content, path="/v1/metrics").status == 401
        assert post(shelf.address, content, token=token).status == 200
        assert shelf.rows("select count(*) from spans") == [(1,)]


def test_beyond_loopback_it_wants_a_token(tmp_path: Path) -> None:
    with Writer.open(create_ledger(tmp_path / "ledger"), source="shop") as writer:
        from flux.capture.meter import Meter

        for host in ("0.0.0.0", "::"):  # noqa: S104
            with pytest.raises(UsageError, match="without a token"):
                Intake(IntakeSettings(host=host, port=0), writer, Meter())
        with socket.create_server(("127.0.0.1", 0)) as taken:
            settings = IntakeSettings(port=taken.getsockname()[1])
            with pytest.raises(NotListening, match="cannot listen"):
                Intake(settings, writer, Meter())


def test_too_many_spans_for_the_time(tmp_path: Path) -> None:
    bounds = IntakeBounds(spans_per_s_max=10.0, burst_spans_max=5, gather_s=0.02)
    with running(tmp_path / "ledger", bounds=bounds) as shelf:
        assert post(shelf.address, export(*(span() for _ in range(35)))).status == 200
        answer = post(shelf.address, export(span()))
        assert answer.status == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 3


def test_too_much_at_once(tmp_path: Path) -> None:
    bounds = IntakeBounds(queue_bytes_max=100_000, gather_s=0.02, retry_after_s=2)
    with running(tmp_path / "ledger", bounds=bounds) as shelf:
        large = export(*(span(attributes={"text": "x" * 1000}) for _ in range(150)))
        for packed in (False, True):
            answer = post(shelf.address, large, packed=packed)
            assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        assert post(shelf.address, export(span())).status == 200
        assert shelf.meter.read().intake_queue_bytes == 0


@pytest.mark.property
@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from(Encoding))
def test_any_bytes_are_taken_or_refused(content: bytes, encoding: Encoding) -> None:
    _map(content, encoding)


_KEYS = st.sampled_from(
    [
        "resourceSpans",
        "resource",
        "scopeSpans",
        "spans",
        "traceId",
        "spanId",
        "parentSpanId",
        "kind",
        "name",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "key",
        "value",
        "intValue",
        "arrayValue",
        "values",
        "events",
        "status",
        "code",
        "links",
        "stringValue",
        "kvlistValue",
        "bytesValue",
        "doubleValue",
        "x",
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.property
@settings(max_examples=300)
@given(_VALUES)
def test_any_json_is_taken_or_refused(spans: Any) -> None:
    for document in (
        spans,
        {"resourceSpans": spans},
        {"resourceSpans": [{"scopeSpans": [{"spans": [spans]}]}]},
    ):
        _map(json.dumps(document).encode(), Encoding.JSON)


@pytest.mark.property
@settings(max_examples=300)
@given(st.data())
def test_damaged_exports_are_taken_or_refused(data: st.DataObject) -> None:
    content = bytearray(fixed(attributes={"http.request.method": "GET", "url.full": "http://[x", "a": ["b"]}))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    _map(bytes(content), Encoding.PROTOBUF)


def _map(content: bytes, encoding: Encoding) -> None:
    try:
        found = mapped(parsed(content, encoding))
    except Refused as error:
        refused = error.status
    else:
        for table in (found.spans, found.requests, found.exchanges):
            table.validate(full=True)
        return
    assert refused == HTTPStatus.BAD_REQUEST
