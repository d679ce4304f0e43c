"""What is recorded of a request: its texts, its failures, its exchanges."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import fastapi
import flask
import httpx
import litestar
import psycopg
import pytest
import requests
from fastapi.responses import StreamingResponse

from flux import recorder
from recorder.applications import asgi_server, configure_django, django_app, wsgi_server
from recorder.collector import Collector, attributes_of
from recorder.shop import Shop
from recorder.test_export import ROOT, collector

__all__ = ["collector"]

LARGE = "x" * 100_000


@pytest.fixture
def recording(collector: Collector) -> Collector:
    assert recorder.install("shop", endpoint=collector.endpoint, spool="", root=ROOT)
    return collector


@pytest.fixture
def world() -> Iterator[str]:
    """Another service: echoes, gzipped, with status 201."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            seen.append(dict(self.headers))
            answer = gzip.compress(
                b'{"parent": "%s", "got": %s}' % (self.headers["traceparent"].encode(), body)
            )
            self.send_response(201)
            self.send_header("content-type", "application/json")
            self.send_header("content-encoding", "gzip")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://user:pass@127.0.0.1:{server.server_port}/charge?token=s3cret&a=1"
    server.shutdown()
    server.server_close()
    thread.join()


def raise_deep() -> None:
    raise LookupError("no such thing")


def fastapi_app() -> Any:
    app = fastapi.FastAPI()

    @app.post("/echo/{name}")
    async def echo(name: str, request: fastapi.Request) -> fastapi.Response:
        body = await request.body()
        headers = {"set-cookie": "a=b", "x-name": name}
        return fastapi.Response(body, 201, headers, media_type=request.headers["content-type"])

    @app.get("/fail")
    async def fail() -> None:
        raise_deep()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield LARGE.encode()

        return StreamingResponse(chunks(), media_type="text/plain")

    return recorder.ASGI(app)


