"""Baselines: the rows of tracked tables as of an exact log position, copied into the ledger.

Promises: a snapshot shows exactly the transactions that ended before its position; a table is
locked (ACCESS SHARE, as any `select` does) only while it is copied; memory is bounded by
`bytes_max`. Does not: decide which tables need one, or when the stream has reached the snapshot.

Source: PostgreSQL documentation, "Exported Snapshots" of logical decoding, SET TRANSACTION, COPY.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.sql import SQL, Composed, Identifier, Literal

from flux import sql
from flux.capture import source
from flux.decoder.copy_text import parse_rows
from flux.decoder.slot import NewSlot, Stop, create_slot, translate
from flux.model.errors import FluxError, Interrupted, SourceError
from flux.model.relation import Relation

Say = Callable[[str], None]
"""Receives one line of progress; holds no values."""

_PROGRESS_ROWS = 500_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An open transaction that sees the database as of `lsn`."""

    lsn: int
    at_us: int
    """The server's clock when it was taken, microseconds since 1970."""
    connection: psycopg.Connection[Any]

    def close(self) -> None:
        """Give the snapshot up."""
        self.connection.close()

    def describe(self, *, lossy: bool) -> list[Relation]:
        """Return every tracked relation, leaves included, valid from the snapshot's position."""
        try:
            described = source.describe(self.connection, lossy=lossy)
        except psycopg.Error as error:
            raise translate(error, doing="describe the tracked tables") from None
        return [replace(relation, lsn=self.lsn) for relation in described]


def adopt_snapshot(dsn: str | None, made: NewSlot, *, timeout_s: float) -> Snapshot:
    """Open a transaction on the snapshot of a slot just made; the slot's connection may then go.

    A server that is silent on it for `timeout_s` is given up.
    """
    connection = source.connect(dsn, application_name="flux baseline", answer_timeout_s=timeout_s)
    try:
        for name in ("wire/session.sql", "capture/snapshot_session.sql"):
            connection.execute(sql.text(name))
        row = connection.execute(sql.text("capture/clock.sql")).fetchone()
        connection.execute("begin isolation level repeatable read read only")
        connection.execute(SQL("set transaction snapshot {}").format(Literal(made.snapshot_name)))
        # The snapshot is ours only once a statement has used it.
        connection.execute("select")
    except psycopg.Error as error:
        connection.close()
        raise translate(error, doing="open the snapshot of a new slot") from None
    return Snapshot(made.consistent_point, row[0] if row else 0, connection)


def take_snapshot(dsn: str | None, *, timeout_s: float, stop: Stop) -> Snapshot:
    """Take a snapshot at an exact position by means of a temporary slot, which ends with this call."""
    name = f"flux_snapshot_{os.getpid()}_{secrets.token_hex(4)}"
    # The plugin does not matter for a snapshot, and this one every server has.
    made = create_slot(dsn, name, "pgoutput", temporary=True, stop=stop)
    try:
        return adopt_snapshot(dsn, made, timeout_s=timeout_s)
    finally:
        made.connection.close()


class Preparation:
    """A snapshot being taken in a thread: a new slot waits for the transactions that run now."""

    def __init__(self, dsn: str | None, *, timeout_s: float, stop: Stop) -> None:
        self._given_up = threading.Event()
        self._snapshot: Snapshot | None = None
        self._error: FluxError | None = None
        self._thread = threading.Thread(
            target=self._take, args=(dsn, timeout_s, stop), name="flux-snapshot", daemon=True
        )
        self._thread.start()

    def ready(self) -> Snapshot | None:
        """Return the snapshot once it is there, None before; raise what prevented it."""
        if self._thread.is_alive():
            return None
        if self._error is not None:
            raise self._error
        return self._snapshot

    def close(self) -> None:
        """Give it up, or the snapshot it took."""
        self._given_up.set()
        self._thread.join()
        if self._snapshot is not None:
            self._snapshot.close()

    def _take(self, dsn: str | None, timeout_s: float, stop: Stop) -> None:
        def given_up() -> bool:
            return stop() or self._given_up.is_set()

        try:
            self._snapshot = take_snapshot(dsn, timeout_s=timeout_s, stop=given_up)
        except FluxError as error:
            self._error = error


