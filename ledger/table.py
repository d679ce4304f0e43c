"""The questions about whole tables: at, diff. Set-based, by the ledger's own macros."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from flux import sql
from flux.ledger import answer
from flux.ledger.moment import Cut
from flux.model.relation import Relation


def at(lake: duckdb.DuckDBPyConnection, target: Relation, cut: Cut, limit: int | None) -> pa.Table:
    """Return all rows as of the moment, by key; see `Ledger.at`."""
    words = {"relation": target.relation, "lsn": cut.lsn, "limit": limit or None}
    return lake.execute(sql.text("ledger/reader/table_at.sql"), words).to_arrow_table().cast(answer.AT)


def diff(lake: duckdb.DuckDBPyConnection, target: Relation, old: Cut, new: Cut) -> pa.Table:
    """Return the rows that differ between two moments; see `Ledger.diff`."""
    words = {"relation": target.relation, "since": old.lsn, "until": new.lsn}
    return lake.execute(sql.text("ledger/reader/table_diff.sql"), words).to_arrow_table().cast(answer.DIFF)
