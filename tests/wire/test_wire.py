"""The stream itself: order, keepalives, feedback, bounds, and what happens when the server goes away."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import psycopg
import pytest

from flux.decoder.slot import create_slot, read_slot
from flux.decoder.wire import HEADER_BYTES, Stream, open_stream
from flux.model.errors import SourceError, Unreachable
from servers import Database, NewServer, eventually, on
from wire.conftest import SLOT, Open


def drain(stream: Stream, marker: bytes, *, bytes_max: int = 1 << 20) -> list[bytes]:
    """Receive until a message holds `marker`."""
    messages: list[bytes] = []

    def found() -> bool:
        messages.extend(stream.receive(bytes_max=bytes_max, wait_s=0.5))
        return any(marker in message for message in messages[-50:])

    eventually(found, within_s=60, what="the marker")
    return messages


def mark(database: Database, content: str) -> None:
    """Write a message into the log that everything before it has been received by."""
    with database.connect() as connection:
        connection.execute("select pg_logical_emit_message(true, 'test', %s)", [content])


def test_messages_come_whole_and_in_order(wide: Database, open_test_stream: Open) -> None:
    stream = open_test_stream()
    with wide.connect() as connection:
        connection.execute("insert into item select i, 'name ' || i from generate_series(1, 5000) i")
        connection.execute("insert into item values (5001, repeat('long ', 300000))")
    mark(wide, "the end")
    messages = drain(stream, b"the end")
    assert all(message[:1] == b"w" and len(message) > HEADER_BYTES for message in messages)
    names = [b"name %d" % number for number in range(1, 5001)]
    text = b"\n".join(messages)
    places = [text.index(name) for name in names[::100]]
    assert all(one < other for one, other in pairwise(places))
    assert b"long " * 300000 in text


def test_what_is_confirmed_is_not_sent_again(wide: Database, open_test_stream: Open) -> None:
    stream = open_test_stream()
    mark(wide, "first")
    drain(stream, b"first")
    eventually(lambda: stream.receive(bytes_max=1, wait_s=0.1) == [] and stream.caught_up_lsn)
    stream.confirm(stream.caught_up_lsn)
    stream.confirm(1)  # never goes back
    stream.close()
    mark(wide, "second")
    again = drain(open_test_stream(fresh=False), b"second")
    assert not any(b"first" in message for message in again)


def test_what_is_not_confirmed_is_sent_again(wide: Database, open_test_stream: Open) -> None:
    stream = open_test_stream()
    mark(wide, "first")
    drain(stream, b"first")
    stream.close()
    assert any(b"first" in message for message in drain(open_test_stream(fresh=False), b"first"))


def test_a_confirmed_position_reaches_the_server_at_once(wide: Database, open_test_stream: Open) -> None:
    stream = open_test_stream()
    mark(wide, "first")
    drain(stream, b"first")
    eventually(lambda: stream.receive(bytes_max=1, wait_s=0.1) == [] and stream.caught_up_lsn)
    stream.confirm(stream.caught_up_lsn)
    with wide.connect() as connection:

        def confirmed() -> bool:
            state = read_slot(connection, SLOT)
            return state is not None and state.confirmed_lsn == stream.confirmed_lsn

        assert eventually(confirmed, within_s=5)


def test_the_position_of_a_quiet_stream_moves_with_others_writes(
    wide: Database, open_test_stream: Open
) -> None:
    stream = open_test_stream()
    with wide.connect() as connection:
        connection.execute("create table untracked (id int)")
        connection.execute("insert into untracked select generate_series(1, 1000)")
        row = connection.execute("select pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None

    def passed() -> bool:
        stream.receive(bytes_max=1 << 20, wait_s=0.1)
        return stream.caught_up_lsn >= int(row[0]) and stream.idle

    assert eventually(passed)


@on((15, "wal2json"), (15, "pgoutput"), (18, "pgoutput"))
def test_quiet_is_neither_a_dead_reader_nor_a_dead_server(wide: Database, open_test_stream: Open) -> None:
    with wide.connect() as connection:
        connection.execute(f"alter database {wide.name} set wal_sender_timeout = '600ms'")
    stream = open_test_stream(receive_timeout_s=1.5)
    quiet_until = time.monotonic() + 2.5

    def has_been_quiet() -> bool:
        stream.receive(bytes_max=1, wait_s=0.2)
        # Only to a reader that has confirmed everything does a server say nothing at all.
        stream.confirm(stream.caught_up_lsn)
        return time.monotonic() > quiet_until

    eventually(has_been_quiet)
    mark(wide, "still here")
    drain(stream, b"still here")


@on((15, "pgoutput"), (18, "pgoutput"))
def test_a_full_queue_slows_the_server_down_and_outlives_its_timeout(
    wide: Database, open_test_stream: Open
) -> None:
    with wide.connect() as connection:
        connection.execute(f"alter database {wide.name} set wal_sender_timeout = '1s'")
    bound = 1 << 20
    stream = open_test_stream(queue_bytes_max=bound)
    with wide.connect() as connection:
        connection.execute("insert into item select i, repeat('x', 500) from generate_series(1, 60000) i")
    mark(wide, "the end")
    eventually(lambda: stream.queue_bytes >= bound)
    full_until = time.monotonic() + 2.5
    eventually(lambda: time.monotonic() > full_until)
    # The bound may be passed by one chunk of a quarter of a MiB and a message.
    assert stream.queue_bytes <= bound + (300 << 10)
    messages = drain(stream, b"the end", bytes_max=100_000)
    assert sum(b"xxxxx" in message for message in messages) == 60000


def test_receive_keeps_to_its_bound(wide: Database, open_test_stream: Open) -> None:
    stream = open_test_stream()
    with wide.connect() as connection:
        connection.execute("insert into item select i, repeat('x', 1000) from generate_series(1, 500) i")
    mark(wide, "the end")
    eventually(lambda: stream.queue_bytes > 400_000)
    sizes = []
    done = False
    while not done:
        messages = stream.receive(bytes_max=50_000, wait_s=1.0)
        sizes.append(sum(map(len, messages)))
        done = any(b"the end" in message for message in messages)
    assert max(sizes) <= 50_000
    assert len(sizes) > 8


def test_receive_waits_for_as_much_as_is_asked_for(wide: Database, open_test_stream: Open) -> None:
    stream = open_test_stream(queue_bytes_max=1 << 20)
    with wide.connect() as connection:
        connection.execute("insert into item select i, repeat('x', 1000) from generate_series(1, 300) i")
        some = stream.receive(bytes_min=200_000, bytes_max=1 << 20, wait_s=20.0)
        assert sum(map(len, some)) >= 200_000
        # What is there is given when it is not more in time.
        mark(wide, "few")
        eventually(lambda: not stream.idle)
        began = time.monotonic()
        assert stream.receive(bytes_min=1 << 20, bytes_max=1 << 20, wait_s=0.2)
        assert time.monotonic() - began >= 0.2
        # And when the queue has no room for more.
        connection.execute("insert into item select i, repeat('x', 1000) from generate_series(301, 3000) i")
        assert stream.receive(bytes_min=2 << 20, bytes_max=2 << 20, wait_s=60.0)


@pytest.mark.crash
@on((15, "wal2json"), (17, "pgoutput"))
def test_a_killed_server_gives_what_arrived_and_then_the_error(
    wide: Database, open_test_stream: Open
) -> None:
    stream = open_test_stream()
    mark(wide, "last words")
    eventually(lambda: not stream.idle)
    wide.server.kill9()
    messages: list[bytes] = []

    def until_the_error() -> bool:
        try:
            messages.extend(stream.receive(bytes_max=1 << 20, wait_s=0.2))
        except Unreachable:
            return True
        return False

    assert eventually(until_the_error)
    assert any(b"last words" in message for message in messages)
    with pytest.raises(Unreachable):
        stream.receive(bytes_max=1, wait_s=1)


@on((17, "pgoutput"))
def test_an_error_of_the_plugin_is_not_worth_a_retry(wide: Database, open_test_stream: Open) -> None:
    stream = open_test_stream()
    with wide.connect() as connection:
        connection.execute("drop publication flux")
        connection.execute("insert into item values (1, 'x')")

    def failed() -> bool:
        try:
            stream.receive(bytes_max=1 << 20, wait_s=0.2)
        except SourceError as error:
            return "publication" in error.why
        return False

    # Newer servers only warn and go on without it.
    if wide.major < 18:
        assert eventually(failed)


def test_a_clean_stop_of_the_server_does_not_wait_for_an_idle_reader(new_server: NewServer) -> None:
    server = new_server(17)
    dsn = server.dsn("postgres")
    create_slot(dsn, SLOT, "pgoutput").connection.close()
    stream = open_stream(dsn, slot=SLOT, plugin="pgoutput")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table t (id int)")
    ended = threading.Event()

    def follow() -> None:
        try:
            while True:
                stream.receive(bytes_max=1 << 20, wait_s=5)
                stream.confirm(stream.caught_up_lsn)
        except Unreachable:
            ended.set()

    reader = threading.Thread(target=follow)
    reader.start()
    began = time.monotonic()
    server.stop()
    took_s = time.monotonic() - began
    reader.join(10)
    stream.close()
    assert ended.is_set()
    assert took_s < 10


@on((15, "wal2json"))
def test_wal2json_before_2_6_says_that_its_numbers_are_not_exact(open_test_stream: Open) -> None:
    assert not open_test_stream().exact_numbers


@on((15, "pgoutput"))
def test_pgoutput_has_exact_numbers(open_test_stream: Open) -> None:
    assert open_test_stream().exact_numbers


@on((17, "pgoutput"))
def test_closing_frees_the_slot_at_once_and_twice_is_fine(wide: Database, open_test_stream: Open) -> None:
    stream = open_test_stream()
    stream.close()
    stream.close()
    with wide.connect() as connection:
        state = read_slot(connection, SLOT)
    assert state is not None
    assert state.active_pid is None
    with pytest.raises(Unreachable):
        stream.receive(bytes_max=1, wait_s=1)
