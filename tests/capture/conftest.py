"""A rig with one table, on the servers that a test is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from capture.rig import Rig, make_rig
from servers import Database, database_on

ITEM = "create table item (id int primary key, name text, price numeric(10, 2))"


# What differs between the majors is decoding, which the oracle's tests hold against all of them.
database = database_on((15, "wal2json"), (18, "pgoutput"))


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Rig:
    """`item` with 100 rows, tracked with rollbacks; nothing captured yet."""
    with database.connect() as connection:
        connection.execute(ITEM)
        connection.execute("insert into item select i, 'item ' || i, i from generate_series(1, 100) i")
    return make_rig(database, tmp_path, "item")
