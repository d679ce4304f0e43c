"""A rig with one table, on the servers that a test is for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from capture.rig import Rig, make_rig
from servers import SERVERS, Database, database_on

ITEM = "create table item (id int primary key, name text, price numeric(10, 2))"


# The oldest and the newest major, each plugin; the others with FLUX_ORACLE=long.
_PAIRS = SERVERS if os.environ.get("FLUX_ORACLE") == "long" else ((15, "wal2json"), (18, "pgoutput"))
database = database_on(*_PAIRS)


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Rig:
    """`item` with 100 rows, tracked with rollbacks; nothing captured yet."""
    with database.connect() as connection:
        connection.execute(ITEM)
        connection.execute("insert into item select i, 'item ' || i, i from generate_series(1, 100) i")
    return make_rig(database, tmp_path, "item")
