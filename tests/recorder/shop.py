"""A table whose rows say which request wrote them, and what the ledger says of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from capture.rig import Rig, make_rig
from servers import Database

ORDERS = "create table orders (id text primary key, request text, note text)"
_prefixes = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of `orders` as the ledger tells it."""

    op: str
    key: str
    request: str | None
    """What the application wrote into the row: the id of the request that made the change."""
    request_id: str | None
    """What the tag says."""
    actor: str | None
    outcome: str


@dataclass
class Shop:
    """The database and its ledger."""

    rig: Rig
    database: Database = field(init=False)

    def __post_init__(self) -> None:
        self.database = self.rig.database

    def prefix(self) -> str:
        """Return a beginning of keys for one test."""
        return f"t{next(_prefixes)}-"

    def changes(self, prefix: str) -> list[Change]:
        """Capture what there is, and return the changes of one test's rows."""
        self.rig.once()
        rows = self.rig.ask(
            f"""
            select op, after['id'], after['request'], request_id, actor, outcome
            from changes where relation = 'public.orders' and after['id'] like '{prefix}%'
            order by commit_lsn, seq
            """
        )
        return [Change(*row) for row in rows]

    def right(self, prefix: str, count: int) -> list[Change]:
        """So many changes, each tagged with the request that made it; returns them."""
        changes = self.changes(prefix)
        assert len(changes) == count
        assert [change for change in changes if change.request != change.request_id] == []
        return changes


def make_shop(database: Database, folder: Path) -> Shop:
    """Make the table, install Flux, track the table with rollbacks, begin capture."""
    with database.connect() as connection:
        connection.execute(ORDERS)
    rig = make_rig(database, folder, "orders")
    rig.once()
    return Shop(rig)
