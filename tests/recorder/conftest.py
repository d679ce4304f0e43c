"""A shop's database with its ledger, a pooler before it, and the recorder switched on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flux import recorder
from recorder.shop import Shop, make_shop
from recorder.wire import Wire
from servers.fixtures import require_installation
from servers.server import Server


@pytest.fixture(scope="session")
def shop(servers: Callable[[int], Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One database for the folder: `orders`, tracked with rollbacks; every test has rows of its own."""
    require_installation(18, "pgoutput")
    server = servers(18)
    database = server.create_database(plugin="pgoutput")
    try:
        yield make_shop(database, tmp_path_factory.mktemp("shop"))
    finally:
        server.start()
        server.drop_database(database.name)
        server.drop_roles()


@pytest.fixture
def wire(shop: Shop) -> Iterator[Wire]:
    """A proxy before the server that counts round trips."""
    made = Wire(shop.database.server.port)
    yield made
    made.close()


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[None]:
    """The recorder, sending to nobody: port 9 of loopback refuses."""
    assert recorder.install(service="shop", endpoint="http://127.0.0.1:9/v1/traces", spool=tmp_path / "spool")
    before = recorder.stats().get("faults", 0)
    yield
    recorder.uninstall()
    assert recorder.stats().get("faults", 0) == before
