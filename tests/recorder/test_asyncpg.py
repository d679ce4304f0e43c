"""Tags of asyncpg: right for each way to write, and without a round trip of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import asyncpg
import pytest

from flux import recorder
from recorder.shop import Shop
from recorder.wire import Wire

INSERT = "insert into orders values ($1, $2)"

pytestmark = pytest.mark.usefixtures("recording")


async def connected(shop: Shop, wire: Wire | None = None, **options: Any) -> Any:
    port = wire.port if wire is not None else shop.database.server.port
    database = shop.database.name
    return await asyncpg.connect(host="127.0.0.1", port=port, user="postgres", database=database, **options)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@pytest.mark.parametrize("cache", [0, 100])
@pytest.mark.parametrize("in_transaction", [True, False])
def test_each_transaction_is_tagged_before_its_first_write(
    shop: Shop, wire: Wire, cache: int, in_transaction: bool
) -> None:
    prefix = shop.prefix()

    async def statements(connection: Any, number: int, request_id: str | None) -> None:
        assert await connection.fetchval("select $1::int", number) == number
        insert = INSERT + " returning id"
        assert await connection.fetchval(insert, f"{prefix}{number}", request_id) == f"{prefix}{number}"
        assert await connection.execute("update orders set note = 'x' where id = 'nobody'") == "UPDATE 0"
        assert await connection.execute(INSERT, f"{prefix}{number}b", request_id) == "INSERT 0 1"

    async def work(connection: Any, number: int, request_id: str | None) -> None:
        if in_transaction:
            async with connection.transaction():
                await statements(connection, number, request_id)
        else:
            await statements(connection, number, request_id)

    async def all_of_them() -> list[int]:
        trips = []
        for first in (0, 8):
            connection = await connected(shop, wire, statement_cache_size=cache)
            with wire.counting() as counted:
                for number in range(first, first + 8):
                    if first:
                        await work(connection, number, None)
                    else:
                        with recorder.request("job") as request:
                            await work(connection, number, request.request_id)
            await connection.close()
            trips += counted
        return trips

    trips = asyncio.run(all_of_them())
    shop.right(prefix, 32)
    assert trips[0] == trips[1]


def test_a_read_is_never_tagged(shop: Shop, wire: Wire) -> None:
    async def work() -> None:
        connection = await connected(shop, wire)
        with wire.counting(), recorder.request("job"):
            await connection.fetch("select 1")
            await connection.fetch("with a as (select 1) select * from a")
        await connection.close()

    run(work())
    assert b"select 1" in wire.sent
    assert b"flux" not in wire.sent


def test_every_way_to_write(shop: Shop) -> None:
    prefix = shop.prefix()

    async def work() -> None:
        connection = await connected(shop)
        with recorder.request("job") as request:
            ours = request.request_id
            await connection.executemany(INSERT, [(f"{prefix}m{n}", ours) for n in range(3)])
            await connection.copy_records_to_table(
                "orders", records=[(f"{prefix}c{n}", ours) for n in range(3)], columns=["id", "request"]
            )
            prepared = await connection.prepare(INSERT + " returning id")
            assert await prepared.fetchval(f"{prefix}p", ours) == f"{prefix}p"
            assert await connection.fetch(
                "with a as (" + INSERT + " returning id) select * from a", f"{prefix}w", ours
            )
            # Too long for asyncpg's cache: parsed under no name, and not again before it runs.
            await connection.execute(INSERT + f" -- {'x' * 20_000}", f"{prefix}l1", ours)
            async with connection.transaction():
                await connection.execute(INSERT + f" -- {'x' * 20_000}", f"{prefix}l2", ours)
            await connection.execute(f"insert into orders values ('{prefix}s', '{ours}'); select 1")
            await connection.execute(f"do $$ begin insert into orders values ('{prefix}d', '{ours}'); end $$")
        await connection.close()

    run(work())
    shop.right(prefix, 12)


def test_savepoints_errors_and_two_requests_in_one_transaction(shop: Shop) -> None:
    prefix = shop.prefix()

    async def fail_in_a_savepoint(connection: Any, request_id: str) -> None:
        async with connection.transaction():
            await connection.execute(INSERT, f"{prefix}1", request_id)
            await connection.execute(INSERT, f"{prefix}1", request_id)

    async def work() -> None:
        connection = await connected(shop)
        with recorder.request("one", actor="anna") as one:
            async with connection.transaction():
                with pytest.raises(asyncpg.UniqueViolationError):
                    await fail_in_a_savepoint(connection, one.request_id)
                await connection.execute(INSERT, f"{prefix}2", one.request_id)
                with recorder.request("two") as two:
                    await connection.execute(INSERT, f"{prefix}3", two.request_id)
                await connection.execute(INSERT, f"{prefix}4", one.request_id)
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.execute("insert into nothing values (1)")
            with pytest.raises(asyncpg.NotNullViolationError):
                await connection.execute(INSERT, None, "x")
            assert await connection.fetchval("select 5") == 5
        await connection.close()

    run(work())
    shop.right(prefix, 4)


def test_concurrent_tasks_over_a_pool_never_mix(shop: Shop) -> None:
    prefix = shop.prefix()

    async def work(pool: Any, number: int) -> None:
        async with recorder.request("job") as request, pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(INSERT, f"{prefix}{number}", request.request_id)
            await (transaction.rollback() if number % 3 == 0 else transaction.commit())
            await connection.execute(INSERT, f"{prefix}{number}-2", request.request_id)

    async def all_of_them() -> None:
        options: dict[str, Any] = {"host": "127.0.0.1", "port": shop.database.server.port, "user": "postgres"}
        async with asyncpg.create_pool(database=shop.database.name, max_size=10, **options) as pool:
            await asyncio.gather(*(work(pool, number) for number in range(60)))

    run(all_of_them())
    shop.right(prefix, 120)
