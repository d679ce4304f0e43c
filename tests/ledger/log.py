"""A log to write by hand: what a decoder would have made of a source's transactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from flux.ledger.shapes import relations_table
from flux.ledger.writer import Writer
from flux.model.batch import CHANGES, CONTEXTS, DDL, TRANSACTIONS, Batch, Position
from flux.model.relation import Column, Relation

EPOCH = datetime(2026, 3, 10, 12, 0, 0, tzinfo=UTC)
ROOM = 1000
"""Bytes of log between two records of this test log."""

Row = dict[str, str | None]


def relation(
    name: str = "public.users",
    columns: tuple[str, ...] = ("id", "email", "plan"),
    *,
    oid: int = 16400,
    key: tuple[str, ...] = ("id",),
    lsn: int = 1,
    attnums: tuple[int, ...] | None = None,
    types: dict[str, str] | None = None,
    missing: dict[str, str] | None = None,
    lossy: tuple[str, ...] = (),
    identity: str = "d",
    root: tuple[int, str] | None = None,
) -> Relation:
    numbers = attnums if attnums is not None else tuple(range(1, len(columns) + 1))
    return Relation(
        relation_id=oid,
        relation=name,
        root_id=root[0] if root is not None else oid,
        root=root[1] if root is not None else name,
        lsn=lsn,
        columns=tuple(
            Column(
                column,
                (types or {}).get(column, "text"),
                number,
                column in key,
                column in key,
                (missing or {}).get(column),
            )
            for column, number in zip(columns, numbers, strict=True)
        ),
        key=key,
        replica_identity=identity,
        row_columns=columns,
        lossy=lossy,
    )


@dataclass
class Log:
    """Transactions and attempts as they happen; `batch` hands over what is new."""

    lsn: int = ROOM
    clock: int = 0
    xid: int = 700
    changes: list[dict[str, Any]] = field(default_factory=list)
    contexts: list[dict[str, Any]] = field(default_factory=list)
    transactions: list[dict[str, Any]] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    ddl: list[dict[str, Any]] = field(default_factory=list)
    position: Position = field(default_factory=lambda: Position(0, 0, 0))

    def next_lsn(self) -> int:
        self.lsn += ROOM
        return self.lsn

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.clock)

    def transaction(
        self, *changes: dict[str, Any], request: str | None = None, actor: str | None = None
    ) -> int:
        """A transaction that committed; returns its commit position."""
        self.clock += 60
        self.xid += 1
        context_id = self._context(request, actor) if request or actor else None
        rows = []
        for change in changes:
            own = dict(change)
            if own.get("outcome", "committed") != "committed":
                rows.append(self._attempt(own, request, actor, context_id))
                continue
            rows.append(own | {"lsn": self.next_lsn()})
        commit_lsn = self.next_lsn()
        committed = [row for row in rows if row.get("outcome") is None]
        for seq, row in enumerate(committed):
            row |= {
                "commit_lsn": commit_lsn,
                "seq": seq,
                "outcome": "committed",
                "at": self.now(),
                "xid": self.xid,
                "request_id": request,
                "actor": actor,
                "context_id": context_id,
            }
        self.changes += rows
        end_lsn = commit_lsn + 100
        self.transactions.append(
            {
                "xid": self.xid,
                "commit_lsn": commit_lsn,
                "end_lsn": end_lsn,
                "at": self.now(),
                "outcome": "committed",
                "change_count": len(committed),
                "request_ids": [request] if request else [],
                "origin": None,
            }
        )
        self.position = Position(commit_lsn, end_lsn, int(self.now().timestamp() * 1_000_000))
        return commit_lsn

    def rolled_back(
        self, *changes: dict[str, Any], request: str | None = None, actor: str | None = None
    ) -> None:
        """A transaction that was rolled back, seen through its attempts."""
        self.clock += 60
        self.xid += 1
        context_id = self._context(request, actor) if request or actor else None
        for change in changes:
            own = dict(change) | {"outcome": "rolled_back"}
            self.changes.append(self._attempt(own, request, actor, context_id))

    def _attempt(
        self, row: dict[str, Any], request: str | None, actor: str | None, context_id: int | None
    ) -> dict[str, Any]:
        return row | {
            "lsn": self.next_lsn(),
            "at": self.now(),
            "xid": self.xid,
            "subxid": self.xid,
            "request_id": request,
            "actor": actor,
            "context_id": context_id,
            "seq": 0,
        }

    def _context(self, request: str | None, actor: str | None) -> int:
        lsn = self.next_lsn()
        self.contexts.append(
            {
                "context_id": lsn,
                "xid": self.xid,
                "lsn": lsn,
                "request_id": request,
                "actor": actor,
                "attributes": [("tenant", "eu")],
                "application_name": "shop",
                "db_user": "app",
                "client_addr": "10.0.0.7",
                "backend_pid": 4711,
                "statement": "update users set …",
            }
        )
        return lsn

    def shape(self, version: Relation) -> None:
        """A new version of a relation from here on, whatever its `lsn` says."""
        from dataclasses import replace

        self.relations.append(replace(version, lsn=self.next_lsn()))

    def batch(self, **more: Any) -> Batch:
        """Everything since the last call."""
        made = Batch(
            changes=_table(self.changes, CHANGES),
            contexts=_table(self.contexts, CONTEXTS),
            transactions=_table(self.transactions, TRANSACTIONS),
            relations=relations_table(self.relations),
            ddl=_table(self.ddl, DDL),
            position=self.position,
            confirm_lsn=self.position.end_lsn,
            **more,
        )
        for rows in (self.changes, self.contexts, self.transactions, self.relations, self.ddl):
            rows.clear()
        return made

    def store(self, writer: Writer) -> None:
        """Append and commit what is new."""
        writer.append(self.batch())
        commit(writer)


def commit(writer: Writer) -> None:
    writer.commit(slot="flux_test", system_identifier="7342", timeline=1)


def ledger_with(path: Path, log: Log, *, source: str = "shop") -> Path:
    """A ledger at `path` that holds `log`."""
    from flux.ledger import create_ledger

    create_ledger(path)
    with Writer.open(path, source=source) as writer:
        log.store(writer)
    return path


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    whole = [{name: row.get(name) for name in schema.names} for row in rows]
    return pa.Table.from_pylist(whole, schema=schema)


def row(**values: str | None) -> list[tuple[str, str | None]]:
    return list(values.items())


def insert(table: Relation, key: str | None, after: Mapping[str, str | None], **more: Any) -> dict[str, Any]:
    return _change(table, "insert", key, after=list(after.items()), **more)


def update(table: Relation, key: str | None, after: Mapping[str, str | None], **more: Any) -> dict[str, Any]:
    return _change(table, "update", key, after=list(after.items()), **more)


def delete(table: Relation, key: str | None, **more: Any) -> dict[str, Any]:
    return _change(table, "delete", key, **more)


def truncate(table: Relation, **more: Any) -> dict[str, Any]:
    return _change(table, "truncate", None, **more)


def _change(table: Relation, op: str, key: str | None, **more: Any) -> dict[str, Any]:
    if isinstance(more.get("before"), dict):
        more["before"] = list(more["before"].items())
    return {
        "relation": table.root,
        "relation_id": table.root_id,
        "op": op,
        "key": key,
        "unchanged": [],
        **more,
    }
