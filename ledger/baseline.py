"""Reconciling a relation with a copy of its rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb
import pyarrow as pa

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
    *,
    lsn: int,
    at_us: int,
) -> Reconciled:
    """Write what differs between the ledger's state of `relation` as of `lsn` and `rows`."""
    raise NotImplementedError
