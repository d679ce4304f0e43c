"""Real PostgreSQL servers for tests: 15 from the distribution, 16, 17 and 18 from wheels.

Usage, in any test (the fixtures are loaded by tests/conftest.py, nothing is to be imported for them)::

    from servers import Database, Server, eventually, on

    def test_on_every_server_and_plugin(database: Database) -> None:
        with database.connect() as connection:            # psycopg, autocommit, superuser
            connection.execute("create table t (id int primary key)")
        flux_up(database.dsn, plugin=database.plugin)     # database.major, database.server, .name

    @on((17, "pgoutput"), (15, "wal2json"))               # only these
    def test_on_two(database: Database) -> None: ...

    def test_two_databases(database: Database, new_database: NewDatabase) -> None:
        other = new_database()                            # a second one beside it on the same server

    def test_crash(database: Database) -> None:
        database.server.kill9()                           # the postmaster and every child, at once
        database.server.start()                           # same port and data; or .restart(), .stop()
        # the server is running again for the next test, whatever this one leaves behind

    def test_own_settings(new_server: NewServer) -> None:
        server = new_server(17, {"wal_level": "replica"})  # a server for this test alone
        database = server.create_database("shop")

    assert eventually(lambda: slot_is_active(), within_s=10)   # instead of a sleep; TimeoutError after it

`database` runs a test once for each pair in `SERVERS`: (15, wal2json), (15, pgoutput), (16, pgoutput),
(17, pgoutput), (18, pgoutput). A database is fresh for each test. When the test ends, its connections are
cut, its prepared transactions rolled back, its slots and the roles it made dropped.

Servers start when the first test asks, one for each major and pytest-xdist worker; `wal_level=logical`,
`fsync=off`, UTF-8 with the C locale, no passwords, 24 slots, WAL senders and prepared transactions. A
guard process stops each when the test process is gone, however it went.

A missing server skips the test with the reason; with `CI=true` it fails it.
"""

from __future__ import annotations

from servers.deadline import eventually
from servers.fixtures import SERVERS, NewDatabase, NewServer, database_on, on
from servers.installation import Installation, find_installation
from servers.server import Database, Server

__all__ = [
    "SERVERS",
    "Database",
    "Installation",
    "NewDatabase",
    "NewServer",
    "Server",
    "database_on",
    "eventually",
    "find_installation",
    "on",
]
