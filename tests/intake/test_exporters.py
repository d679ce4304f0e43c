"""Real exporters, of Python and of Node, against a capture that runs: their requests are in the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from capture.rig import Rig, make_rig
from flux.capture.settings import IntakeSettings
from intake.foreign import get, node_shop
from intake.shelf import BOUNDS, Shelf, rows
from servers import Database, eventually, on

INTAKE = IntakeSettings(port=0, bounds=BOUNDS)


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Rig:
    """`item` with a row, tracked with rollbacks; nothing captured yet."""
    with database.connect() as connection:
        connection.execute("create table item (id int primary key, name text, price numeric(10, 2))")
        connection.execute("insert into item values (1, 'pen', 1)")
    return make_rig(database, tmp_path, "item")


def address_of(rig: Rig) -> str:
    """Return where the running capture takes spans."""

    def said() -> str | None:
        if rig.running is not None and rig.running.error is not None:
            raise rig.running.error
        return next(
            (line.split()[-1].removesuffix("/v1/traces") for line in rig.lines if "spans on" in line), None
        )

    found = eventually(said, within_s=30, what="the intake")
    assert found is not None
    return found


def url_of(database: Database) -> str:
    """Return the connection string as a driver takes it that is not libpq's."""
    return f"postgresql://postgres@127.0.0.1:{database.server.port}/{database.name}"


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_the_sdk_of_python(shelf: Shelf, compression: Compression) -> None:
    exporter = OTLPSpanExporter(f"{shelf.address}/v1/traces", compression=compression, timeout=10)
    provider = TracerProvider(resource=Resource({"service.name": "py", "vcs.ref.head.revision": "abc+dirty"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("GET /o/{id}", kind=SpanKind.SERVER) as entry:
        entry.set_attributes({"http.request.method": "GET", "http.route": "/o/{id}", "url.path": "/o/7"})
        entry.set_attribute("http.response.status_code", 200)
        entry.set_attribute("http.request.header.accept", ["text/html", "*/*"])
        with tracer.start_as_current_span("select", kind=SpanKind.CLIENT) as query:
            query.set_attributes({"db.system.name": "postgresql", "db.query.text": "select 1"})
    provider.shutdown()
    if compression is Compression.Deflate:
        assert shelf.meter.read().exports_refused == {"415": 1}
        return
    found = shelf.rows(
        "select service, method, route, path, status, code_version, request.headers['accept'] from requests"
    )
    assert found == [("py", "GET", "/o/{id}", "/o/7", 200, "abc+dirty", "text/html, */*")]
    assert shelf.rows(
        "select name, s.request_id = r.request_id, parent_id is null from spans s, requests r order by name"
    ) == [("GET /o/{id}", True, True), ("select", True, False)]
    assert shelf.rows("select kind, target, request, occurrence from exchanges") == [
        ("sql", "postgresql", '{"statement":"select 1"}', 0)
    ]


@on((18, "pgoutput"), (15, "wal2json"))
@pytest.mark.parametrize("encoding", ["proto", "json"])
def test_the_sdk_of_node(rig: Rig, encoding: str) -> None:
    running = rig.start(otlp=INTAKE)
    with node_shop(url_of(rig.database), address_of(rig), encoding) as shop:
        assert get(f"{shop}/order?price=7") == 200
        assert get(f"{shop}/fail?price=8") == 500
    folder = rig.settings.ledger
    running.stop()
    rig.once()
    requests = rows(
        folder, "select service, method, path, status, error_type from requests order by started_at"
    )
    assert requests == [
        ("node-shop", "GET", "/order", 200, None),
        ("node-shop", "GET", "/fail", 500, "500"),
    ]
    exchanges = rows(
        folder,
        "select e.kind, e.request like '%update item set price = $1%', e.error is null"
        " from exchanges e join requests r using (request_id) order by r.started_at",
    )
    assert exchanges == [("sql", True, True), ("sql", False, False)]
    # The statement's comment ties the change to the request: nothing else here could.
    changes = rows(
        folder,
        "select c.after['price'], r.path from changes c join requests r using (request_id)"
        " where c.op = 'update' and c.outcome = 'committed'",
    )
    assert changes == [("7.00", "/order")]
