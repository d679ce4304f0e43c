"""A stream as it came from the server, kept, so that it can be decoded again and again.

The decoder alone is tested here, without capture and ledger: `Recording.decode` gives what the batches
said, as rows. The baseline is the truth itself, read while nobody wrote.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pyarrow as pa

from flux.capture import source
from flux.decoder import Decoder
from flux.decoder.slot import create_slot, drop_slot
from flux.decoder.wire import Stream, open_stream
from flux.model.batch import Batch
from flux.model.relation import Relation
from servers import Database, eventually

Rows = list[dict[str, Any]]

RUNS = (1, 2, 7, 40, 400, 2000)
"""Lengths of runs of messages to decode at once. A run costs 5 ms, whatever its length."""

BEATS_MAX = 5

TABLES = ("changes", "contexts", "transactions", "relations", "ddl")


@dataclass(slots=True)
class Told:
    """What batches said, all together."""

    changes: Rows = field(default_factory=list)
    contexts: Rows = field(default_factory=list)
    transactions: Rows = field(default_factory=list)
    relations: Rows = field(default_factory=list)
    ddl: Rows = field(default_factory=list)
    resync: set[int] = field(default_factory=set)
    open_attempts: int = 0
    ignored_messages: int = 0

    def add(self, batch: Batch) -> None:
        """Take in one batch."""
        for name in TABLES:
            getattr(self, name).extend(rows_of(getattr(batch, name)))
        for rows in batch.late:
            self.changes.extend(rows_of(rows))
        self.resync |= set(batch.resync)
        self.open_attempts = batch.open_attempts
        self.ignored_messages += batch.ignored_messages

    @staticmethod
    def order(change: Mapping[str, Any]) -> tuple[int, int, int, int]:
        """Return where a change stands among others."""
        return (change["commit_lsn"] or 1 << 64, change["lsn"], change["seq"], change["relation_id"])

    def sort(self) -> None:
        """Put rows into an order that does not depend on how the stream was cut."""
        self.changes.sort(key=self.order)
        self.contexts.sort(key=lambda c: int(c["context_id"]))
        self.transactions.sort(key=lambda t: (t["commit_lsn"] or 1 << 64, t["xid"]))
        self.relations.sort(key=lambda r: (r["relation_id"], r["lsn"]))
        self.ddl.sort(key=lambda d: int(d["lsn"]))


def rows_of(table: pa.Table) -> Rows:
    """Return an Arrow table as dicts; string views become strings, maps dicts."""
    columns = {}
    for name in table.column_names:
        values = table.column(name).to_pylist()
        if pa.types.is_map(table.schema.field(name).type):
            values = [None if value is None else dict(value) for value in values]
        columns[name] = values
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


class Recording:
    """A slot, its stream and every message that came; made while nobody writes."""

    def __init__(self, database: Database, plugin: Literal["pgoutput", "wal2json"], slot: str) -> None:
        self.plugin: Literal["pgoutput", "wal2json"] = plugin
        self._database = database
        self._slot = slot
        self.messages: list[bytes] = []
        self.lookups: list[int | str] = []
        made = create_slot(database.dsn, slot, plugin)
        made.connection.close()
        self.start_lsn = made.consistent_point
        self._connection = database.connect()
        self.relations: list[Relation] = [
            replace(relation, lsn=self.start_lsn) for relation in source.describe(self._connection)
        ]
        self.secret = source.secret(self._connection)
        self._stream: Stream = open_stream(database.dsn, slot=slot, plugin=plugin)
        self._beats = 0

    def catch_up(self) -> None:
        """Receive until every attempt made before this call has its outcome."""
        decoder = self._decoder()
        decoder.decode(self.messages)
        doubtful: tuple[int, ...] = ()
        for _ in range(BEATS_MAX):
            self._beats += 1
            nonce = f"oracle-{self._beats}-{self.plugin}"
            self._connection.execute(
                "select flux.heartbeat(%s, %s::text[]::xid8[])", [nonce, [str(xid) for xid in doubtful]]
            )
            came = eventually(
                lambda nonce=nonce: self._receive(decoder, nonce),  # type: ignore[misc]
                within_s=30,
                what="the heartbeat in the stream",
            )
            doubtful = came[0] if came is not None else ()
            if not doubtful:
                return
        raise AssertionError(f"doubtful still after {BEATS_MAX} heartbeats: {doubtful}")

    def _receive(self, decoder: Decoder, nonce: str) -> tuple[tuple[int, ...]] | None:
        """Decode what came; once the heartbeat did, return the transactions that need another."""
        fresh = self._stream.receive(bytes_max=8 << 20, wait_s=1.0)
        self.messages += fresh
        batch = decoder.decode(fresh)
        return (batch.doubtful,) if nonce in batch.heartbeats else None

    def _decoder(self) -> Decoder:
        return Decoder(
            self.plugin,
            relations=self.relations,
            lookup=self._look_up,
            start_lsn=self.start_lsn,
            secret=self.secret,
        )

    def decode(self, cut: random.Random | None = None) -> Told:
        """Decode all messages: at once, or in runs of random length, some of a single message."""
        decoder = self._decoder()
        told = Told()
        place = 0
        while place < len(self.messages):
            length = len(self.messages) if cut is None else cut.choice(RUNS)
            told.add(decoder.decode(self.messages[place : place + length]))
            place += length
        told.relations += rows_of(_relations(self.relations))
        told.sort()
        return told

    def reopen(self) -> None:
        """Begin again after the server went away: nothing was confirmed, so everything comes again."""
        self.close()
        self.messages.clear()
        self._connection = self._database.connect()
        self._stream = open_stream(self._database.dsn, slot=self._slot, plugin=self.plugin)

    def close(self) -> None:
        """End the stream."""
        self._stream.close()
        self._connection.close()

    def drop(self) -> None:
        """End the stream and drop its slot."""
        self.close()
        drop_slot(self._database.dsn, self._slot)

    def _look_up(self, relation: int | str) -> Relation | None:
        self.lookups.append(relation)
        return source.lookup(self._connection, relation)


def _relations(relations: list[Relation]) -> pa.Table:
    from flux.decoder.tables import relations_table

    return relations_table(relations)


@contextmanager
def recording(
    database: Database, plugin: Literal["pgoutput", "wal2json"], slot: str = "oracle"
) -> Iterator[Recording]:
    """Record from here on."""
    made = Recording(database, plugin, slot)
    try:
        yield made
    finally:
        made.close()
