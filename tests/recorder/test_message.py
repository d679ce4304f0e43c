"""Tags as messages: right in every driver where the table has no trigger, with no round trip of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flux import recorder
from flux.capture import tracking
from recorder import applications
from recorder.drivers import INSERT, drivers
from recorder.shop import Shop, make_shop
from recorder.wire import Wire, trips_of
from servers.copies import standby_of
from servers.fixtures import require_installation
from servers.server import Server

DRIVERS = ("psycopg", "psycopg2", "asyncpg", "sqlalchemy", "django")
HARD = "r' $1 %s \\ é😀 \" $3"
"""An id that none of the ways to quote may change."""


@pytest.fixture(scope="module")
def bare(servers: Callable[[int], Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """`orders`, tracked without a trigger."""
    require_installation(18, "pgoutput")
    database = servers(18).create_database(plugin="pgoutput")
    try:
        shop = make_shop(database, tmp_path_factory.mktemp("shop"))
        with database.connect() as connection:
            tracking.track(connection, ["orders"], tag_trigger=False)
        yield shop
    finally:
        database.server.drop_database(database.name)
        database.server.drop_roles()


@pytest.fixture
def message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The recorder, tagging by messages as its environment says."""
    monkeypatch.setenv("FLUX_TAG_MESSAGE", "on")
    assert recorder.install(service="shop", endpoint="http://127.0.0.1:9/v1/traces", spool=tmp_path / "spool")
    before = recorder.stats().get("faults", 0)
    yield
    recorder.uninstall()
    assert recorder.stats().get("faults", 0) == before


@pytest.mark.usefixtures("message")
def test_every_driver_tags_by_a_message(bare: Shop) -> None:
    prefix = bare.prefix()

    async def work() -> None:
        applications.configure_django(bare.database.server.port, bare.database.name)
        async with drivers(bare.database.server.port, bare.database.name) as made:
            for name, driver in made.items():
                for fails in (False, True):
                    key = f"{prefix}{name}-{fails}"
                    with recorder.request("job", f"{HARD} {key}", actor="anna") as request:
                        await driver.in_loop(key, request.request_id, fails)

    asyncio.run(work())
    changes = bare.right(prefix, 3 * len(DRIVERS))
    assert {change.actor for change in changes} == {"anna"}


@pytest.mark.usefixtures("message")
@pytest.mark.parametrize("autocommit", [True, False])
def test_the_message_travels_with_the_write(bare: Shop, autocommit: bool) -> None:
    prefix = bare.prefix()
    wire = Wire(bare.database.server.port)
    dsn = psycopg.conninfo.make_conninfo(bare.database.dsn, port=wire.port)

    def work(connection: psycopg.Connection[Any], number: int, request_id: str | None) -> None:
        connection.execute(INSERT, (f"{prefix}{number}", request_id))
        connection.execute("update orders set note = 'x' where id = %s", (f"{prefix}{number}",))
        connection.commit()

    tagged, untagged = trips_of(wire, lambda: psycopg.connect(dsn, autocommit=autocommit), work)
    wire.close()
    bare.right(prefix, 32)
    assert tagged <= untagged


@pytest.mark.usefixtures("recording")
def test_without_it_the_change_is_nobodys(bare: Shop) -> None:
    prefix = bare.prefix()
    with recorder.request("job") as request, psycopg.connect(bare.database.dsn) as connection:
        connection.execute(INSERT, (prefix, request.request_id))
    assert [change.request_id for change in bare.changes(prefix)] == [None]


@pytest.mark.usefixtures("message")
def test_what_may_not_write_does_not_fail_for_it(bare: Shop) -> None:
    """A standby, and a transaction that only reads: what looks like a write works as it does untagged."""
    with standby_of(bare.database.server) as standby, recorder.request("job"):
        read_only = "-c default_transaction_read_only=on"
        for dsn in (
            psycopg.conninfo.make_conninfo(bare.database.dsn, port=standby.port),
            psycopg.conninfo.make_conninfo(bare.database.dsn, options=read_only),
        ):
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("do $$ begin perform 1; end $$")
                connection.execute("explain insert into orders values ('x')")
