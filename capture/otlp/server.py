"""The HTTP server of the intake: one thread for its connections, one that reads what they bring.

However many connect and however slowly they send: threads, memory and open files are bounded. When all
places are taken, the connection that has kept us waiting longest gives way to a new one.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus

from flux.capture.meter import Meter
from flux.capture.otlp.admission import Budget, Rate
from flux.capture.otlp.connection import CHUNK_BYTES, Connection, Export, Phase
from flux.capture.otlp.gathering import Gatherer
from flux.capture.otlp.reading import accepted, parsed, unpacked
from flux.capture.otlp.refusal import Refused
from flux.capture.otlp.spans import Mapped, mapped
from flux.capture.settings import IntakeSettings

BACKLOG = 1024
"""Connections that the kernel keeps until we come to them."""
FILES_SHARE = 4
"""Of the files this process may open, connections take one in so many: capture needs the others."""

_FAULTS = {
    "trace_id": "a trace id that is not 16 bytes or is zero",
    "span_id": "a span id that is not 8 bytes or is zero",
    "start_time": "a span without a start",
}


class Server:
    """Serves a listening socket from the moment it is made until `close`."""

    def __init__(
        self, listening: socket.socket, settings: IntakeSettings, gatherer: Gatherer, meter: Meter
    ) -> None:
        self._listening = listening
        self._settings = settings
        self._bounds = settings.bounds
        self._gatherer = gatherer
        self._meter = meter
        self._budget = Budget(self._bounds.queue_bytes_max, lambda held: meter.note(intake_queue_bytes=held))
        self._rate = Rate(self._bounds.spans_per_s_max, self._bounds.burst_spans_max)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="flux-reading")
        self._connections_max = min(
            self._bounds.connections_max, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // FILES_SHARE
        )
        self._tasks: dict[asyncio.Task[None], Connection] = {}
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._failed)
        self._stopping = asyncio.Event()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="flux-otlp", daemon=True)
        self._thread.start()
        started.result()

    def close(self) -> None:
        """Accept no more, finish what was received, within `stop_s`."""
        # Its loop may have ended: closed before.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(self._bounds.stop_s + 5.0)

    def _run(self, started: Future[None]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(started))
        finally:
            self._readers.shutdown(wait=False, cancel_futures=True)
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Keep what the event loop would print: stderr belongs to the command line."""
        self._meter.note(intake_error=str(context.get("message", "the event loop failed")))

    async def _serve(self, started: Future[None]) -> None:
        server = await asyncio.start_server(
            self._connected, sock=self._listening, limit=CHUNK_BYTES, backlog=BACKLOG
        )
        started.set_result(None)
        await self._stopping.wait()
        server.close()
        for connection in self._tasks.values():
            connection.is_last = True
            if connection.phase is Phase.IDLE:
                connection.close()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=self._bounds.stop_s)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we run in one
        if len(self._tasks) >= self._connections_max:
            self._make_room()
        connection = Connection(
            reader, writer, self._settings, self._budget, self._rate, self._take, self._refused
        )
        self._tasks[task] = connection
        self._meter.note(intake_connections=len(self._tasks))
        try:
            await connection.serve()
        finally:
            del self._tasks[task]
            self._meter.note(intake_connections=len(self._tasks))
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _make_room(self) -> None:
        """Let the connection give way that is idle, or else has kept us waiting, the longest."""
        waiting = [
            (connection.phase is not Phase.IDLE, connection.since, number, task)
            for number, (task, connection) in enumerate(self._tasks.items())
            if connection.phase is not Phase.STORING
        ]
        if waiting:
            *_, task = min(waiting)
            self._tasks[task].give_way()
            task.cancel()

    def _refused(self, refused: Refused) -> None:
        self._meter.tally("exports_refused", str(refused.status.value))

    async def _take(self, export: Export) -> bytes:
        """See `connection.Take`."""
        content = await self._loop.run_in_executor(
            self._readers,
            lambda: unpacked(export.body, gzipped=export.gzipped, bytes_max=self._bounds.content_bytes_max),
        )
        more = len(content) - len(export.body) if export.gzipped else 0
        if not self._budget.take(max(more, 0)):
            raise self._busy("too much is waiting to be stored")
        try:
            found = await self._loop.run_in_executor(
                self._readers, lambda: mapped(parsed(content, export.encoding))
            )
            self._rate.pay(len(found.identity))
            await self._durable(found, export.dropped)
        finally:
            self._budget.give_back(max(more, 0))
        count, why = _partly(found.refused)
        for reason, number in found.refused.items():
            self._meter.tally("spans_refused", reason, number)
        return accepted(export.encoding, count, why)

    async def _durable(self, found: Mapped, dropped: int) -> None:
        """Wait until an export is in the ledger; raises `Refused`."""
        durable: asyncio.Future[Refused | None] = self._loop.create_future()

        def done(refused: Refused | None) -> None:
            # Nobody waits any more when the loop has ended.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(settle, refused)

        def settle(refused: Refused | None) -> None:
            if not durable.done():
                durable.set_result(refused)

        self._gatherer.put(found, dropped, done)
        refused = await durable
        if refused is not None:
            raise refused

    def _busy(self, why: str) -> Refused:
        return Refused(HTTPStatus.SERVICE_UNAVAILABLE, why, retry_after_s=self._bounds.retry_after_s)


def _partly(refused: Counter[str]) -> tuple[int, str]:
    """Return how many spans of an export are left out, and why."""
    return refused.total(), "; ".join(f"{_FAULTS[reason]}: {count:,}" for reason, count in refused.items())