def ask(app: Any, *asked: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
    """Send requests to an ASGI application on a real server."""

    async def send() -> list[httpx.Response]:
        async with asgi_server(app) as port, httpx.AsyncClient(trust_env=False) as client:
            base = f"http://127.0.0.1:{port}"
            return [await client.request(method, base + path, **more) for method, path, more in asked]

    return asyncio.run(send())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_request_and_response_with_their_bodies(recording: Collector) -> None:
    headers = {
        "authorization": "Bearer hunter2",
        "cookie": "session=hunter2",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        "content-type": "application/json",
    }
    content = '{"user": "anna", "password": "hunter2", "note": "' + LARGE + '"}'
    answers = ask(
        fastapi_app(),
        ("POST", "/echo/anna?token=hunter2&page=2", {"content": content, "headers": headers}),
        ("POST", "/echo/picture", {"content": b"\x00" * 5120, "headers": {"content-type": "image/png"}}),
        ("GET", "/stream", {}),
        ("GET", "/fail", {}),
        ("GET", "/nowhere", {}),
    )
    assert [answer.status_code for answer in answers] == [201, 201, 200, 500, 404]
    assert len(answers[2].content) == 100 * len(LARGE)
    spans = {attributes_of(span)["url.path"]: span for span in recording.wait_for(5)}
    span = spans["/echo/anna"]
    told = attributes_of(span)
    assert (span.name, span.kind) == ("POST /echo/{name}", 2)
    assert span.trace_id.hex() == told["flux.request_id"] == answers[0].headers["x-request-id"]
    assert span.trace_id.hex() == headers["traceparent"][3:35]
    assert span.parent_span_id.hex() == headers["traceparent"][36:52]
    assert told["http.request.method"] == "POST"
    assert told["http.route"] == "/echo/{name}"
    assert told["url.query"] == "token=[masked]&page=2"
    assert told["http.response.status_code"] == 201
    assert told["http.request.header.authorization"] == ["[masked]"]
    assert told["http.request.header.cookie"] == told["http.response.header.set-cookie"] == ["[masked]"]
    assert told["http.response.header.x-name"] == ["anna"]
    assert told["client.address"] == "127.0.0.1"
    note = f"\n[flux: cut, 16,384 of {len(content):,} bytes]"
    for body in (told["flux.request.body"], told["flux.response.body"]):
        assert body.startswith('{"user": "anna", "password": "[masked]", "note": "xxx')
        assert body.endswith(note)
    assert b"hunter2" not in span.SerializeToString()
    assert attributes_of(spans["/echo/picture"])["flux.response.body"] == "[flux: 5,120 bytes of image/png]"
    assert "10,000,000 bytes]" in attributes_of(spans["/stream"])["flux.response.body"]
    failed = spans["/fail"]
    told = attributes_of(failed)
    assert told["error.type"] == "LookupError"
    assert told["flux.error.location"].startswith("tests/recorder/test_recorded.py:")
    assert told["flux.error.location"].endswith(", raise_deep")
    assert failed.status.code == 2
    (event,) = failed.events
    assert attributes_of(event)["exception.message"] == "no such thing"
    assert "raise_deep" in attributes_of(event)["exception.stacktrace"]
    assert spans["/nowhere"].status.code == 0


def test_frameworks_that_answer_exceptions_themselves(recording: Collector) -> None:
    @litestar.get("/fail")
    async def fail() -> None:
        raise_deep()

    ask(recorder.ASGI(litestar.Litestar([fail])), ("GET", "/fail", {}))
    app = flask.Flask(__name__)

    @app.get("/flask/<int:number>")
    def fail_too(number: int) -> str:
        raise_deep()
        return str(number)

    app.wsgi_app = recorder.WSGI(app.wsgi_app)  # type: ignore[method-assign]
    app.logger.disabled = True
    with wsgi_server(app) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/flask/7", trust_env=False)
    assert answer.status_code == 500
    spans = {span.name: attributes_of(span) for span in recording.wait_for(2)}
    assert set(spans) == {"GET /fail", "GET /flask/<int:number>"}
    for told in spans.values():
        assert told["http.response.status_code"] == 500
        assert told["error.type"] == "LookupError"
        assert told["flux.error.location"].endswith(", raise_deep")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_django(recording: Collector, shop: Shop, asynchronous: bool) -> None:
    configure_django(shop.database.server.port, shop.database.name)
    app = django_app({}, asynchronous=asynchronous)
    form: dict[str, Any] = {
        "content": "user=anna&password=hunter2",
        "headers": {"content-type": "text/plain"},
    }
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/echo/body", form),
        ("POST", "/echo/stream", form),
        ("GET", "/fail", {}),
        ("GET", "/stream", {}),
    ]
    if asynchronous:
        answers = ask(app, *asked)
    else:
        with wsgi_server(app) as port, httpx.Client(trust_env=False) as client:
            answers = [
                client.request(method, f"http://127.0.0.1:{port}{path}", **more)
                for method, path, more in asked
            ]
    assert [answer.status_code for answer in answers] == [201, 201, 500, 200]
    assert len(answers[3].content) == 1_000_000
    spans = {attributes_of(span)["url.path"]: attributes_of(span) for span in recording.wait_for(4)}
    for path in ("/echo/body", "/echo/stream"):
        assert spans[path]["http.route"] == "/echo/<name>"
        assert spans[path]["http.response.status_code"] == 201
        assert spans[path]["flux.request.body"] == "user=anna&password=[masked]"
        assert spans[path]["flux.response.body"] == "user=anna&password=[masked]"
    assert spans["/echo/body"]["flux.request_id"] == answers[0].headers["x-request-id"]
    assert spans["/fail"]["error.type"] == "LookupError"
    assert spans["/fail"]["flux.error.location"].endswith(", fail")
    assert spans["/fail"]["http.response.status_code"] == 500
    assert "of 1,000,000 bytes]" in spans["/stream"]["flux.response.body"]


