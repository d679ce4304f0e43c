"""One piece of work, in every driver: two transactions, the first perhaps rolled back.

Each writes the request's id, as the client sent it, into the rows; behind a pooler in transaction mode, so
without prepared statements.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg
import psycopg2
import psycopg_pool
import sqlalchemy
from asgiref.sync import sync_to_async
from sqlalchemy.ext.asyncio import create_async_engine

INSERT = "insert into orders values (%s, %s)"
Work = Callable[[str, str, bool], Any]
"""key, request id, whether the first transaction is rolled back."""


@dataclass(frozen=True, slots=True)
class Driver:
    """How one driver does the work, for an application with threads and for one with an event loop."""

    threaded: Work
    in_loop: Callable[[str, str, bool], Awaitable[None]]


@asynccontextmanager
async def drivers(port: int, database: str) -> AsyncIterator[dict[str, Driver]]:
    """Yield every driver, its pools open."""
    place: dict[str, Any] = {"host": "127.0.0.1", "port": port, "user": "postgres"}
    dsn = psycopg.conninfo.make_conninfo(**place, dbname=database)
    kwargs = {"prepare_threshold": None}
    with psycopg_pool.ConnectionPool(dsn, min_size=1, max_size=10, kwargs=kwargs) as pool:
        async with (
            psycopg_pool.AsyncConnectionPool(dsn, min_size=1, max_size=10, kwargs=kwargs) as async_pool,
            asyncpg.create_pool(**place, database=database, max_size=10, statement_cache_size=0) as apg_pool,
        ):
            url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/{database}"
            engine = sqlalchemy.create_engine(url, pool_size=10, connect_args=kwargs)
            names = itertools.count()
            async_engine = create_async_engine(
                url.replace("+psycopg", "+asyncpg"),
                pool_size=10,
                connect_args={
                    "statement_cache_size": 0,
                    "prepared_statement_cache_size": 0,
                    "prepared_statement_name_func": lambda: f"s{next(names)}",
                },
            )

            def over_psycopg2(key: str, request_id: str, fails: bool) -> None:
                connection = psycopg2.connect(**place, dbname=database)
                _dbapi(connection, key, request_id, fails)
                connection.close()

            async def over_asyncpg(key: str, request_id: str, fails: bool) -> None:
                async with apg_pool.acquire() as connection:
                    await _asyncpg(connection, key, request_id, fails)

            async def over_asyncpg_alone(key: str, request_id: str, fails: bool) -> None:
                connection = await asyncpg.connect(**place, database=database, statement_cache_size=0)
                await _asyncpg(connection, key, request_id, fails)
                await connection.close()

            def over_psycopg(key: str, request_id: str, fails: bool) -> None:
                with pool.connection() as connection:
                    _dbapi(connection, key, request_id, fails)

            async def over_psycopg_async(key: str, request_id: str, fails: bool) -> None:
                async with async_pool.connection() as connection:
                    await connection.execute("select 1")
                    await connection.execute(INSERT, (f"{key}-1", request_id))
                    await (connection.rollback() if fails else connection.commit())
                    await connection.execute(INSERT, (f"{key}-2", request_id))

            def over_sqlalchemy(key: str, request_id: str, fails: bool) -> None:
                _sqlalchemy(engine, key, request_id, fails)

            async def over_sqlalchemy_async(key: str, request_id: str, fails: bool) -> None:
                async with async_engine.connect() as connection:
                    await connection.run_sync(_sqlalchemy_connection, key, request_id, fails)

            yield {
                "psycopg": Driver(over_psycopg, over_psycopg_async),
                "psycopg2": Driver(over_psycopg2, _in_a_thread(over_psycopg2)),
                "asyncpg": Driver(lambda *work: asyncio.run(over_asyncpg_alone(*work)), over_asyncpg),
                "sqlalchemy": Driver(over_sqlalchemy, over_sqlalchemy_async),
                "django": Driver(_django, sync_to_async(_django, thread_sensitive=False)),
            }
            engine.dispose()
            await async_engine.dispose()


def _in_a_thread(work: Work) -> Callable[[str, str, bool], Awaitable[None]]:
    async def run(key: str, request_id: str, fails: bool) -> None:
        await asyncio.get_running_loop().run_in_executor(None, work, key, request_id, fails)

    return run


def _dbapi(connection: Any, key: str, request_id: str, fails: bool) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select 1")
        cursor.execute(INSERT, (f"{key}-1", request_id))
        if fails:
            connection.rollback()
        else:
            connection.commit()
        cursor.execute(INSERT, (f"{key}-2", request_id))
        connection.commit()


async def _asyncpg(connection: Any, key: str, request_id: str, fails: bool) -> None:
    insert = "insert into orders values ($1, $2)"
    transaction = connection.transaction()
    await transaction.start()
    await connection.fetchval("select 1")
    await connection.execute(insert, f"{key}-1", request_id)
    await (transaction.rollback() if fails else transaction.commit())
    await connection.execute(insert, f"{key}-2", request_id)


def _sqlalchemy(engine: sqlalchemy.Engine, key: str, request_id: str, fails: bool) -> None:
    with engine.connect() as connection:
        _sqlalchemy_connection(connection, key, request_id, fails)


def _sqlalchemy_connection(connection: sqlalchemy.Connection, key: str, request_id: str, fails: bool) -> None:
    insert = sqlalchemy.text("insert into orders values (:id, :request)")
    connection.execute(sqlalchemy.text("select 1"))
    connection.execute(insert, {"id": f"{key}-1", "request": request_id})
    if fails:
        connection.rollback()
    else:
        connection.commit()
    connection.execute(insert, {"id": f"{key}-2", "request": request_id})
    connection.commit()


def _django(key: str, request_id: str, fails: bool) -> None:
    from django.db import connection, transaction

    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("select 1")
            cursor.execute(INSERT, (f"{key}-1", request_id))
            transaction.set_rollback(fails)
        with connection.cursor() as cursor:
            cursor.execute(INSERT, (f"{key}-2", request_id))
    finally:
        connection.close()
