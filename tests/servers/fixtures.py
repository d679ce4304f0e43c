"""The fixtures over real servers, as a pytest plugin; `servers/__init__.py` says how to use them.

A server is started when the first test of this worker asks for its major, and lives as long as the
worker. Databases, slots and roles end with the test that made them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, Protocol

import pytest

from servers.installation import REMEDY, Installation, find_installation
from servers.server import Database, Server

SERVERS = ((15, "wal2json"), (15, "pgoutput"), (16, "pgoutput"), (17, "pgoutput"), (18, "pgoutput"))
"""The pairs of major version and output plugin that `database` is parametrised over."""


class NewDatabase(Protocol):
    """Makes another database on the server of the test's `database`; dropped when the test ends."""

    def __call__(self, name: str | None = None) -> Database: ...


class NewServer(Protocol):
    """Makes and starts a server for this test alone, with `settings` over the usual ones."""

    def __call__(self, of: int | Installation, settings: Mapping[str, str] | None = None) -> Server: ...


def on(*pairs: tuple[int, str]) -> pytest.MarkDecorator:
    """Run a test that uses `database` on these pairs of major version and plugin only."""
    return pytest.mark.parametrize("database", pairs, indirect=True, ids=_pair_name)


def _pair_name(pair: tuple[int, str]) -> str:
    return f"{pair[0]}-{pair[1]}"


def missing(reason: str) -> NoReturn:
    """End the test: what it needs is not on this machine. A fault in CI, a skip elsewhere."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"{reason} (CI=true: a missing server is a fault)", pytrace=False)
    pytest.skip(reason)


def require_installation(major: int, plugin: str = "pgoutput") -> Installation:
    """Return the installation of `major`; without it, or without `plugin` in it, the test ends here."""
    installation = find_installation(major)
    if installation is None:
        missing(f"no PostgreSQL {major} on this machine; {REMEDY.get(major, 'install it')}")
    if plugin not in installation.plugins:
        missing(f"PostgreSQL {installation.version} has no {plugin}; {REMEDY.get(major, 'install it')}")
    return installation


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[int], Server]]:
    """Return a function from major version to this worker's running server of it."""
    started: dict[int, Server] = {}

    def get(major: int) -> Server:
        if major not in started:
            started[major] = Server.create(require_installation(major))
        started[major].start()
        return started[major]

    try:
        yield get
    finally:
        for server in started.values():
            server.close()


def database_on(*pairs: tuple[int, str]) -> Any:
    """Return the fixture `database` for these pairs, unless a test says `on` others.

    A `conftest.py` that assigns it to `database` says what its tests need when they do not.
    """

    @pytest.fixture(params=pairs, ids=_pair_name)
    def database(request: pytest.FixtureRequest, servers: Callable[[int], Server]) -> Iterator[Database]:
        """A fresh database, once for each server and plugin."""
        major, plugin = request.param
        require_installation(major, plugin)
        server = servers(major)
        database = server.create_database(plugin=plugin)
        try:
            yield database
        finally:
            server.start()
            server.drop_database(database.name)
            server.drop_roles()

    return database


database = database_on(*SERVERS)


@pytest.fixture
def new_database(database: Database) -> Iterator[NewDatabase]:
    """A function that makes another database beside `database`."""
    made: list[Database] = []

    def make(name: str | None = None) -> Database:
        made.append(database.server.create_database(name, plugin=database.plugin))
        return made[-1]

    try:
        yield make
    finally:
        database.server.start()
        for another in made:
            database.server.drop_database(another.name)


@pytest.fixture
def new_server() -> Iterator[NewServer]:
    """A function that makes and starts a server for this test alone."""
    made: list[Server] = []

    def make(of: int | Installation, settings: Mapping[str, str] | None = None) -> Server:
        installation = of if isinstance(of, Installation) else require_installation(of)
        made.append(Server.create(installation, settings))
        made[-1].start()
        return made[-1]

    try:
        yield make
    finally:
        for server in made:
            server.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses a server."""
    for item in items:
        if {"servers", "new_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.postgres)
