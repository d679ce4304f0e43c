"""What the semantic conventions say of a span, by stable and by old names, as rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from flux.capture.otlp.convention import fingerprint
from flux.capture.otlp.spans import Mapped, mapped
from intake.http import export, span

Values = dict[str, str | int | float | bool | list[str]]


def rows_of(*spans: Span, **resource: str) -> Mapped:
    return mapped(ExportTraceServiceRequest.FromString(export(*spans, resource=resource)))


def request_of(attributes: Values, **others: Any) -> dict[str, Any]:
    (row,) = rows_of(span(attributes=attributes, **others)).requests.to_pylist()
    return dict(row)


def exchange_of(attributes: Values, **others: Any) -> dict[str, Any]:
    """Return the exchange of a client span; its JSON is read."""
    made = span(kind=Span.SPAN_KIND_CLIENT, attributes=attributes, **others)
    (row,) = rows_of(made).exchanges.to_pylist()
    return {
        name: json.loads(value) if name in {"request", "response", "error"} and value else value
        for name, value in row.items()
    }


@pytest.mark.parametrize(
    "attributes",
    [
        {
            "http.request.method": "GET",
            "http.response.status_code": 404,
            "url.path": "/o/7",
            "url.query": "a=1",
        },
        {"http.method": "GET", "http.status_code": 404, "http.target": "/o/7?a=1"},
        {"http.method": "GET", "http.status_code": 404, "http.url": "http://shop:80/o/7?a=1#x"},
    ],
)
def test_an_entry_span_of_http(attributes: Values) -> None:
    found = request_of({"http.route": "/o/{id}", **attributes})
    assert {name: found[name] for name in ("method", "route", "path", "status", "error_type")} == {
        "method": "GET",
        "route": "/o/{id}",
        "path": "/o/7",
        "status": 404,
        "error_type": None,
    }


def test_an_entry_span_of_a_job() -> None:
    found = request_of({"flux.request_id": "job-1"}, name="send invoices", kind=Span.SPAN_KIND_CONSUMER)
    assert (found["request_id"], found["route"]) == ("job-1", "send invoices")
    assert (found["method"], found["path"], found["status"], found["request"]) == (None, None, None, None)


def test_headers_bodies_and_version() -> None:
    made = span(
        attributes={
            "http.request.method": "POST",
            "http.request.header.content-type": ["application/json"],
            "http.response.header.x-a": ["1", "2"],
            "flux.request.body": "{}",
        }
    )
    (found,) = rows_of(made, **{"vcs.ref.head.revision": "abc+dirty"}).requests.to_pylist()
    assert dict(found["request"]["headers"]) == {"content-type": "application/json"}
    assert (found["request"]["body"], found["code_version"]) == ("{}", "abc+dirty")
    assert (dict(found["response"]["headers"]), found["response"]["body"]) == ({"x-a": "1, 2"}, None)


def test_an_error_and_an_exception_that_was_handled() -> None:
    made = [
        span(attributes={"http.request.method": "GET", "flux.error.location": "app.py:7, pay"}) for _ in "ab"
    ]
    for each in made:
        thrown = each.events.add(name="exception", time_unix_nano=each.end_time_unix_nano)
        thrown.attributes.add(key="exception.type").value.string_value = "ValueError"
        thrown.attributes.add(key="exception.message").value.string_value = "no"
        thrown.attributes.add(key="exception.stacktrace").value.string_value = "Traceback"
    made[0].status.code = Status.STATUS_CODE_ERROR
    failed, handled = rows_of(*made).requests.to_pylist()
    columns = ("error_type", "error_message", "error_stack", "error_location")
    assert [failed[name] for name in columns] == ["ValueError", "no", "Traceback", "app.py:7, pay"]
    assert [handled[name] for name in columns[:3]] == [None, None, None]


@pytest.mark.parametrize(
    "attributes",
    [
        {"db.system.name": "postgresql", "db.namespace": "shop", "db.query.text": "select $1, $2"},
        {"db.system": "postgresql", "db.name": "shop", "db.statement": "select $1, $2"},
    ],
)
def test_a_statement(attributes: Values) -> None:
    found = exchange_of(
        {
            **attributes,
            "db.query.parameter.0": "7",
            "flux.db.null_parameters": ["1"],
            "db.response.returned_rows": 3,
        }
    )
    assert (found["kind"], found["target"]) == ("sql", "shop")
    assert found["request"] == {"statement": "select $1, $2", "parameters": ["7", None]}
    assert found["response"] == {"rows": 3}
    assert found["error"] is None
    assert found["fingerprint"] == fingerprint("select $1, $2")


def test_named_parameters_and_an_error() -> None:
    made = span(
        kind=Span.SPAN_KIND_CLIENT,
        attributes={
            "db.query.text": "insert into t values (%(a)s)",
            "db.query.parameter.a": "7",
            "db.response.status_code": "23505",
            "error.type": "UniqueViolation",
            "server.address": "db",
        },
    )
    made.status.code = Status.STATUS_CODE_ERROR
    made.status.message = "duplicate key"
    (found,) = rows_of(made).exchanges.to_pylist()
    assert json.loads(found["request"])["parameters"] == {"a": "7"}
    assert json.loads(found["error"]) == {
        "type": "UniqueViolation",
        "code": "23505",
        "message": "duplicate key",
    }
    assert found["target"] == "db"


@pytest.mark.parametrize(
    "attributes",
    [
        {
            "http.request.method": "POST",
            "url.full": "https://pay.example/charge?k=1",
            "http.response.status_code": 201,
        },
        {"http.method": "POST", "http.url": "https://pay.example/charge?k=1", "http.status_code": 201},
        {
            "http.method": "POST",
            "http.scheme": "https",
            "net.peer.name": "pay.example",
            "http.target": "/charge?k=1",
            "http.status_code": 201,
        },
    ],
)
def test_an_outbound_call(attributes: Values) -> None:
    found = exchange_of({**attributes, "flux.request.body": "{}"})
    url = "https://pay.example/charge?k=1"
    assert (found["kind"], found["target"]) == ("http", "POST https://pay.example/charge")
    assert found["request"] == {"method": "POST", "url": url, "body": "{}"}
    assert found["response"] == {"status": 201}
    assert found["fingerprint"] == fingerprint("POST", url, "{}")


def test_what_is_no_exchange() -> None:
    connecting = span(kind=Span.SPAN_KIND_CLIENT, attributes={"db.system": "postgresql"})
    calling = span(kind=Span.SPAN_KIND_CLIENT, attributes={"rpc.system": "grpc"})
    inner = span(kind=Span.SPAN_KIND_INTERNAL, attributes={"db.statement": "select 1"})
    found = rows_of(connecting, calling, inner)
    assert (found.spans.num_rows, found.requests.num_rows, found.exchanges.num_rows) == (3, 0, 0)


def test_values_are_the_text_of_their_json() -> None:
    made = span(attributes={"t": "x", "i": -7, "f": 0.5, "b": False, "l": ["a", 'b"']})
    made.attributes.add(key="nan").value.double_value = float("nan")
    made.attributes.add(key="none")
    made.attributes.add(key="bytes").value.bytes_value = b"\0\1"
    nested = made.attributes.add(key="map").value.kvlist_value.values.add(key="k")
    nested.value.array_value.values.add(int_value=1)
    (found,) = rows_of(made).spans.to_pylist()
    assert dict(found["attributes"]) == {
        "t": "x",
        "i": "-7",
        "f": "0.5",
        "b": "false",
        "l": '["a","b\\""]',
        "nan": "NaN",
        "none": None,
        "bytes": "AAE=",
        "map": '{"k":[1]}',
    }


def test_clocks_that_are_set_back() -> None:
    made = span()
    made.end_time_unix_nano = made.start_time_unix_nano - 1
    assert rows_of(made).spans.column("duration_ms").to_pylist() == [None]
