"""A ledger made by hand, with one of everything that the command line shows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flux.ledger import create_ledger, sources
from flux.ledger.writer import Writer
from ledger.log import EPOCH, Log, Row, commit, delete, insert, relation, update

TAGS = {
    "a3c91ef0": "a3c91ef0-52c8-4bb0-9fd1-9a1c7b1f0001",
    "4f9a3b2c": "4f9a3b2c-52c8-4bb0-9fd1-9a1c7b1f0002",
    "550e8400": "550e8400-e29b-41d4-a716-446655440000",
    "550e8499": "550e8499-e29b-41d4-a716-446655440000",
}
USERS = relation(columns=("id", "email", "name", "plan"))
STOCK = relation(
    "public.stock", ("region", "sku", "count", "weight"), oid=16500, key=("region", "sku"), lossy=("weight",)
)
NOTES = relation("public.Odd Notes", ("who", "text"), oid=16600, key=(), identity="f")
EVIL = "\x1b[31mred\x1b[0m\u202e\x9b2J\r\nnext"


def make(path: Path) -> Path:
    """Make the ledger; times are around 2026-03-10 12:00 UTC."""
    log = Log()
    for version in (USERS, STOCK, NOTES):
        log.shape(version)
    _users(log)
    _stock(log)
    _notes(log)
    create_ledger(path)
    with Writer.open(path, source="shop") as writer:
        log.store(writer)
        writer.add_gap(
            from_lsn=log.lsn + 10,
            to_lsn=log.lsn + 500,
            from_us=_us(EPOCH.replace(hour=15)),
            to_us=_us(EPOCH.replace(hour=16)),
            reason="the slot was lost",
        )
        log.lsn += 1000
        log.clock = 5 * 3600
        _late(log)
        writer.append(log.batch())
        commit(writer)
    sources.write(path, sources.Source("shop", "pgoutput", "flux_shop", "shop", "localhost"))
    return path


def _us(at: datetime) -> int:
    return int(at.astimezone(UTC).timestamp() * 1_000_000)


def _at(log: Log, clock: str) -> None:
    """Let the next transaction be at this time of the day."""
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    log.clock = (hours - EPOCH.hour) * 3600 + minutes * 60 + seconds - 60


def _by_hand(log: Log, change: dict[str, Any]) -> None:
    """A change from psql, without a tag."""
    log.transaction(change, actor="nobody")
    log.changes[-1]["actor"] = None
    log.contexts[-1] |= {"actor": None, "attributes": [], "application_name": "psql", "db_user": "alice"}


def _users(log: Log) -> None:
    row: Row = {"id": "42", "email": "a@b.com", "name": None, "plan": "free"}
    _at(log, "12:00:00")
    _by_hand(log, insert(USERS, "42", row))
    _at(log, "14:21:59")
    log.transaction(
        update(USERS, "42", row | {"name": "Alice Smith"}), request=TAGS["a3c91ef0"], actor="alice"
    )
    _at(log, "14:22:01")
    row = row | {"name": "Alice Smith", "plan": "pro"}
    log.transaction(update(USERS, "42", row, before={**row, "plan": "free"}), request=TAGS["4f9a3b2c"])
    _at(log, "14:22:01")
    log.rolled_back(update(USERS, "42", row | {"plan": None}, before=row), request=TAGS["550e8400"])
    _at(log, "14:30:00")
    evil: Row = {"id": "7", "email": EVIL, "name": "", "plan": "x" * 200}
    log.transaction(insert(USERS, "7", evil), request=TAGS["550e8499"])
    log.transaction(insert(USERS, "8", {"id": "8", "email": "gone", "name": None, "plan": None}))
    log.transaction(delete(USERS, "8"))


def _stock(log: Log) -> None:
    row: Row = {"region": "eu", "sku": "a,b", "count": "3", "weight": "1.5"}
    key = '["eu","a,b"]'
    log.transaction(insert(STOCK, key, row), request=TAGS["a3c91ef0"])
    log.transaction(update(STOCK, key, row | {"weight": None}))


def _notes(log: Log) -> None:
    log.transaction(insert(NOTES, None, {"who": "alice", "text": "hello"}))
    log.transaction(insert(NOTES, None, {"who": "bob", "text": "hi"}))


def _late(log: Log) -> None:
    """After the gap."""
    row: Row = {"id": "43", "email": "a@b.com", "name": "Alice Smith", "plan": "pro"}
    log.transaction(update(USERS, "43", row, old_key="42"), request=TAGS["4f9a3b2c"])
