"""Keeping a ledger fast: small files become large sorted ones, and what nobody reads is deleted.

Compaction goes in tiers by file size, so a row is rewritten a handful of times in its life and
not with every compaction. Files that a compaction replaced stay for a grace time: a reader
goes on with the list of files that it read when it was asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from flux import sql
from flux.ledger.durability import DataFiles
from flux.ledger.layout import Layout

READER_GRACE_S = 3600
"""A replaced file is kept at least this long; a question takes seconds, a long export minutes."""
TABLES = ("changes", "contexts", "transactions", "relations", "ddl", "positions", "gaps")
TIERS: tuple[tuple[int, int], ...] = ((1 << 20, 16), (16 << 20, 12), (200 << 20, 10))
"""(bytes, count): files below that size are merged once there are that many of them."""
MERGED_FILES_MAX = 4
"""Files made by one step of compaction: a step must not keep the stream waiting for long."""
POSITIONS_INLINED_MAX = 2000
"""Rows of `positions` kept in the catalog before they are written out (a row comes with a commit)."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What one call of `maintain` did."""

    merged_files: int = 0
    """Small files that were replaced."""
    deleted_files: int = 0
    """Files that no catalog names any more, deleted from the disk."""


def maintain(
    lake: duckdb.DuckDBPyConnection, place: Layout, files: DataFiles, *, force: bool = False
) -> Upkeep:
    """Compact and clean up where it is time to; `force` merges whatever can be merged."""
    merged = 0
    if force or _inlined_positions(lake) > POSITIONS_INLINED_MAX:
        _step(lake, files, sql.text("ledger/upkeep/flush.sql"))
    for table in TABLES:
        sizes = [
            size
            for (size,) in lake.execute(sql.text("ledger/upkeep/file_sizes.sql"), {"table": table}).fetchall()
        ]
        for bytes_max, count_min in TIERS:
            small = sum(1 for size in sizes if size < bytes_max)
            if small >= (2 if force else count_min):
                merged += small
                merge = sql.text("ledger/upkeep/merge.sql").format(
                    table=table, bytes_max=bytes_max, merged_max=1 << 30 if force else MERGED_FILES_MAX
                )
                _step(lake, files, merge)
                # A larger tier would only see the files that this one has just made.
                break
    return Upkeep(merged, _delete(lake, place.data) if merged or force else 0)


def _inlined_positions(lake: duckdb.DuckDBPyConnection) -> int:
    row = lake.execute(sql.text("ledger/upkeep/inlined_positions.sql")).fetchone()
    return int(row[0]) if row is not None else 0


def _step(lake: duckdb.DuckDBPyConnection, files: DataFiles, statement: str) -> None:
    lake.begin()
    try:
        lake.execute(statement)
        files.flush_new()
        lake.commit()
    except BaseException:
        lake.rollback()
        raise


def _delete(lake: duckdb.DuckDBPyConnection, data: Path) -> int:
    """Delete replaced and orphaned files whose grace is over."""
    lake.execute(sql.text("ledger/upkeep/expire.sql"), {"grace_s": READER_GRACE_S})
    before = sum(1 for _ in data.rglob("*.parquet"))
    for statement in ("delete_replaced", "delete_orphaned"):
        lake.execute(sql.text(f"ledger/upkeep/{statement}.sql"), {"grace_s": READER_GRACE_S})
    return before - sum(1 for _ in data.rglob("*.parquet"))
