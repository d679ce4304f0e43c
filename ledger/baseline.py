"""Reconciling a relation with a copy of its rows.

The copy was read in a snapshot whose log position is known exactly. What it shows and the ledger does not
is written one below that position, where no commit record can start: after every change that the snapshot
saw, before every one that it did not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from flux import sql
from flux.model.batch import CHANGES, ROW
from flux.model.key import composite_key_texts
from flux.model.outcome import Outcome
from flux.model.relation import Relation


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a baseline did to the ledger."""

    row_count: int
    """Rows in the copy."""
    written: int
    """Rows that were new or different, written as `baseline`."""
    deleted: int
    """Rows that the ledger had and the copy has not, written as `delete`."""


def reconcile(
    lake: duckdb.DuckDBPyConnection,
    source: str,
    relation: Relation,
    rows: Iterable[pa.RecordBatch],
    write: Callable[[pa.Table], None],
    *,
    lsn: int,
    at_us: int,
) -> Reconciled:
    """Add what differs between the ledger's state of `relation` as of `lsn` and `rows`.

    The rows of a relation of which the ledger knows no change are handed to `write` as they come, as rows of
    `CHANGES`; else the copy is staged aside first.
    """
    words: dict[str, Any] = {"source": source, "relation_id": relation.root_id}
    first = _one(lake, "next_seq", {"source": source, "commit_lsn": lsn - 1})
    if _one(lake, "is_first", words):
        count = 0
        for batch in rows:
            write(_changes(relation, _keyed(relation, batch, first + count), lsn - 1, at_us))
            count += batch.num_rows
        result = Reconciled(count, count, 0)
    else:
        place = {**words, "relation": relation.root, "commit_lsn": lsn - 1, "at_us": at_us}
        result = _compare(lake, relation, rows, place, first)
    record = {**words, "relation": relation.root, "lsn": lsn, "at_us": at_us, "row_count": result.row_count}
    lake.execute(sql.text("ledger/baseline/record.sql"), record)
    return result


def _compare(
    lake: duckdb.DuckDBPyConnection,
    relation: Relation,
    rows: Iterable[pa.RecordBatch],
    place: dict[str, Any],
    first: int,
) -> Reconciled:
    lake.execute(sql.text("ledger/baseline/stage.sql"))
    try:
        for batch in rows:
            lake.register("batch", _keyed(relation, batch, 0))
            try:
                lake.execute(sql.text("ledger/baseline/stage_batch.sql"))
            finally:
                lake.unregister("batch")
        words = {"relation": relation.root, "before_lsn": place["commit_lsn"], "source": place["source"]}
        lake.execute(sql.text("ledger/baseline/differences.sql"), words)
        lake.execute(sql.text("ledger/baseline/append_differences.sql"), {**place, "first": first})
        counts = lake.execute(sql.text("ledger/baseline/counts.sql")).fetchone() or (0, 0)
        return Reconciled(_one(lake, "row_count", None), counts[0], counts[1])
    finally:
        lake.execute(sql.text("ledger/baseline/drop.sql"))


def _one(lake: duckdb.DuckDBPyConnection, statement: str, words: dict[str, Any] | None) -> Any:
    row = lake.execute(sql.text(f"ledger/baseline/{statement}.sql"), words).fetchone()
    return row[0] if row is not None else None


def _keyed(relation: Relation, batch: pa.RecordBatch, first: int) -> pa.Table:
    """Return the rows as key, image and ordinal, counted from `first`."""
    count, names = batch.num_rows, batch.schema.names
    # Column after column, then taken row by row.
    values = pa.concat_arrays([batch.column(name).cast(pa.string()) for name in names])
    order = np.arange(count * len(names)).reshape(len(names), count).T.ravel()
    labels = pa.array(names, pa.string()).take(pa.array(np.tile(np.arange(len(names)), count)))
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * len(names))
    parts = [batch.column(name).cast(pa.string()) for name in relation.key]
    key = pa.nulls(count, pa.string())
    if parts:
        key = parts[0] if len(parts) == 1 else composite_key_texts(parts)
    return pa.table(
        {
            "key": key,
            "after": pa.MapArray.from_arrays(offsets, labels, values.take(pa.array(order))).cast(ROW),
            "ordinal": pa.array(np.arange(first, first + count)),
        }
    )


def _changes(relation: Relation, rows: pa.Table, commit_lsn: int, at_us: int) -> pa.Table:
    """Return the rows that `_keyed` gave as rows of `CHANGES`."""
    same = {
        "commit_lsn": commit_lsn,
        "lsn": commit_lsn,
        "at": at_us,
        "relation": relation.root,
        "relation_id": relation.root_id,
        "op": "baseline",
        "outcome": Outcome.COMMITTED.value,
    }
    each = {
        "seq": rows.column("ordinal").cast(pa.uint64()),
        "key": rows.column("key"),
        "after": rows.column("after"),
    }
    columns = [
        each[field.name]
        if field.name in each
        else pa.repeat(pa.scalar(same.get(field.name), field.type), rows.num_rows)
        for field in CHANGES
    ]
    return pa.table(columns, schema=CHANGES)
