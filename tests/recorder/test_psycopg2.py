"""Tags of psycopg2: right for each way to write, and without a round trip of their own."""

from __future__ import annotations

import io
import threading
from typing import Any

import psycopg2
import psycopg2.extras
import psycopg2.sql
import pytest

from flux import recorder
from recorder.shop import Shop
from recorder.wire import Wire

INSERT = "insert into orders values (%s, %s)"

pytestmark = pytest.mark.usefixtures("recording")


def connected(shop: Shop, wire: Wire | None = None, **options: Any) -> Any:
    port = wire.port if wire is not None else shop.database.server.port
    return psycopg2.connect(
        host="127.0.0.1", port=port, user="postgres", dbname=shop.database.name, **options
    )


@pytest.mark.parametrize("autocommit", [True, False])
def test_each_transaction_is_tagged_before_its_first_write(shop: Shop, wire: Wire, autocommit: bool) -> None:
    prefix = shop.prefix()

    def work(cursor: Any, number: int, request_id: str | None) -> None:
        cursor.execute("select 1")
        cursor.execute(INSERT + " returning id", (f"{prefix}{number}", request_id))
        assert cursor.rowcount == 1
        assert cursor.fetchall() == [(f"{prefix}{number}",)]
        assert cursor.query.startswith(b"insert")
        cursor.execute("update orders set note = '%' where id = 'nobody'")
        assert cursor.rowcount == 0
        cursor.connection.commit()

    trips = []
    for first in (0, 8):
        connection = connected(shop, wire)
        connection.autocommit = autocommit
        with wire.counting() as counted, connection.cursor() as cursor:
            for number in range(first, first + 8):
                if first:
                    work(cursor, number, None)
                else:
                    with recorder.request("job", actor="o'neill") as request:
                        work(cursor, number, request.request_id)
        connection.close()
        trips += counted
    shop.right(prefix, 16)
    assert trips[0] == trips[1]


def test_a_read_is_never_tagged(shop: Shop, wire: Wire) -> None:
    connection = connected(shop, wire)
    with wire.counting(), recorder.request("job"), connection.cursor() as cursor:
        cursor.execute("select 1")
        cursor.execute("with a as (select 1) select * from a")
    connection.close()
    assert b"select 1" in wire.sent
    assert b"flux" not in wire.sent


def test_savepoints_and_two_requests_in_one_transaction(shop: Shop) -> None:
    prefix = shop.prefix()
    connection = connected(shop)
    cursor = connection.cursor()
    with recorder.request("one", actor="anna") as one:
        cursor.execute("savepoint here")
        cursor.execute(INSERT, (f"{prefix}1", one.request_id))
        cursor.execute("rollback to savepoint here")
        cursor.execute(INSERT, (f"{prefix}2", one.request_id))
        with recorder.request("two") as two:
            cursor.execute(INSERT, (f"{prefix}3", two.request_id))
        cursor.execute(INSERT, (f"{prefix}4", one.request_id))
    connection.commit()
    connection.close()
    shop.right(prefix, 4)
    actors = {change.key: change.actor for change in shop.changes(prefix)}
    assert actors == {f"{prefix}1": "anna", f"{prefix}2": "anna", f"{prefix}3": None, f"{prefix}4": "anna"}


@pytest.mark.parametrize("autocommit", [True, False])
def test_every_way_to_write(shop: Shop, autocommit: bool) -> None:
    prefix = shop.prefix()
    connection = connected(shop, cursor_factory=psycopg2.extras.RealDictCursor)
    connection.autocommit = autocommit
    cursor = connection.cursor()
    with recorder.request("job") as request:
        ours = request.request_id
        cursor.executemany(INSERT, [(f"{prefix}m{n}", ours) for n in range(3)])
        assert cursor.rowcount == 3
        connection.commit()
        psycopg2.extras.execute_values(
            cursor, "insert into orders (id, request) values %s", [(f"{prefix}v{n}", ours) for n in range(3)]
        )
        connection.commit()
        psycopg2.extras.execute_batch(cursor, INSERT, [(f"{prefix}b{n}", ours) for n in range(3)])
        connection.commit()
        text = io.StringIO(f"{prefix}c\t{ours}\n")
        cursor.copy_expert("copy orders (id, request) from stdin", text)
        assert cursor.rowcount == 1
        connection.commit()
        query = psycopg2.sql.SQL("insert into {} values (%(id)s, %(request)s) returning id")
        cursor.execute(query.format(psycopg2.sql.Identifier("orders")), {"id": f"{prefix}q", "request": ours})
        assert cursor.fetchone() == {"id": f"{prefix}q"}
        connection.commit()
        if not autocommit:
            cursor.copy_from(io.StringIO(f"{prefix}f\t{ours}\n"), "orders", columns=("id", "request"))
            connection.commit()
    connection.close()
    shop.right(prefix, 11 if autocommit else 12)


def test_concurrent_threads_never_mix(shop: Shop) -> None:
    prefix = shop.prefix()

    def work(number: int) -> None:
        connection = connected(shop)
        with recorder.request("job") as request, connection.cursor() as cursor:
            cursor.execute(INSERT, (f"{prefix}{number}", request.request_id))
            if number % 3 == 0:
                connection.rollback()
            cursor.execute(INSERT, (f"{prefix}{number}-2", request.request_id))
            connection.commit()
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shop.right(prefix, 100)
