"""The wire: START_REPLICATION, raw messages in order, keepalives, feedback.

Promises: messages come out whole and in the server's order; feedback goes out on a timer of its
own, also while the consumer is busy or the queue is full; memory is bounded by `queue_bytes_max`
and one message; when the server goes away, or says nothing though asked, what had arrived is still
handed out, then the error is raised. Assumes: one consumer thread. Does not: look into a message
(that is the decoder's), store, or reconnect (that is capture's).

Source: PostgreSQL documentation, "Streaming Replication Protocol" (START_REPLICATION, XLogData,
Primary keepalive message, Standby status update).
"""

from __future__ import annotations

import os
import select
import struct
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import pq

from flux import sql
from flux.decoder.slot import (
    await_result,
    connect_replication,
    execute,
    quote_name,
    quote_text,
    refusal,
    translate,
)
from flux.model.errors import DecodeError, FluxError, SourceError, Unreachable
from flux.model.lsn import lsn_text

FEEDBACK_INTERVAL_S = 10.0
"""The server hears of us at least this often; a third of wal_sender_timeout if that is less."""
RECEIVE_TIMEOUT_S = 60.0
"""A server that is asked and says nothing for so long is gone; not below its own wal_sender_timeout.

As wal_receiver_timeout of a standby: a server that decodes what it has nothing to send of still answers.
"""
QUEUE_BYTES_MAX = 32 << 20
"""Received and not yet taken; beyond it the socket is left alone, which slows the server down."""
CLOSE_TIMEOUT_S = 2.0
"""Bound on the polite end of a stream."""
READ_LOG_TIMEOUT_S = 5.0
"""Bound on looking at a piece of the log itself."""

HEADER_BYTES = 25
"""Of a 'w' message: kind, start, end, server's clock."""

_CHUNK_BYTES = 256 << 10
"""Handed to the queue at once: a lock per message would cost as much as the message."""
_MESSAGE_OVERHEAD_BYTES = 64
"""What a small bytes object costs beside its payload."""

_KEEPALIVE = struct.Struct("!cQqB")
_FEEDBACK = struct.Struct("!cQQQqB")
_DATA_END = struct.Struct("!8xQ")
_POSTGRES_EPOCH_US = 946_684_800_000_000

PGOUTPUT_OPTIONS: Mapping[str, str] = {
    "proto_version": "1",
    "publication_names": "flux,flux_inserts",
    "messages": "true",
}
WAL2JSON_OPTIONS: Mapping[str, str] = {
    "format-version": "2",
    "include-lsn": "1",
    "include-xids": "1",
    "include-timestamp": "1",
    "include-types": "0",
    "include-pk": "0",
    "include-transaction": "1",
    "include-origin": "1",
}
EXACT_NUMBERS = "numeric-data-types-as-string"
"""wal2json from 2.6: without it, NaN and the infinities come as null."""


def default_options(plugin: str) -> dict[str, str]:
    """Return the options that the decoder of `plugin` expects."""
    return dict(PGOUTPUT_OPTIONS if plugin == "pgoutput" else WAL2JSON_OPTIONS)


