"""The questions: macros and views that a ledger keeps in its own catalog.

They are stored there so that plain DuckDB has them too; Flux asks through the same ones.
"""

from __future__ import annotations

import hashlib

import duckdb

from flux import sql

FILES = (
    "010_words",
    "020_shapes",
    "030_events",
    "040_fold",
    "050_history",
    "060_state",
    "070_tables",
)
"""In the order they are made: a macro is bound to those before it."""


def install(lake: duckdb.DuckDBPyConnection) -> None:
    """Put the macros into the attached ledger, replacing older ones."""
    for name in FILES:
        lake.execute(sql.text(f"ledger/macros/{name}.sql"))


def digest() -> str:
    """Return what tells this version's macros from another's."""
    text = "".join(sql.text(f"ledger/macros/{name}.sql") for name in FILES)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
