"""Keeping a ledger fast: small files become large sorted ones, and what nobody reads is deleted.

Compaction goes in tiers by file size, so a row is rewritten a handful of times in its life and
not with every compaction. Files that a compaction replaced stay for a grace time: a reader
goes on with the list of files that it read when it was asked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb

from flux import sql
from flux.ledger.commit import Catalog
from flux.ledger.durability import DataFiles
from flux.ledger.layout import Layout

READER_GRACE_S = 900
"""A replaced file is kept at least this long; a question takes seconds, a long export minutes."""
ORPHAN_CHECK_S = 3600
"""Between two looks for files that a killed writer left behind: each lists all files."""
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


class Upkeeper:
    """The upkeep of one ledger by its writer; see `Writer.maintain`."""

    def __init__(
        self, lake: duckdb.DuckDBPyConnection, place: Layout, catalog: Catalog, files: DataFiles
    ) -> None:
        self._lake = lake
        self._place = place
        self._catalog = catalog
        self._files = files
        self._orphans_at = 0.0

    def maintain(self, *, force: bool = False) -> Upkeep:
        """Compact and clean up where it is time to; `force` merges whatever can be merged."""
        merged = 0
        if force or self._catalog.kept_rows("positions") > POSITIONS_INLINED_MAX:
            self._step(sql.text("ledger/upkeep/flush.sql"))
        for table, sizes in self._catalog.file_sizes().items():
            for bytes_max, count_min in TIERS:
                small = sum(1 for size in sizes if size < bytes_max)
                if small >= (2 if force else count_min):
                    merged += small
                    merge = sql.text("ledger/upkeep/merge.sql").format(
                        table=table, bytes_max=bytes_max, merged_max=1 << 30 if force else MERGED_FILES_MAX
                    )
                    self._step(merge)
                    # A larger tier would only see the files that this one has just made.
                    break
        return Upkeep(merged, self._delete() if merged or force else 0)

    def _step(self, statement: str) -> None:
        self._lake.begin()
        try:
            self._lake.execute(statement)
            self._files.flush_new()
            self._lake.commit()
        except BaseException:
            self._lake.rollback()
            raise

    def _delete(self) -> int:
        """Delete replaced and orphaned files whose grace is over, and forget old versions."""
        before = datetime.now(UTC) - timedelta(seconds=READER_GRACE_S)
        if versions := self._catalog.versions(before):
            self._lake.execute(sql.text("ledger/upkeep/expire.sql"), {"versions": versions})
        replaced = self._catalog.replaced(before)
        for path in replaced.values():
            (self._place.data / path).unlink(missing_ok=True)
        # Deleted first: what a kill leaves in the list is looked at again.
        self._catalog.forget_replaced(replaced)
        deleted = len(replaced)
        if time.monotonic() >= self._orphans_at:
            self._orphans_at = time.monotonic() + ORPHAN_CHECK_S
            words = {"grace_s": READER_GRACE_S}
            deleted += len(
                self._lake.execute(sql.text("ledger/upkeep/delete_orphaned.sql"), words).fetchall()
            )
        return deleted
