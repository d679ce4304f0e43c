"""The typed views of tracked relations: schemas `current` and `history` of the ledger."""

from __future__ import annotations

import duckdb


def refresh(lake: duckdb.DuckDBPyConnection) -> None:
    """Make the views what the newest relation versions say."""
