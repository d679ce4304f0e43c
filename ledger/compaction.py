"""Many small data files become one, sorted by row: beside the stream, in a thread and a DuckDB of its own.

A merge reads immutable files and writes a new one; only then the catalog is told, in one short transaction
between two commits of the stream (`Catalog.replace`). So the stream never waits for a sort, and a merge
that is broken off leaves at most a file that no catalog names.

Compaction goes in tiers by file size: a row is rewritten a handful of times in its life.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from flux import sql
from flux.ledger import datafile, durability, engine
from flux.ledger.commit import Catalog, StoredFile
from flux.ledger.datafile import DataFile
from flux.ledger.durability import DataFiles
from flux.ledger.engine import identifier, literal

TIERS: tuple[tuple[int, int], ...] = ((1 << 20, 16), (16 << 20, 12), (200 << 20, 10))
"""(bytes, count): files below that size are merged once there are that many above the tier before."""
MERGED_BYTES_MAX = 256 << 20
"""Of the files that become one."""
MEMORY_MAX = "128MB"
"""Of the DuckDB that merges; beyond it a sort spills to the temporary folder."""
THREADS = 1
"""Of that DuckDB: it runs beside the stream."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Files of one table that are to become one."""

    table: str
    files: tuple[StoredFile, ...]


def due(files: Mapping[str, Sequence[StoredFile]], *, force: bool = False) -> list[Merge]:
    """Return what it is time to merge, at most one merge of each table; with `force` whatever can be."""
    merges = []
    for table, stored in files.items():
        bytes_min = 0
        for bytes_max, count_min in TIERS:
            small = [file for file in stored if file.size < bytes_max]
            # Counted without the lower tiers: a few tiny files are no reason to write a large one again.
            count = len(small) if force else sum(1 for file in small if file.size >= bytes_min)
            bytes_min = bytes_max
            if count < (2 if force else count_min):
                continue
            chosen, total = [], 0
            for file in small:
                if total + file.size > MERGED_BYTES_MAX:
                    break
                chosen.append(file)
                total += file.size
            if len(chosen) > 1:
                merges.append(Merge(table, tuple(chosen)))
                # A larger tier would only see the files that this one is about to make.
                break
    return merges


class Compactor:
    """Merges files of one ledger, one after another."""

    def __init__(self, data: Path, catalog: Catalog, files: DataFiles) -> None:
        self._data = data
        self._catalog = catalog
        self._files = files
        self._engine: duckdb.DuckDBPyConnection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: list[tuple[Merge, Future[DataFile]]] = []
        self._is_closed = threading.Event()

    @property
    def is_busy(self) -> bool:
        """Whether a merge is under way."""
        return bool(self._under_way)

    def start(self, merges: Iterable[Merge]) -> None:
        """Begin these merges."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="flux-compact")
        self._under_way += [(merge, self._thread.submit(self._merge, merge)) for merge in merges]

    def finished(self, *, wait: bool = False) -> list[tuple[Merge, DataFile]]:
        """Return the merges that are done, their files durable; raise what prevented one."""
        done = []
        while self._under_way and (wait or self._under_way[0][1].done()):
            merge, made = self._under_way.pop(0)
            done.append((merge, made.result()))
        return done

    def close(self) -> None:
        """Break off what is under way."""
        self._is_closed.set()
        if self._engine is not None:
            self._engine.interrupt()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        for _, made in self._under_way:
            if made.done() and not made.cancelled() and made.exception() is None:
                made.result().path.unlink(missing_ok=True)
        self._under_way = []
        if self._engine is not None:
            self._engine.close()

    def _merge(self, merge: Merge) -> DataFile:
        if self._engine is None:
            self._engine = engine.open_bare(threads=THREADS, memory_max=MEMORY_MAX)
        folder = self._data / "main" / merge.table
        target = folder / f"flux-{uuid.uuid4()}.parquet"
        try:
            # A rollback of the writer meanwhile must not take it for a file of its own.
            with self._files.making(target):
                if self._is_closed.is_set():
                    raise duckdb.InterruptException("the writer is closed")
                # What decoding gave back and Arrow keeps would stand beside what the sort takes.
                pa.default_memory_pool().release_unused()
                self._engine.execute(self._statement(merge, folder, target))
                durability.flush_file(target)
                durability.flush_folder(folder)
                return datafile.read(target, merge.table)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def _statement(self, merge: Merge, folder: Path, target: Path) -> str:
        whole = [file for file in merge.files if file.partial_max is None]
        merged = [file for file in merge.files if file.partial_max is not None]
        readings = []
        if whole:
            text = sql.text("ledger/upkeep/reading.sql")
            versions = str([file.version for file in whole])
            readings.append(text.format(files=_listed(folder, whole), versions=versions))
        if merged:
            text = sql.text("ledger/upkeep/reading_merged.sql")
            readings.append(text.format(files=_listed(folder, merged)))
        return sql.text("ledger/upkeep/merge.sql").format(
            columns=", ".join(map(identifier, self._catalog.columns(merge.table))),
            readings=" union all by name ".join(readings),
            order=", ".join(self._catalog.order(merge.table)) or "_ducklake_internal_snapshot_id",
            target=literal(str(target)),
            group_rows=datafile.GROUP_ROWS,
            ids=self._catalog.field_ids(merge.table),
        )


def _listed(folder: Path, files: Iterable[StoredFile]) -> str:
    return "[" + ", ".join(literal(str(folder / file.path)) for file in files) + "]"
