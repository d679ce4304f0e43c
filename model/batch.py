"""The columnar batch: what a decoder yields and the ledger stores. Arrow schemas, no I/O.

The columns are those of docs/FORMAT.md, without `source`, which the writer of a ledger knows.
Text columns may be `string` or `string_view`: a view points into the buffer the batch keeps alive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

TEXT = pa.string()
LSN = pa.uint64()
TIME = pa.timestamp("us", tz="UTC")
ROW = pa.map_(TEXT, TEXT)
"""A row or a part of one: column name → the value's own text, null for NULL."""

CHANGES = pa.schema(
    [
        ("commit_lsn", LSN),  # null if not committed
        ("lsn", LSN),  # of the change (record start) or of the attempt's message
        ("seq", pa.uint64()),  # ordinal in its transaction, from 0
        ("xid", pa.uint64()),
        ("subxid", pa.uint64()),  # attempts only
        ("at", TIME),
        ("relation", TEXT),  # of the root, for a partition
        ("relation_id", pa.uint32()),  # of the root, for a partition
        ("key", TEXT),
        ("old_key", TEXT),
        ("op", TEXT),
        ("before", ROW),
        ("after", ROW),
        ("unchanged", pa.list_(TEXT)),
        ("outcome", TEXT),
        ("request_id", TEXT),
        ("actor", TEXT),
        ("context_id", pa.uint64()),
    ]
)

CONTEXTS = pa.schema(
    [
        ("context_id", pa.uint64()),  # the log position of the message that brought it
        ("xid", pa.uint64()),
        ("lsn", LSN),
        ("request_id", TEXT),
        ("actor", TEXT),
        ("attributes", ROW),
        ("application_name", TEXT),
        ("db_user", TEXT),
        ("client_addr", TEXT),
        ("backend_pid", pa.int32()),
        ("statement", TEXT),
    ]
)

TRANSACTIONS = pa.schema(
    [
        ("xid", pa.uint64()),
        ("commit_lsn", LSN),
        ("end_lsn", LSN),
        ("at", TIME),
        ("outcome", TEXT),
        ("change_count", pa.uint64()),
        ("request_ids", pa.list_(TEXT)),
        ("origin", TEXT),
    ]
)

COLUMN = pa.struct(
    [
        ("name", TEXT),
        ("type", TEXT),
        ("attnum", pa.int16()),
        ("is_key", pa.bool_()),
        ("not_null", pa.bool_()),
    ]
)

RELATIONS = pa.schema(
    [
        ("relation_id", pa.uint32()),
        ("relation", TEXT),
        ("lsn", LSN),  # valid from
        ("columns", pa.list_(COLUMN)),
        ("replica_identity", TEXT),
        ("key", pa.list_(TEXT)),  # key columns in key order
        ("missing", ROW),  # column → value of rows older than the column
        ("lossy", pa.list_(TEXT)),  # columns whose NaN and infinities arrive as null
        ("root_id", pa.uint32()),  # differs from relation_id for a partition
        ("row_columns", pa.list_(TEXT)),  # what record::text prints, null = generated
    ]
)

RENAME = pa.struct([("kind", TEXT), ("relation", TEXT), ("old", TEXT), ("new", TEXT)])

DDL = pa.schema(
    [
        ("lsn", LSN),
        ("xid", pa.uint64()),
        ("at", TIME),
        ("command", TEXT),
        ("object", TEXT),
        ("statement", TEXT),
        ("renames", pa.list_(RENAME)),
        ("request_id", TEXT),
    ]
)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a source's log has been read to; stored in the same commit as the rows."""

    commit_lsn: int
    """START of the last commit record read; everything up to it is in the ledger."""
    end_lsn: int
    """END of that record: what may be confirmed, unless an attempt is still open."""
    at_us: int = 0
    """Commit time of that record, microseconds since 1970-01-01 UTC."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A piece of the stream as columns. Rows are in stream order.

    A batch that ends inside a transaction has `open_transaction` set; the writer then keeps its
    ledger transaction open and appends the next batch to it, so readers see whole transactions.
    """

    changes: pa.Table
    contexts: pa.Table
    transactions: pa.Table
    relations: pa.Table
    ddl: pa.Table
    position: Position
    """After the last whole transaction of this batch (or of the ones before it)."""
    confirm_lsn: int
    """What may be confirmed once this batch is durable: never past the oldest open attempt."""
    open_transaction: bool = False
    resync: tuple[int, ...] = ()
    """Root OIDs of relations whose rows changed without row changes in the log: a rewrite, a
    partition attached, detached or truncated, a table newly tracked. They need a new baseline."""
    gone: tuple[tuple[int, int], ...] = ()
    """(OID, position) of relations that are captured no longer from there on: dropped or untracked."""
    heartbeats: tuple[str, ...] = ()
    """Nonces of the heartbeats that this batch decoded."""
    open_attempts: int = 0
    """Attempts whose outcome is not known yet."""
    unresolved: bool = False
    """An attempt or a context of a transaction that is not over was read: no position after
    `confirm_lsn` may be confirmed, not even that of a keepalive."""
    doubtful: tuple[int, ...] = ()
    """Transactions that the next heartbeat must name: over, but it is not told whether they committed."""
    ignored_messages: int = 0
    """Messages under our prefixes that were malformed or forged, and were ignored."""
    warnings: tuple[str, ...] = field(default=())
    late: Iterable[pa.Table] = ()
    """More rows of `changes`, made as they are asked for, once: a transaction that was rolled back may have
    had millions. They are asked for before the next batch is."""

    @property
    def row_count(self) -> int:
        """Rows over all tables."""
        return sum(
            table.num_rows
            for table in (self.changes, self.contexts, self.transactions, self.relations, self.ddl)
        )
