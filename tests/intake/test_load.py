"""Under load: kills in the middle of it, and a thousand connections that mean no good."""

from __future__ import annotations

import gzip
import os
import random
import resource
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from capture.process import capturing
from capture.rig import Rig, make_rig
from intake.http import Answer, connect, export, post, span
from intake.shelf import rows
from servers import Database, eventually, on
from servers.server import free_port

SENDERS = 4
EXPORTS = 12
SPANS = 50
KILLS = 2
SLOW = 1000
GROWTH_BYTES_MAX = 200 << 20
"""Of resident memory, over a capture that has taken in a few exports: the intake's queue is 64 MiB."""


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Rig:
    with database.connect() as connection:
        connection.execute("create table item (id int primary key, name text)")
    return make_rig(database, tmp_path, "item")


def _send(address: str, content: bytes, waiting: threading.Event) -> Answer:
    """Send until it is taken, as an exporter does that never gives up."""
    while True:
        try:
            answer = post(address, content, packed=True)
        except OSError:
            waiting.wait(0.05)
            continue
        if answer.status == 200:
            return answer
        assert answer.status in {429, 503}
        waiting.wait(0.05)


@pytest.mark.crash
@on((18, "pgoutput"))
def test_killed_under_load_everything_answered_is_there_once(rig: Rig) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    never, errors = threading.Event(), []
    answered = [0] * SENDERS

    def send(number: int) -> None:
        try:
            for _ in range(EXPORTS):
                made = [span(attributes={"http.request.method": "GET"}) for _ in range(SPANS)]
                _send(address, export(*made), never)
                rig.execute(f"insert into item values ({number * EXPORTS + answered[number]}, 'x')")
                answered[number] += 1
        except BaseException as error:  # noqa: BLE001 (handed to the test)
            errors.append(error)

    senders = [threading.Thread(target=send, args=(number,), daemon=True) for number in range(SENDERS)]
    for each in senders:
        each.start()
    chance = random.Random(4)
    for kill in range(KILLS):
        with capturing(rig, port) as running:
            target = min(sum(answered) + chance.randint(3, 12), SENDERS * EXPORTS * (kill + 1) // (KILLS + 1))
            eventually(lambda least=target: sum(answered) >= least or errors, within_s=60)  # type: ignore[misc]
            running.send_signal(signal.SIGKILL)
    with capturing(rig, port) as running:
        for each in senders:
            each.join(60)
        assert not errors
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    count = SENDERS * EXPORTS * SPANS
    assert rows(rig.settings.ledger, "select count(*), count(distinct span_id) from spans") == [
        (count, count)
    ]
    assert rows(rig.settings.ledger, "select count(*) from requests") == [(count,)]
    rig.once()
    rig.check("public.item")


@on((18, "pgoutput"))
def test_a_thousand_connections_that_mean_no_good(rig: Rig) -> None:
    _allow_files(SLOW + 500)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    beginnings = (b"", b"POST /v1/tr", head + b"Content-Length: 100000\r\n\r\n" + b"x" * 50_000)
    bomb = gzip.compress(b"\0" * (100 << 20), 1)
    with capturing(rig, port) as running, ExitStack() as slow:
        for _ in range(10):
            assert post(address, export(*(span() for _ in range(SPANS)))).status == 200
        capture = psutil.Process(running.pid)
        before = capture.memory_info().rss
        for number in range(SLOW):
            slow.enter_context(connect(address, beginnings[number % len(beginnings)]))
        most = capture.memory_info().rss
        for number in range(3):
            assert post(address, export(span()), packed=True).status == 200
            headers = {"Content-Encoding": "gzip"}
            assert post(address, bomb, headers=headers).status == 413
            assert post(address, b"x" * (17 << 20)).status == 413
            assert post(address, os.urandom(1000)).status == 400
            rig.execute(f"insert into item values ({number}, 'x')")
            most = max(most, capture.memory_info().rss)
        assert most - before < GROWTH_BYTES_MAX
        assert capture.num_threads() < 60
        eventually(
            lambda: rows(rig.settings.ledger, "select count(*) from changes where op = 'insert'") == [(3,)],
            within_s=30,
            what="the changes of meanwhile",
        )
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
