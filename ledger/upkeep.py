"""Keeping a ledger fast: small files become large sorted runs, and what nobody reads is deleted.

Merging goes on in the background (`compaction`); what it made is taken in between two commits. Files that a
merge replaced stay for a grace time: a reader goes on with the list of files that it read when it was asked.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from flux.ledger import datafile
from flux.ledger.commit import Catalog
from flux.ledger.compaction import Compactor, due
from flux.ledger.durability import DataFiles
from flux.ledger.layout import Layout

_POSITIONS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("source", "slot", "system_identifier")),
        *(pa.field(name, pa.uint64()) for name in ("timeline", "commit_lsn")),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("end_lsn", pa.uint64()),
        pa.field(datafile.VERSION, pa.int64()),
    ]
)
"""The table `positions` as a file has it."""

READER_GRACE_S = 900
"""A replaced file is kept at least this long; a question takes seconds, a long export minutes."""
ORPHAN_CHECK_S = 3600
"""Between two looks for files that a killed writer left behind: each lists all files."""
DELETED_MAX = 500
"""Replaced files that are deleted at a time: a file takes half a millisecond, and the stream waits."""
VERSIONS_MIN = 1000
"""Versions of the catalog that are forgotten at a time."""
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

    def __init__(self, place: Layout, catalog: Catalog, files: DataFiles) -> None:
        self._place = place
        self._catalog = catalog
        self._files = files
        self._compactor = Compactor(place.data, catalog, files)
        self._orphans_at = 0.0

    def maintain(self, *, wait: bool = False, brief: bool = False, force: bool = False) -> Upkeep:
        """Merge and clean up where it is time to; see `Writer.maintain`."""
        merged = self.collect(wait=wait or force, brief=brief)
        if force or self._catalog.inlined_rows("positions") > POSITIONS_INLINED_MAX:
            self._flush()
        # A large merge leaves room for small ones beside it.
        while self._compactor.takes_more:
            free = shutil.disk_usage(self._place.data).free
            without = self._compactor.held
            merges = due(self._catalog.files(), brief=brief, force=force, without=without, bytes_free=free)
            begun = self._compactor.start(merges)
            if not (begun and (wait or force)):
                break
            merged += self.collect(wait=True, brief=brief)
            if brief:
                break
        return Upkeep(merged, self._delete())

    def collect(self, *, wait: bool = False, brief: bool = False) -> int:
        """Take in the merges that are done; return how many files they replaced."""
        count = 0
        for merge, made in self._compactor.finished(wait=wait, brief=brief):
            self._catalog.replace(merge.files, made)
            count += len(merge.files)
        return count

    def close(self) -> None:
        """Break off what is under way."""
        self._compactor.close()

    def _flush(self) -> None:
        """Write the positions that the catalog keeps into a file."""
        rows = self._catalog.inlined("positions")
        if not rows:
            return
        path = datafile.new_path(self._place.data, "positions")
        names = self._catalog.columns("positions")
        columns = zip(names, zip(*(row.values for row in rows), strict=True), strict=True)
        values = [pa.array(texts, pa.string()).cast(_POSITIONS.field(name).type) for name, texts in columns]
        table = pa.table([*values, pa.array([row.version for row in rows], pa.int64())], _POSITIONS)
        ids = {**self._catalog.ids("positions"), datafile.VERSION: datafile.VERSION_ID}
        with self._files.making(path):
            with datafile.writing(path, _POSITIONS, ids) as writer:
                writer.write_table(table)
            self._files.flush([path])
            # From here on the catalog may name it, even if it fails.
            self._catalog.flush(rows, datafile.read(path, "positions"))

    def _delete(self) -> int:
        """Delete replaced and orphaned files whose grace is over, and forget old versions."""
        before = datetime.now(UTC) - timedelta(seconds=READER_GRACE_S)
        self._catalog.expire(before, VERSIONS_MIN)
        replaced = self._catalog.replaced(before, DELETED_MAX)
        for path in replaced.values():
            (self._place.data / path).unlink(missing_ok=True)
        # Deleted first: what a kill leaves in the list is looked at again.
        self._catalog.forget_replaced(replaced)
        orphaned = []
        # What a merge has made is no orphan, though no catalog names it yet.
        if time.monotonic() >= self._orphans_at and not self._compactor.is_busy:
            self._orphans_at = time.monotonic() + ORPHAN_CHECK_S
            # Listed first: what is named afterwards is no orphan.
            old = self._files.older(before)
            named = self._catalog.named()
            orphaned = [file for file in old if file.name not in named]
            for file in orphaned:
                file.unlink(missing_ok=True)
        return len(replaced) + len(orphaned)
