"""What a ledger holds at one moment, read from its SQLite catalog without DuckDB.

One read transaction of SQLite's WAL mode sees one commit of the writer, whole, and neither waits
for the writer nor keeps it waiting. DuckLake's own reader takes several (FACTS: counts that go
backwards beside a flush), and costs 15 ms a scan where the list of files costs 1 ms a question.

Source: DuckLake specification 1.0, "Tables".
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from flux import sql
from flux.ledger.engine import identifier
from flux.model.errors import LedgerDamaged, LedgerError, LedgerLocked, LedgerMissing

BUSY_TIMEOUT_S = 10.0
"""The writer locks readers out for milliseconds, when it moves its journal into the catalog."""


class Extent(NamedTuple):
    """What the catalog says of the values of one column in one file. What it does not say may be anything."""

    low: str | None
    """The least value, as text."""
    high: str | None
    null_count: int | None
    row_count: int

    @property
    def has_nulls(self) -> bool:
        """Whether a value may be NULL."""
        return self.null_count is None or self.null_count > 0

    @property
    def has_values(self) -> bool:
        """Whether a value may be something else."""
        return self.null_count is None or self.null_count < self.row_count

    def has_between(self, first: str, last: str | None) -> bool:
        """Tell whether there may be texts from `first` up to `last`, both included; None: up to the end."""
        return (
            self.has_values
            and (self.high is None or self.high >= first)
            and (self.low is None or last is None or self.low <= last)
        )

    def has_text(self, values: Sequence[str]) -> bool:
        """Tell whether one of these texts, in order, may be among the values."""
        # By code points, which is the order of UTF-8 as well.
        return self._has(values, self.low, self.high)

    def has_number(self, values: Sequence[int]) -> bool:
        """Tell whether one of these numbers, in order, may be among the values."""
        low, high = (None if text is None else int(text) for text in (self.low, self.high))
        return self._has(values, low, high)

    def _has(self, values: Sequence[Any], low: Any, high: Any) -> bool:
        if not self.has_values or low is None or high is None:
            return self.has_values
        place = bisect_left(values, low)
        return place < len(values) and bool(values[place] <= high)


class File(NamedTuple):
    """A Parquet file, with what the catalog says of the columns that rows are sought by."""

    number: int
    path: Path
    row_count: int
    extents: dict[str, Extent]

    def of(self, column: str) -> Extent:
        """Return what is known of a column."""
        return self.extents.get(column) or Extent(None, None, None, self.row_count)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ledger as one commit left it."""

    version: int
    """The catalog's version number: another one means another content."""
    columns: dict[str, list[str]]
    """The columns of each table, in order."""
    files: dict[str, list[File]]
    """The Parquet files of each table that has some."""
    inlined: dict[str, list[tuple[str | None, ...]]]
    """The rows that tables keep in the catalog, as text, in the order of their columns."""
    row_counts: dict[str, int]
    """Rows of each table that has some."""


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    """One read transaction on the catalog."""
    try:
        with closing(
            sqlite3.connect(
                f"{file.as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
            )
        ) as connection:
            connection.execute("begin")
            yield connection
    except sqlite3.Error as error:
        raise _trouble(file, error) from error


def _trouble(file: Path, error: sqlite3.Error) -> LedgerError:
    """Return what to do about a catalog that cannot be read."""
    what, why = f"cannot read the ledger at {file.parent}", f"its catalog: {error}"
    if not file.parent.exists():
        return LedgerMissing(
            f"there is no ledger at {file.parent} any more",
            hint="bring it back, or name one: --ledger PATH",
        )
    if getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return LedgerLocked(what, why=why, hint="another process holds it; try again in a moment")
    return LedgerDamaged(what, why=why, hint="restore the folder from a backup")


def version(file: Path) -> int:
    """Return the version of the catalog in `file`."""
    with _reading(file) as connection:
        return int(connection.execute(sql.text("ledger/catalog/version.sql")).fetchone()[0])


def arrived(file: Path, data: Path, table: str, after: int) -> tuple[int, list[tuple[str, int | None]]]:
    """Return the catalog's version, and the files of `table` with rows that came after version `after`.

    Of a merged file the number is the last version that brought rows of it; None for others.
    """
    with _reading(file) as connection:
        number = int(connection.execute(sql.text("ledger/catalog/version.sql")).fetchone()[0])
        found = connection.execute(sql.text("ledger/catalog/arrived.sql"), (table, after)).fetchall()
        return number, [(str(data / path), last) for path, last in found]


def read(file: Path, data: Path, before: Snapshot | None = None) -> Snapshot:
    """Return what the catalog in `file` says now, of the data files under `data`.

    What `before` knows of files is not read again: they never change.

    Raises `LedgerDamaged` when it cannot be read or names what this version does not know.
    """
    with _reading(file) as connection:
        version = int(connection.execute(sql.text("ledger/catalog/version.sql")).fetchone()[0])
        if connection.execute(sql.text("ledger/catalog/deletes.sql")).fetchone()[0]:
            raise LedgerDamaged(
                f"cannot read the ledger at {file.parent}",
                why="rows were deleted from its files by another program",
                hint="run `flux ledger compact`, which writes those files anew",
            )
        columns: dict[str, list[str]] = {}
        for table, column in connection.execute(sql.text("ledger/catalog/columns.sql")):
            columns.setdefault(table, []).append(column)
        every = before.files.values() if before is not None else ()
        known = {one.number: one for files in every for one in files}
        extents: dict[int, dict[str, Extent]] = {}
        newer = (max(known, default=-1),)
        for number, column, *extent in connection.execute(sql.text("ledger/catalog/extents.sql"), newer):
            extents.setdefault(number, {})[column] = Extent(*extent)
        files: dict[str, list[File]] = {}
        counts: dict[str, int] = {}
        for table, path, count, number in connection.execute(sql.text("ledger/catalog/files.sql")):
            if path is None:
                raise LedgerDamaged(
                    f"cannot read the ledger at {file.parent}",
                    why=f"a file of {table} lies outside of it",
                    hint="only flux may write a ledger; restore the folder from a backup",
                )
            one = known.get(number) or File(number, data / path, count, extents.get(number, {}))
            files.setdefault(table, []).append(one)
            counts[table] = counts.get(table, 0) + count
        inlined: dict[str, list[tuple[str | None, ...]]] = {}
        for table, kept in connection.execute(sql.text("ledger/catalog/inlined.sql")).fetchall():
            names = ", ".join(identifier(name) for name in columns[table])
            text = sql.text("ledger/catalog/inlined_rows.sql")
            rows = connection.execute(text.format(columns=names, table=identifier(kept)))
            # SQLite gives back numbers where it was given numbers.
            kept_rows = [tuple(None if v is None else str(v) for v in row) for row in rows]
            inlined.setdefault(table, []).extend(kept_rows)
            counts[table] = counts.get(table, 0) + len(kept_rows)
    kept_by_table = {table: rows for table, rows in inlined.items() if rows}
    return Snapshot(version, columns, files, kept_by_table, counts)
