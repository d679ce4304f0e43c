"""Each span once: sent again, after a restart, after an error; and what is in flight when it ends."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from intake.http import PROTOBUF, connect, export, post, span
from intake.shelf import BOUNDS, Shelf, running
from servers import eventually

HEAD = (
    b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %%d\r\n\r\n"
    % PROTOBUF.encode()
)


def test_a_span_sent_again_is_stored_once(shelf: Shelf) -> None:
    content = export(span(attributes={"http.request.method": "GET"}), span(kind=Span.SPAN_KIND_CLIENT))
    with ThreadPoolExecutor(8) as senders:
        answers = list(senders.map(lambda _: post(shelf.address, content).status, range(24)))
    assert set(answers) == {200}
    more = span()
    assert post(shelf.address, export(more, more)).status == 200
    assert shelf.rows("select count(*), count(distinct span_id) from spans") == [(3, 3)]
    assert shelf.rows("select count(*) from requests") == [(2,)]
    assert (shelf.meter.read().spans, shelf.meter.read().requests) == (3, 2)


def test_a_span_sent_again_after_a_restart_is_stored_once(tmp_path: Path) -> None:
    known, new = span(), span(attributes={"http.request.method": "GET"})
    with running(tmp_path / "ledger") as shelf:
        assert post(shelf.address, export(known)).status == 200
    with running(tmp_path / "ledger") as shelf:
        assert post(shelf.address, export(known, new)).status == 200
        assert shelf.meter.read().spans == 1
        assert shelf.rows("select count(*), count(distinct span_id) from spans") == [(2, 2)]
        assert shelf.rows("select count(*) from requests") == [(2,)]


def test_a_forgotten_span_is_looked_for_in_the_ledger(tmp_path: Path) -> None:
    bounds = replace(BOUNDS, seen_spans_max=4, clock_skew_s=0.0)
    with running(tmp_path / "ledger", bounds=bounds) as shelf:
        spans = [span(lasted_ms=0.001) for _ in range(12)]
        for each in (*spans, *spans):
            assert post(shelf.address, export(each)).status == 200
        assert shelf.rows("select count(*), count(distinct span_id) from spans") == [(12, 12)]


def test_what_the_recorder_dropped_is_counted_once(shelf: Shelf) -> None:
    content = export(span())
    for _ in range(3):
        assert post(shelf.address, content, headers={"x-flux-dropped": "7"}).status == 200
    for wrong in ("-1", "x", "9" * 40):
        assert post(shelf.address, export(span()), headers={"x-flux-dropped": wrong}).status == 200
    assert shelf.meter.read().spans_dropped == 7


def test_a_ledger_that_cannot_be_written_and_can_again(shelf: Shelf) -> None:
    content = export(span())
    assert post(shelf.address, export(span())).status == 200
    folder = shelf.folder / "data" / "main" / "spans"
    assert folder.is_dir()
    aside = folder.rename(folder.with_name("aside"))
    folder.write_text("no folder")
    answer = post(shelf.address, content)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert shelf.meter.read().intake_error
    folder.unlink()
    aside.rename(folder)
    assert post(shelf.address, content).status == 200
    assert shelf.rows("select count(*), count(distinct span_id) from spans") == [(2, 2)]


def test_what_is_in_flight_at_the_end_is_finished(tmp_path: Path) -> None:
    content = export(span())
    with running(tmp_path / "ledger") as shelf:
        idle = connect(shelf.address)
        half = connect(shelf.address, HEAD % len(content) + content[:50])
        eventually(lambda: shelf.meter.read().intake_queue_bytes == 50, what="half of the body")
        closing = threading.Thread(target=shelf.intake.close)
        closing.start()
        assert idle.recv(1) == b""
        half.sendall(content[50:])
        answer = half.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in answer
        closing.join(20)
        with pytest.raises(OSError, match="refused"):
            connect(shelf.address)
        idle.close()
        half.close()
        assert shelf.rows("select count(*) from spans") == [(1,)]


def test_an_export_that_never_ends_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with running(tmp_path / "ledger", bounds=replace(BOUNDS, stop_s=0.2)) as shelf:
        with connect(shelf.address, HEAD % 1000 + b"x") as half:
            eventually(lambda: shelf.meter.read().intake_queue_bytes == 1, what="the first byte")
            shelf.intake.close()
            assert half.recv(1) == b""
        assert shelf.meter.read().intake_queue_bytes == 0


@pytest.mark.parametrize("sending", [b"POST /v1/tra", HEAD % 100 + b"x"], ids=["headers", "body"])
def test_slow_ones_are_told_so(tmp_path: Path, sending: bytes) -> None:
    bounds = replace(BOUNDS, headers_s=0.2, body_s=0.2, idle_s=0.4)
    with running(tmp_path / "ledger", bounds=bounds) as shelf:
        with connect(shelf.address, sending) as slow:
            assert slow.recv(65536).startswith(b"HTTP/1.1 408 ")
        with connect(shelf.address) as idle:
            assert idle.recv(1) == b""


def test_the_one_that_keeps_us_waiting_longest_gives_way(tmp_path: Path) -> None:
    with running(tmp_path / "ledger", bounds=replace(BOUNDS, connections_max=8)) as shelf:
        slow: list[socket.socket] = []
        for number in range(8):
            slow.append(connect(shelf.address, HEAD % 100 + b"x"))
            eventually(lambda n=number: shelf.meter.read().intake_queue_bytes == n + 1)  # type: ignore[misc]
        assert post(shelf.address, export(span())).status == 200
        assert slow[0].recv(65536).startswith(b"HTTP/1.1 503 ")
        for each in slow[1:]:
            each.setblocking(False)
            with pytest.raises(BlockingIOError):
                each.recv(1)
        assert shelf.meter.read().exports_refused == {"503": 1}
        for each in slow:
            each.close()


def test_foreign_exchanges_are_counted(shelf: Shelf) -> None:
    trace_id = os.urandom(16)

    def query(text: str, **others: str | int) -> Span:
        attributes = {"db.system": "mysql", "db.statement": text, "db.name": "shop", **others}
        return span(trace_id=trace_id, kind=Span.SPAN_KIND_CLIENT, attributes=dict(attributes))

    assert post(shelf.address, export(query("select 1"), query("select 2"), query("select 1"))).status == 200
    assert post(shelf.address, export(query("select 1"))).status == 200
    own: dict[str, str | int] = {
        "flux.exchange.seq": 3,
        "flux.exchange.occurrence": 9,
        "flux.exchange.fingerprint": "ab",
    }
    assert post(shelf.address, export(query("select 1", **own))).status == 200
    found = shelf.rows(
        "select json_extract_string(request, '$.statement'), occurrence, seq = 3, fingerprint = 'ab'"
        " from exchanges order by 1, 2"
    )
    assert found == [
        ("select 1", 0, False, False),
        ("select 1", 1, False, False),
        ("select 1", 2, False, False),
        ("select 1", 9, True, True),
        ("select 2", 0, False, False),
    ]