def test_statements(recording: Collector, shop: Shop) -> None:
    with psycopg.connect(shop.database.dsn, autocommit=True) as connection, recorder.request("job"):
        connection.execute("select %s::text, %s::int, %s", ["it's", None, b"\x01"])
        connection.execute("select %(a)s::int", {"a": 7})
        connection.execute("select %(a)s::int", {"a": 8})
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("select 1 / 0")
        connection.execute("insert into orders values ('statements', 'x')")
    spans = recording.wait_for(6)
    entry = spans[-1]
    told = [attributes_of(span) for span in spans[:-1]]
    assert {span.parent_span_id for span in spans[:-1]} == {entry.span_id}
    assert {span.trace_id for span in spans} == {entry.trace_id}
    assert [each["flux.exchange.seq"] for each in told] == [0, 1, 2, 3, 4]
    assert [each["flux.exchange.occurrence"] for each in told] == [0, 0, 1, 0, 0]
    assert told[1]["flux.exchange.fingerprint"] == told[2]["flux.exchange.fingerprint"]
    assert told[0]["db.query.text"] == "select %s::text, %s::int, %s"
    assert told[0]["db.query.parameter.0"] == "it's"
    assert told[0]["flux.db.null_parameters"] == ["1"]
    assert told[0]["db.query.parameter.2"] == "\\x01"
    assert told[0]["db.response.returned_rows"] == 1
    assert told[0]["db.namespace"] == shop.database.name
    assert told[1]["db.query.parameter.a"] == "7"
    assert told[3]["db.response.status_code"] == "22012"
    assert told[3]["error.type"] == "psycopg.errors.DivisionByZero"
    assert told[4]["db.response.returned_rows"] == 1


@pytest.mark.parametrize("library", ["httpx", "httpx-async", "requests", "requests-stream", "aiohttp"])
def test_outbound_calls(recording: Collector, world: str, library: str) -> None:
    given = {"amount": 5, "password": "hunter2"}

    async def over_aiohttp() -> Any:
        async with aiohttp.ClientSession() as session, session.post(world, json=given) as answer:
            return await answer.json()

    async def over_httpx() -> Any:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.post(world, json=given)).json()

    with recorder.request("pay"):
        if library == "httpx":
            answer = httpx.post(world, json=given, trust_env=False).json()
        elif library == "httpx-async":
            answer = asyncio.run(over_httpx())
        elif library == "aiohttp":
            answer = asyncio.run(over_aiohttp())
        else:
            with requests.Session() as session:
                session.trust_env = False
                answer = session.post(world, json=given, stream=library.endswith("stream"), timeout=10).json()
    assert answer["got"] == given
    call, entry = recording.wait_for(2)
    told = attributes_of(call)
    assert (call.kind, call.parent_span_id) == (3, entry.span_id)
    assert answer["parent"] == f"00-{call.trace_id.hex()}-{call.span_id.hex()}-01"
    assert told["http.request.method"] == "POST"
    assert told["url.full"].endswith("/charge?token=[masked]&a=1")
    assert "pass" not in told["url.full"]
    assert told["server.address"] == "127.0.0.1"
    assert told["http.response.status_code"] == 201
    assert told["http.response.header.content-type"] == ["application/json"]
    assert told["flux.request.body"].replace(" ", "") == '{"amount":5,"password":"[masked]"}'
    assert '"[masked]"' in told["flux.response.body"]
    assert told["flux.exchange.seq"] == told["flux.exchange.occurrence"] == 0
    assert len(told["flux.exchange.fingerprint"]) == 16
    assert b"hunter2" not in call.SerializeToString()


def test_a_call_that_fails(recording: Collector) -> None:
    with recorder.request("pay"), pytest.raises(httpx.ConnectError):
        httpx.get("http://127.0.0.1:9/", trust_env=False)
    call, _ = recording.wait_for(2)
    assert attributes_of(call)["error.type"] == "httpx.ConnectError"
    assert call.events[0].name == "exception"


@pytest.mark.usefixtures("recording")
def test_threads_and_executors_work_for_the_request() -> None:
    from concurrent.futures import ThreadPoolExecutor

    seen: list[str | None] = []

    def look() -> None:
        running = recorder.current()
        seen.append(running.request_id if running else None)

    with ThreadPoolExecutor(1) as pool:
        with recorder.request("one", request_id="r-1"):
            pool.submit(look).result()
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
        pool.submit(look).result()
    assert seen == ["r-1", "r-1", None]
