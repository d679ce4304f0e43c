"""The recorder and the real intake: `flux up` is killed under load, stays away a while, and comes back."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from capture.process import capturing
from flux import recorder
from intake.shelf import rows
from recorder.applications import asgi_server
from recorder.shop import Shop
from recorder.test_export import ROOT, files
from servers import eventually
from servers.server import free_port

CLIENTS = 8
"""Each asks again as soon as it is answered, while there is something to ask."""
ANSWERS = 50
"""So many before each event of the test, and as many after it; they come also while nobody listens."""


class Load:
    """A server with clients that go on asking, in a thread of their own."""

    def __init__(self, dsn: str, prefix: str) -> None:
        self._dsn, self._prefix = dsn, prefix
        self.answered: list[str] = []
        """Ids of the requests that were answered."""
        self.failure: BaseException | None = None
        self._over = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._turns = asyncio.Semaphore(0)
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """Ask no more; what was asked is answered."""
        self._over.set()
        self._allow(CLIENTS)
        self._thread.join()

    def more(self) -> None:
        """Wait until so many more requests are answered; as many go on afterwards."""
        least = len(self.answered) + ANSWERS
        self._allow(2 * ANSWERS)
        eventually(lambda: len(self.answered) >= least or self.failure, within_s=60, what="more answers")
        assert self.failure is None

    def _allow(self, turns: int) -> None:
        if not self._loop.is_closed():
            for _ in range(turns):
                self._loop.call_soon_threadsafe(self._turns.release)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._ask_all())
        except BaseException as error:  # noqa: BLE001 (handed to the test)
            self.failure = error

    async def _ask_all(self) -> None:
        async def work(request: Request) -> PlainTextResponse:
            key = request.headers["x-request-id"]
            async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
                await connection.execute("insert into orders values (%s, %s)", (key, key))
            return PlainTextResponse(key)

        app: Any = recorder.ASGI(Starlette(routes=[Route("/work", work, methods=["POST"])]))
        async with asgi_server(app) as port, httpx.AsyncClient(trust_env=False, timeout=60) as client:

            async def ask(number: int) -> None:
                for turn in itertools.count():
                    await self._turns.acquire()
                    if self._over.is_set():
                        return
                    key = f"{self._prefix}{number}-{turn}"
                    url = f"http://127.0.0.1:{port}/work"
                    answer = await client.post(url, headers={"x-request-id": key})
                    assert (answer.status_code, answer.text) == (200, key)
                    self.answered.append(key)

            await asyncio.gather(*map(ask, range(CLIENTS)))


@pytest.mark.crash
def test_every_answered_request_is_in_the_ledger_once(shop: Shop, tmp_path: Path) -> None:
    port, prefix = free_port(), shop.prefix()
    endpoint = f"http://127.0.0.1:{port}/v1/traces"
    before = recorder.stats()
    assert recorder.install("shop", endpoint=endpoint, spool=tmp_path, root=ROOT)
    load = Load(shop.database.dsn, prefix)
    try:
        with load.running():
            with capturing(shop.rig, port):
                load.more()
                exported = recorder.stats().get("spans_exported", 0)
                load.more()
                eventually(
                    lambda: recorder.stats().get("spans_exported", 0) > exported,
                    within_s=60,
                    what="an export",
                )
                load.more()
            load.more()  # while nobody listens
            with capturing(shop.rig, port) as running:
                load.more()
                load.end()
                eventually(lambda: recorder.flush(1) and not files(tmp_path), within_s=60, what="the spool")
                running.send_signal(signal.SIGTERM)
                assert running.wait(60) == 0
    finally:
        recorder.uninstall()
    assert load.failure is None
    after = recorder.stats()
    counted = {name: after.get(name, 0) - before.get(name, 0) for name in after}
    assert counted.get("faults", 0) == 0
    assert counted["spans_spooled"] > 0
    ledger = shop.rig.settings.ledger
    (twice,) = rows(ledger, "select count(*) - count(distinct (trace_id, span_id)) from spans")
    assert twice == (0,)
    found = [
        key for (key,) in rows(ledger, f"select request_id from requests where request_id like '{prefix}%'")
    ]
    assert len(found) == len(set(found))
    missing = set(load.answered) - set(found)
    assert len(missing) <= counted.get("spans_dropped", 0)
    exchanges = f"select count(*) from exchanges where request_id like '{prefix}%'"
    lost = len(load.answered) - rows(ledger, exchanges)[0][0]
    assert lost + len(missing) <= counted.get("spans_dropped", 0)
    shop.right(prefix, len(load.answered))