def copy_rows(
    snapshot: Snapshot,
    relation: Relation,
    *,
    bytes_max: int,
    say: Say,
    stop: Stop,
    tick: Callable[[], None],
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `relation` (a root) as text columns; `locked_relation` must hold it.

    `tick` is called for every piece. Raises `Interrupted` when `stop` says so, `Unreachable` when the
    server goes away.
    """
    connection = snapshot.connection
    names = [column.name for column in relation.columns]
    pieces: list[bytes] = []
    size = 0
    rows = told = 0
    try:
        estimate = _estimate(connection, relation.relation_id)
        with connection.cursor() as cursor, cursor.copy(_copy_command(connection, relation)) as copy:
            for piece in copy:
                pieces.append(bytes(piece))
                size += len(piece)
                if size < bytes_max:
                    continue
                if stop():
                    raise Interrupted(f"stopped while copying {relation.relation}")
                tick()
                rows += len(pieces)
                yield parse_rows(b"".join(pieces), names)
                pieces, size = [], 0
                if rows - told >= _PROGRESS_ROWS:
                    told = rows
                    say(f"baseline {relation.relation}: {rows:,} rows{estimate}")
            if pieces:
                yield parse_rows(b"".join(pieces), names)
    except psycopg.Error as error:
        raise _explain(error, relation) from None


class LockedRelation:
    """Context manager: the relation as it is under a lock that keeps its shape; None when it is gone.

    The lock is given back at the end (a savepoint rolled back gives up what it locked).
    """

    def __init__(self, snapshot: Snapshot, relation_id: int, *, lossy: bool) -> None:
        self._snapshot = snapshot
        self._lossy = lossy
        self._relation_id = relation_id

    def __enter__(self) -> Relation | None:
        connection = self._snapshot.connection
        try:
            connection.execute("savepoint flux_table")
            place = _place(connection, self._relation_id)
            if place is None:
                return None
            connection.execute(SQL("lock table {} in access share mode").format(Identifier(*place[:2])))
            relation = source.lookup(connection, self._relation_id, lossy=self._lossy)
        except psycopg.errors.UndefinedTable:
            return None
        except psycopg.Error as error:
            raise translate(error, doing="lock a table for its baseline") from None
        return None if relation is None else replace(relation, lsn=self._snapshot.lsn)

    def __exit__(self, *_: object) -> None:
        connection = self._snapshot.connection
        if connection.closed or connection.broken:
            return
        try:
            connection.execute("rollback to savepoint flux_table")
            connection.execute("release savepoint flux_table")
        except psycopg.Error as error:
            raise translate(error, doing="give up the lock of a table") from None


def running_transactions(connection: psycopg.Connection[Any]) -> int:
    """Return how many transactions a new slot would have to wait for, as far as we may see them."""
    try:
        row = connection.execute(sql.text("capture/running.sql")).fetchone()
    except psycopg.Error as error:
        raise translate(error, doing="count the running transactions") from None
    return int(row[0]) if row else 0


def _copy_command(connection: psycopg.Connection[Any], relation: Relation) -> Composed:
    place = _place(connection, relation.relation_id)
    if place is None:
        raise SourceError(f"the table {relation.relation} is gone", hint="run `flux up` again")
    schema, name, kind = place
    # The log names a child table by itself; only a partitioned root speaks for its leaves.
    only = SQL("") if kind == "p" else SQL("only ")
    columns = SQL(", ").join(Identifier(column.name) for column in relation.columns)
    return SQL("copy (select {} from {}{}) to stdout").format(columns, only, Identifier(schema, name))


def _place(connection: psycopg.Connection[Any], relation_id: int) -> tuple[str, str, str] | None:
    query = sql.text("capture/relation_kind.sql")
    row = connection.execute(query, {"relation_id": relation_id}).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def _estimate(connection: psycopg.Connection[Any], relation_id: int) -> str:
    query = sql.text("capture/row_estimate.sql")
    row = connection.execute(query, {"relation_id": relation_id}).fetchone()
    return f" of about {row[0]:,}" if row and row[0] >= 0 else ""


def _explain(error: psycopg.Error, relation: Relation) -> FluxError:
    if error.sqlstate == "42501":
        return SourceError(
            f"cannot copy {relation.relation}",
            why="the role may not read every row of it (a missing grant, or row level security)",
            hint="grant select on it, and BYPASSRLS to the role where policies apply",
        )
    return translate(error, doing=f"copy {relation.relation}")
