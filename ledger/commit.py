"""A commit of data files, written into the SQLite catalog in one short transaction.

DuckLake takes the same files in with a dozen statements of DuckDB for each of them: 100 ms and more, where
this takes 3. It is the way of the stream's commits; what also changes a table's shape goes through DuckLake,
and so does compaction, which reads what is written here (decision 0008).

The connection is opened for one commit and closed: two copies of SQLite in a process (DuckDB brings its own)
take each other's locks away when both hold the same file, so DuckLake has no transaction open meanwhile.

Source: DuckLake specification 1.0, "Tables" and "Queries".
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from flux import sql
from flux.ledger.datafile import Bounds, DataFile, text_of
from flux.ledger.engine import CATALOG_BUSY_TIMEOUT_MS, identifier

_NUMBERS = ("int16", "int32", "int64", "uint16", "uint32", "uint64")


@dataclass(frozen=True, slots=True)
class _Column:
    number: int
    is_number: bool


class _Known(NamedTuple):
    """A table, as the catalog has it."""

    table_id: int
    row_count: int
    next_row_id: int
    size: int
    kept: str
    """Where the catalog keeps rows of it; empty if it has no such place."""


class Catalog:
    """The catalog in `file`, with the numbers of its columns; they stay while a writer is open."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._columns: dict[str, dict[str, _Column]] = {}
        with self._transaction() as connection:
            rows = connection.execute(sql.text("ledger/commit/columns.sql")).fetchall()
        paths: dict[tuple[str, int], tuple[str, str]] = {}
        for table, number, name, kind, parent in rows:
            path = name
            if parent is not None:
                within, parent_kind = paths[(table, parent)]
                path = f"{within}.{'key_value' if parent_kind == 'map' else 'list'}.{name}"
            paths[(table, number)] = path, kind
            self._columns.setdefault(table, {})[path] = _Column(number, kind in _NUMBERS)

    def ids(self, table: str) -> dict[str, int]:
        """Return the numbers of a table's columns and of the fields within them, by path."""
        return {path: column.number for path, column in self._columns[table].items()}

    def commit(self, files: Iterable[DataFile], table: str, row: Mapping[str, int | str | datetime]) -> bool:
        """Add durable `files`, and `row` to the rows that the catalog itself keeps for `table`.

        Returns False, with nothing changed, where a table has no rows yet: DuckLake takes in the first
        ones. Raises `sqlite3.Error`; whether the commit counts is then for the catalog to say.
        """
        by_table: dict[str, list[DataFile]] = {}
        for file in files:
            by_table.setdefault(file.table, []).append(file)
        with self._transaction() as connection:
            version, schema_version, next_catalog_id, next_id = connection.execute(
                sql.text("ledger/commit/head.sql")
            ).fetchone()
            version += 1
            next_id += 1  # as DuckLake does for a kept row: what it remembers goes by that number
            known: dict[str, _Known] = {}
            for name in (*by_table, table):
                found = _table(connection, name)
                if found is None:
                    connection.rollback()
                    return False
                known[name] = found
            changes: list[str] = []
            for name, added in sorted(by_table.items(), key=lambda each: known[each[0]].table_id):
                self._add_files(connection, known[name], added, version, next_id)
                next_id += len(added)
                changes.append(f"inserted_into_table:{known[name].table_id}")
            self._keep_row(connection, known[table], table, row, version)
            changes.append(f"inlined_insert:{known[table].table_id}")
            head = (version, text_of(datetime.now(UTC)), schema_version, next_catalog_id, next_id)
            connection.execute(sql.text("ledger/commit/snapshot.sql"), head)
            connection.execute(sql.text("ledger/commit/snapshot_changes.sql"), (version, ",".join(changes)))
            connection.commit()
        return True

    def file_sizes(self) -> dict[str, list[int]]:
        """Return the sizes of each table's data files, in bytes."""
        with self._transaction() as connection:
            sizes: dict[str, list[int]] = {}
            for table, size in connection.execute(sql.text("ledger/commit/file_sizes.sql")):
                sizes.setdefault(table, []).append(size)
            return sizes

    def kept_rows(self, table: str) -> int:
        """Return how many rows of `table` the catalog itself keeps."""
        with self._transaction() as connection:
            known = _table(connection, table)
            if known is None or not known.kept:
                return 0
            text = sql.text("ledger/commit/kept_rows.sql").format(table=identifier(known.kept))
            return int(connection.execute(text).fetchone()[0])

    def versions(self, before: datetime) -> list[int]:
        """Return the versions of the catalog of before that moment, without the newest."""
        with self._transaction() as connection:
            rows = connection.execute(sql.text("ledger/commit/old_versions.sql"), (text_of(before),))
            return [version for (version,) in rows]

    def replaced(self, before: datetime) -> dict[int, str]:
        """Return the files that were replaced before that moment: number, and path in the data folder."""
        with self._transaction() as connection:
            return dict(connection.execute(sql.text("ledger/commit/replaced.sql"), (text_of(before),)))

    def forget_replaced(self, numbers: Iterable[int]) -> None:
        """Say that these files are deleted."""
        with self._transaction() as connection:
            words = [(number,) for number in numbers]
            connection.executemany(sql.text("ledger/commit/forget_replaced.sql"), words)
            connection.commit()

    def _add_files(
        self,
        connection: sqlite3.Connection,
        known: _Known,
        added: list[DataFile],
        version: int,
        first_id: int,
    ) -> None:
        table_id, row_count, next_row_id, size, _ = known
        columns = self._columns[added[0].table]
        for file_id, file in enumerate(added, first_id):
            place = (file_id, table_id, version, file.path.name)
            counts = (file.row_count, file.size, file.footer_size, next_row_id)
            connection.execute(sql.text("ledger/commit/file.sql"), (*place, *counts))
            connection.executemany(
                sql.text("ledger/commit/file_bounds.sql"),
                [
                    (
                        *(file_id, table_id, columns[path].number),
                        *(one.size, one.value_count, one.null_count, one.low, one.high),
                    )
                    for path, one in file.bounds.items()
                ],
            )
            row_count += file.row_count
            next_row_id += file.row_count
            size += file.size
        connection.execute(
            sql.text("ledger/commit/table_counts.sql"), (row_count, next_row_id, size, table_id)
        )
        self._widen(connection, table_id, columns, [file.bounds for file in added])

    def _keep_row(
        self,
        connection: sqlite3.Connection,
        known: _Known,
        table: str,
        row: Mapping[str, int | str | datetime],
        version: int,
    ) -> None:
        table_id, row_count, next_row_id, size, kept = known
        values = {name: text_of(value) for name, value in row.items()}
        text = sql.text("ledger/commit/inlined_row.sql").format(
            table=identifier(kept),
            columns=", ".join(map(identifier, values)),
            marks=", ".join("?" * len(values)),
        )
        connection.execute(text, (next_row_id, version, *values.values()))
        counts = (row_count + 1, next_row_id + 1, size, table_id)
        connection.execute(sql.text("ledger/commit/table_counts.sql"), counts)
        bounds = {name: Bounds(0, 1, 0, value, value) for name, value in values.items()}
        self._widen(connection, table_id, self._columns[table], [bounds])

    def _widen(
        self,
        connection: sqlite3.Connection,
        table_id: int,
        columns: Mapping[str, _Column],
        added: list[dict[str, Bounds]],
    ) -> None:
        """Make the bounds of a table's columns hold what was added."""
        rows = connection.execute(sql.text("ledger/commit/bounds.sql"), (table_id,))
        before = {number: (has_null, low, high) for number, has_null, low, high in rows}
        changed = []
        for path, column in columns.items():
            was = now = before.get(column.number)
            for bounds in added:
                if path in bounds and now is not None:
                    now = _wider(now, bounds[path], int if column.is_number else str)
            if now is not None and now != was:
                changed.append((*now, table_id, column.number))
        connection.executemany(sql.text("ledger/commit/table_bounds.sql"), changed)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        timeout_s = CATALOG_BUSY_TIMEOUT_MS / 1000
        with closing(sqlite3.connect(self._file, timeout=timeout_s, isolation_level=None)) as connection:
            connection.execute("pragma synchronous = full")
            connection.execute("begin immediate")
            yield connection


def _table(connection: sqlite3.Connection, name: str) -> _Known | None:
    row = connection.execute(sql.text("ledger/commit/table.sql"), (name,)).fetchone()
    return _Known(*row) if row is not None else None


def _wider(
    known: tuple[int | None, str | None, str | None], added: Bounds, order: Callable[[str], int | str]
) -> tuple[int | None, str | None, str | None]:
    """Return the bounds of both; a bound that one of them does not know is not known."""
    has_null, low, high = known
    if added.null_count is None:
        return known
    has_null = int(bool(has_null) or added.null_count > 0)
    if added.value_count == 0:
        return has_null, low, high
    if low is None or high is None or added.low is None or added.high is None:
        return has_null, None, None
    return has_null, min(low, added.low, key=order), max(high, added.high, key=order)