class Stream:
    """A running replication stream; a thread of its own owns the connection until `close`."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        *,
        exact_numbers: bool,
        feedback_interval_s: float,
        receive_timeout_s: float,
        queue_bytes_max: int,
        confirmed_lsn: int,
    ) -> None:
        self.exact_numbers = exact_numbers
        """NaN and infinities arrive as what they are (see EXACT_NUMBERS)."""
        self.server_lsn = 0
        """The newest log position that the server spoke of."""
        self._connection = connection
        self._feedback_interval_s = feedback_interval_s
        self._receive_timeout_s = receive_timeout_s
        self._queue_bytes_max = queue_bytes_max
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._queue: deque[tuple[list[bytes], int]] = deque()
        self._waiting_bytes = 0  # of the messages in the queue
        self._queue_bytes = 0  # the same, with what holding them costs
        self._error: FluxError | None = None
        self._read_out_lsn = 0
        self._behind_queue_lsn = 0
        self._reply_asked = False
        self._confirmed_lsn = confirmed_lsn
        self._feedback_due = 0.0
        self._heard_at = time.monotonic()
        self._asked_at: float | None = None  # a sign of life was asked for, and none has come
        self._closing = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._thread = threading.Thread(target=self._run, name="flux-wire", daemon=True)
        self._thread.start()

    def receive(self, *, bytes_max: int, wait_s: float, bytes_min: int = 1) -> list[bytes]:
        """Return whole messages, header included, in order; [] when `wait_s` passed without one.

        Returns as soon as `bytes_min` are there (or the queue is full, or no more can come), with at most
        `bytes_max` (but always at least one message); also early, with what is there, when the server asks
        for an answer, so that an idle position can be confirmed. Raises the stream's error once everything
        that arrived was returned.
        """
        deadline = time.monotonic() + wait_s
        with self._arrived:
            while self._waiting_bytes < bytes_min and self._queue_bytes < self._queue_bytes_max:
                if self._error is not None:
                    if self._queue:
                        break
                    raise self._error
                if self._reply_asked:
                    self._reply_asked = False
                    break
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    break
                self._arrived.wait(left_s)
            was_full = self._queue_bytes >= self._queue_bytes_max
            messages = self._take(bytes_max)
            resume = was_full and self._queue_bytes < self._queue_bytes_max
        if resume:
            self._wake()
        return messages

    def _take(self, bytes_max: int) -> list[bytes]:
        """Take whole chunks up to `bytes_max`, part of one if the first is larger. Lock is held."""
        messages: list[bytes] = []
        taken = 0
        while self._queue:
            chunk, size = self._queue[0]
            if taken + size <= bytes_max:
                self._queue.popleft()
                messages += chunk
                taken += size
                continue
            if not messages:
                count = 0
                while count < len(chunk) and (count == 0 or taken + len(chunk[count]) <= bytes_max):
                    taken += len(chunk[count])
                    count += 1
                messages = chunk[:count]
                self._queue[0] = (chunk[count:], size - taken)
                if count == len(chunk):
                    self._queue.popleft()
            break
        self._waiting_bytes -= taken
        self._queue_bytes -= taken + _MESSAGE_OVERHEAD_BYTES * len(messages)
        if not self._queue:
            self._read_out_lsn = max(self._read_out_lsn, self._behind_queue_lsn)
        return messages

    def confirm(self, lsn: int) -> None:
        """Tell the server that everything up to `lsn` is durable; never goes back. Thread safe."""
        with self._lock:
            if lsn <= self._confirmed_lsn:
                return
            self._confirmed_lsn = lsn
            self._feedback_due = 0.0
        self._wake()

    @property
    def confirmed_lsn(self) -> int:
        """What was last confirmed on this stream."""
        return self._confirmed_lsn

    @property
    def caught_up_lsn(self) -> int:
        """The server has sent everything that ends before this position, and `receive` returned it.

        It may be confirmed when all of that is durable and nothing in it is unresolved. 0 until the
        first keepalive.
        """
        with self._lock:
            return self._read_out_lsn

    @property
    def idle(self) -> bool:
        """Nothing that arrived waits to be received."""
        with self._lock:
            return not self._queue

    @property
    def queue_bytes(self) -> int:
        """Bytes of memory that hold what arrived and waits to be received."""
        return self._queue_bytes

    def close(self) -> None:
        """Send the last feedback, end the stream and the connection. May be called twice."""
        self._closing = True
        self._wake()
        self._thread.join(CLOSE_TIMEOUT_S * 2)

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass  # the pipe is full of wake-ups already
        except OSError:
            pass  # the thread has ended and closed it

    # What follows runs in the stream's own thread.

    def _run(self) -> None:
        conn = self._connection.pgconn
        error: FluxError | None = None
        try:
            conn.nonblocking = 1
            while not self._closing:
                paused = self._drain(conn)
                self._feed_back(conn)
                self._wait(conn, paused=paused)
            self._finish(conn)
        except FluxError as failure:
            error = failure
        except psycopg.Error as failure:
            error = translate(failure, doing="read the replication stream")
        finally:
            self._connection.close()
            with self._arrived:
                self._error = error or Unreachable("the replication stream is closed")
                os.close(self._wake_read)
                os.close(self._wake_write)
                self._wake_read = self._wake_write = -1
                self._arrived.notify_all()

    def _drain(self, conn: pq.abc.PGconn) -> bool:
        """Move what libpq holds into the queue; True when the queue is full and libpq may hold more."""
        while self._queue_bytes < self._queue_bytes_max:
            chunk: list[bytes] = []
            size = 0
            keepalive_lsn = 0
            reply = False
            exhausted = False
            while size < _CHUNK_BYTES:
                # Never get_copy_data(0): it waits with the interpreter's lock held.
                length, data = conn.get_copy_data(1)
                if length > 0:
                    message = bytes(data)
                    if message[0] == 0x77:  # 'w'
                        chunk.append(message)
                        size += length
                        continue
                    keepalive_lsn, asked = _keepalive(message)
                    reply = reply or asked
                elif length == 0:
                    exhausted = True
                    break
                else:
                    self._publish(chunk, size, keepalive_lsn, reply=reply)
                    raise _ending(conn)
            self._publish(chunk, size, keepalive_lsn, reply=reply)
            if exhausted:
                return False
        return True

    def _publish(self, chunk: list[bytes], size: int, keepalive_lsn: int, *, reply: bool) -> None:
        """Hand a chunk over.

        A keepalive inside it holds for what came before it; it counts once all of the chunk was
        taken: claiming it late is safe, early would not be.
        """
        with self._arrived:
            if chunk:
                self._queue.append((chunk, size))
                self._waiting_bytes += size
                self._queue_bytes += size + _MESSAGE_OVERHEAD_BYTES * len(chunk)
                self.server_lsn = max(self.server_lsn, _DATA_END.unpack_from(chunk[-1], 1)[0])
            if keepalive_lsn:
                self.server_lsn = max(self.server_lsn, keepalive_lsn)
                self._behind_queue_lsn = max(self._behind_queue_lsn, keepalive_lsn)
                if not self._queue:
                    self._read_out_lsn = self._behind_queue_lsn
            if reply:
                self._reply_asked = True
                self._feedback_due = 0.0
            if chunk or reply:
                self._arrived.notify()

    def _feed_back(self, conn: pq.abc.PGconn) -> None:
        now = time.monotonic()
        ask = self._asked_at is None and now >= self._silent_at
        with self._lock:
            if now < self._feedback_due and not ask:
                return
            confirmed = self._confirmed_lsn
            self._feedback_due = now + self._feedback_interval_s
        if ask:
            self._asked_at = now
        clock_us = time.time_ns() // 1000 - _POSTGRES_EPOCH_US
        # Written, flushed and applied are one to us: durable in the ledger.
        conn.put_copy_data(_FEEDBACK.pack(b"r", confirmed, confirmed, confirmed, clock_us, ask))

    @property
    def _silent_at(self) -> float:
        """When the server has been silent for too long: first it is asked, then given up."""
        since = self._heard_at if self._asked_at is None else self._asked_at
        return since + self._receive_timeout_s / 2

    def _wait(self, conn: pq.abc.PGconn, *, paused: bool) -> None:
        """Wait for the socket, a wake-up or the next feedback; then read unless `paused`."""
        unsent = conn.flush() == 1
        poll = select.poll()
        events = (0 if paused else select.POLLIN) | (select.POLLOUT if unsent else 0)
        if events:
            poll.register(conn.socket, events)
        poll.register(self._wake_read, select.POLLIN)
        due = self._feedback_due if paused else min(self._feedback_due, self._silent_at)
        timeout_s = max(0.0, due - time.monotonic())
        heard = paused  # what is not read cannot be missed
        for descriptor, event in poll.poll(int(timeout_s * 1000) + 1):
            if descriptor == self._wake_read:
                os.read(self._wake_read, 4096)
            elif not paused:
                conn.consume_input()
                heard = heard or event != select.POLLOUT
        if heard:
            self._heard_at = time.monotonic()
            self._asked_at = None
        elif self._asked_at is not None and time.monotonic() >= self._silent_at:
            raise Unreachable(
                "cannot read the replication stream",
                why=f"the server said nothing for {self._receive_timeout_s:g} s, though asked",
                hint="is the network up? `flux up` connects again by itself",
            )

    def _finish(self, conn: pq.abc.PGconn) -> None:
        """Say the last confirmed position and end the copy, so that the slot is free at once."""
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        self._feedback_due = 0.0
        self._feed_back(conn)
        conn.put_copy_end()
        while time.monotonic() < deadline:
            length, _ = conn.get_copy_data(1)
            if length == -1:
                await_result(conn, doing="end the stream", stop=None, timeout_s=CLOSE_TIMEOUT_S)
                return
            if length == 0:
                unsent = conn.flush() == 1
                poll = select.poll()
                poll.register(conn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
                poll.poll(100)
                conn.consume_input()


def open_stream(
    dsn: str | None,
    *,
    slot: str,
    plugin: str,
    options: Mapping[str, str] | None = None,
    start_lsn: int = 0,
    feedback_interval_s: float = FEEDBACK_INTERVAL_S,
    receive_timeout_s: float = RECEIVE_TIMEOUT_S,
    queue_bytes_max: int = QUEUE_BYTES_MAX,
) -> Stream:
    """Start streaming from `slot`; `start_lsn` is what was confirmed (0: what the slot remembers).

    Raises `SlotBusy` (its holder's pid is in the message), `SlotLost`, `SourceError`, `Unreachable`.
    """
    chosen = dict(default_options(plugin) if options is None else options)
    connection = connect_replication(dsn)
    try:
        timeout_s = _sender_timeout_s(connection)
        exact = plugin != "wal2json"
        if plugin == "wal2json" and EXACT_NUMBERS not in chosen:
            exact = _try_start(connection, slot, chosen | {EXACT_NUMBERS: "1"}, start_lsn)
            if not exact:
                _start(connection, slot, chosen, start_lsn)
        else:
            _start(connection, slot, chosen, start_lsn)
    except BaseException:
        connection.close()
        raise
    if timeout_s > 0:
        feedback_interval_s = min(feedback_interval_s, timeout_s / 3)
    return Stream(
        connection,
        exact_numbers=exact,
        feedback_interval_s=feedback_interval_s,
        receive_timeout_s=max(receive_timeout_s, timeout_s),
        queue_bytes_max=queue_bytes_max,
        confirmed_lsn=start_lsn,
    )


def read_log(dsn: str | None, start_lsn: int, end_lsn: int) -> bytes | None:
    """Return the log itself between two positions; None when the server does not give it, or not in time.

    It has been removed, or this server streams no physical log. Raises `Unreachable`.
    """
    connection = connect_replication(dsn)
    conn = connection.pgconn
    deadline = time.monotonic() + READ_LOG_TIMEOUT_S
    log = b""
    try:
        command = f"START_REPLICATION PHYSICAL {lsn_text(start_lsn)}"
        execute(connection, command, doing="read the log")
        while len(log) < end_lsn - start_lsn and time.monotonic() < deadline:
            length, data = conn.get_copy_data(1)
            if length > 0 and data[0] == 0x77:  # 'w'
                log += data[HEADER_BYTES:]
            elif length < 0:
                return None
            elif length == 0:
                poll = select.poll()
                poll.register(conn.socket, select.POLLIN)
                poll.poll(100)
                conn.consume_input()
    except (FluxError, psycopg.Error):
        return None
    finally:
        connection.close()
    return log[: end_lsn - start_lsn]


def _start(
    connection: psycopg.Connection[Any], slot: str, options: Mapping[str, str], start_lsn: int
) -> None:
    listed = ", ".join(f"{quote_name(name)} {quote_text(value)}" for name, value in options.items())
    command = f"START_REPLICATION SLOT {quote_name(slot)} LOGICAL {lsn_text(start_lsn)} ({listed})"
    execute(connection, command, doing=f"stream from the slot {slot!r}", slot=slot)


def _try_start(
    connection: psycopg.Connection[Any], slot: str, options: Mapping[str, str], start_lsn: int
) -> bool:
    """Start; False when the plugin does not know an option (it cannot be asked otherwise)."""
    try:
        _start(connection, slot, options, start_lsn)
    except SourceError as error:
        if EXACT_NUMBERS in error.why:
            return False
        raise
    return True


def _sender_timeout_s(connection: psycopg.Connection[Any]) -> float:
    """wal_sender_timeout of this connection in seconds, 0 when it is off."""
    query = sql.text("wire/sender_timeout.sql")
    row = execute(connection, query, doing="read wal_sender_timeout")
    return int(row[0][0] or 0) / 1000 if row else 0.0


def _keepalive(message: bytes) -> tuple[int, bool]:
    """Return the position of a keepalive and whether the server asks for an answer."""
    if message[0] != 0x6B or len(message) != _KEEPALIVE.size:  # 'k'
        raise DecodeError(f"replication message of unknown kind 0x{message[0]:02x}", offset=0)
    _, lsn, _, reply = _KEEPALIVE.unpack(message)
    return lsn, bool(reply)


def _ending(conn: pq.abc.PGconn) -> FluxError:
    """Why the server ended the copy."""
    result = conn.get_result()
    if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
        return refusal(result, doing="read the replication stream")
    return Unreachable(
        "the replication stream ended", why="the server closed it", hint="`flux up` connects again by itself"
    )
