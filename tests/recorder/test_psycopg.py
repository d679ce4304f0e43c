"""Tags of psycopg 3: right for each way to write, and without a round trip of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from flux import recorder
from recorder.shop import Shop
from recorder.wire import Wire, trips_of

INSERT = "insert into orders values (%s, %s)"

pytestmark = pytest.mark.usefixtures("recording")


def through(shop: Shop, wire: Wire) -> str:
    return psycopg.conninfo.make_conninfo(shop.database.dsn, port=wire.port)


@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("cursor", [psycopg.Cursor, psycopg.ClientCursor, psycopg.RawCursor])
def test_each_transaction_is_tagged_before_its_first_write(
    shop: Shop, wire: Wire, autocommit: bool, cursor: type[psycopg.Cursor[tuple[object, ...]]]
) -> None:
    prefix = shop.prefix()
    insert = INSERT if cursor is not psycopg.RawCursor else "insert into orders values ($1, $2)"

    def work(connection: psycopg.Connection[Any], number: int, request_id: str | None) -> None:
        made = connection.execute(insert, (f"{prefix}{number}", request_id))
        assert made.rowcount == 1
        connection.execute("update orders set note = 'x' where id = 'nobody'")
        connection.commit()

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(through(shop, wire), autocommit=autocommit, cursor_factory=cursor)

    tagged, untagged = trips_of(wire, connect, work)
    shop.right(prefix, 16)
    assert tagged <= untagged  # prepared ones even take less, in one pipeline


def test_a_read_is_never_tagged(shop: Shop, wire: Wire) -> None:
    with psycopg.connect(through(shop, wire)) as connection, recorder.request("job"), wire.counting():
        connection.execute("select 1")
        connection.execute("with a as (select 1) select * from a")
    assert b"select 1" in wire.sent
    assert b"flux" not in wire.sent


def test_a_write_after_reads_in_an_open_transaction(shop: Shop, wire: Wire) -> None:
    prefix = shop.prefix()
    with psycopg.connect(through(shop, wire)) as connection, recorder.request("job") as request:
        connection.execute("select 1")
        with wire.counting() as counted:
            connection.execute(INSERT, (prefix, request.request_id))
        connection.commit()
    assert counted == [1]
    shop.right(prefix, 1)


def test_a_tag_that_a_savepoint_took_back_is_set_again(shop: Shop) -> None:
    prefix = shop.prefix()

    def fail_in_a_savepoint(connection: psycopg.Connection[Any], request_id: str) -> None:
        with connection.transaction():
            connection.execute(INSERT, (f"{prefix}1", request_id))
            connection.execute(INSERT, (f"{prefix}1", request_id))

    with recorder.request("job") as request, psycopg.connect(shop.database.dsn) as connection:
        with pytest.raises(psycopg.errors.UniqueViolation):
            fail_in_a_savepoint(connection, request.request_id)
        connection.rollback()
        with connection.transaction():
            with pytest.raises(psycopg.errors.UniqueViolation):
                fail_in_a_savepoint(connection, request.request_id)
            connection.execute(INSERT, (f"{prefix}2", request.request_id))
        with connection.transaction():
            with connection.transaction(force_rollback=True):
                connection.execute(INSERT, (f"{prefix}5", request.request_id))
            connection.execute(INSERT, (f"{prefix}6", request.request_id))
            connection.execute("savepoint here")
            connection.execute(INSERT, (f"{prefix}3", request.request_id))
            connection.execute("rollback to savepoint here")
            connection.execute(INSERT, (f"{prefix}4", request.request_id))
    shop.right(prefix, 7)  # of the second insert nothing came to be


def test_two_requests_in_one_transaction(shop: Shop) -> None:
    prefix = shop.prefix()
    with psycopg.connect(shop.database.dsn) as connection, recorder.request("one", actor="anna") as one:
        connection.execute(INSERT, (f"{prefix}1", one.request_id))
        with recorder.request("two") as two:
            connection.execute(INSERT, (f"{prefix}2", two.request_id))
        connection.execute(INSERT, (f"{prefix}3", one.request_id))
    changes = shop.right(prefix, 3)
    assert [change.actor for change in changes] == ["anna", None, "anna"]


def test_several_statements_in_one_text(shop: Shop) -> None:
    prefix = shop.prefix()
    with shop.database.connect() as connection, recorder.request("job") as request:
        text = f"insert into orders values ('{prefix}1', '{request.request_id}'); select 5; select 6"
        cursor = connection.execute(text)
        assert cursor.rowcount == 1
        assert [made.fetchone() for made in cursor.results() if made.description] == [(5,), (6,)]
        client = psycopg.ClientCursor(connection)
        text = "select 7; " + INSERT + "; select '%%' || %s"
        client.execute(text, [f"{prefix}2", request.request_id, "x%y"])
        assert [made.fetchone() for made in client.results() if made.description] == [(7,), ("%x%y",)]
    shop.right(prefix, 2)


def test_values_of_a_tag_that_look_like_placeholders_or_end_a_text(shop: Shop) -> None:
    prefix = shop.prefix()
    evil = "', true); drop table orders; select ('$3"
    with psycopg.connect(shop.database.dsn) as connection:
        for number, text in enumerate((INSERT, INSERT + "; select 1")):
            with recorder.request("job", request_id=f"$2-{number}", actor=evil) as request:
                psycopg.ClientCursor(connection).execute(text, (f"{prefix}{number}", request.request_id))
                connection.commit()
    changes = shop.right(prefix, 2)
    assert [change.actor for change in changes] == [evil, evil]


def test_many_copies_and_streams(shop: Shop) -> None:
    prefix, untagged = shop.prefix(), recorder.stats().get("untagged", 0)
    with shop.database.connect() as connection, recorder.request("job") as request:
        cursor = connection.cursor()
        cursor.executemany(INSERT, [(f"{prefix}m{n}", request.request_id) for n in range(5)])
        assert cursor.rowcount == 5
        with cursor.copy("copy orders (id, request) from stdin") as copy:
            copy.write_row((f"{prefix}c", request.request_id))
        with connection.transaction():
            rows = cursor.stream(INSERT + " returning id", (f"{prefix}s", request.request_id))
            assert list(rows) == [(f"{prefix}s",)]
        with connection.pipeline():
            connection.execute(INSERT, (f"{prefix}p1", request.request_id))
            connection.execute(INSERT, (f"{prefix}p2", request.request_id))
        connection.execute(f"do $$ begin insert into orders values ('{prefix}d'); commit; end $$")
    changes = shop.changes(prefix)
    assert [change.request_id for change in changes] == [request.request_id] * 9 + [None]
    assert recorder.stats()["untagged"] == untagged + 1


def test_concurrent_tasks_never_mix(shop: Shop) -> None:
    prefix = shop.prefix()

    async def work(number: int) -> None:
        opening = psycopg.AsyncConnection.connect(shop.database.dsn)
        async with recorder.request("job", number=number) as request, await opening as connection:
            await connection.execute("select pg_sleep(0.01)")
            await connection.execute(INSERT, (f"{prefix}{number}", request.request_id))
            if number % 3 == 0:
                await connection.rollback()
            cursor = connection.cursor()
            await cursor.executemany(INSERT, [(f"{prefix}{number}-{n}", request.request_id) for n in (1, 2)])
            await connection.commit()
            async with cursor.copy("copy orders (id, request) from stdin") as copy:
                await copy.write_row((f"{prefix}{number}-3", request.request_id))

    async def all_of_them() -> None:
        await asyncio.gather(*map(work, range(50)))

    asyncio.run(all_of_them())
    shop.right(prefix, 200)
