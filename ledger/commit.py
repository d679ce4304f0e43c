"""The catalog, written without DuckLake: commits of data files, and what compaction made of them.

DuckLake takes the same files in with a dozen statements of DuckDB for each of them: 100 ms and more, where
this takes 3. It is the way of the stream's commits; what also changes a table's shape goes through DuckLake
(decision 0008).

The connection is opened for one commit and closed: two copies of SQLite in a process (DuckDB brings its own)
take each other's locks away when both hold the same file, so DuckLake has no transaction open meanwhile.

Source: DuckLake specification 1.0, "Tables" and "Queries".
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from flux import sql
from flux.ledger.datafile import Bounds, DataFile, text_of
from flux.ledger.engine import CATALOG_BUSY_TIMEOUT_MS, identifier
from flux.model.errors import Invariant

_BETWEEN = {"map": "key_value.", "list": "list."}
"""What Parquet has between a column's path and the name of a field within it."""
_NUMBERS = ("int16", "int32", "int64", "uint16", "uint32", "uint64")

_Row = Mapping[str, int | str | datetime]
"""Values by column."""


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
    inlined: str
    """The catalog's own table for rows of it; empty if there is none."""


class InlinedRow(NamedTuple):
    """A row that the catalog itself keeps."""

    number: int
    version: int
    """Of the catalog that brought it."""
    values: tuple[str | None, ...]
    """As DuckDB prints them, in the order of the table's columns."""


class StoredFile(NamedTuple):
    """A data file that the catalog names."""

    number: int
    path: str
    """In the folder of its table."""
    row_count: int
    size: int
    """Bytes."""
    version: int
    """Of the catalog that brought it; of a merged file, the first of those that brought its rows."""
    first_row_id: int
    partial_max: int | None
    """Of a merged file: the last version that brought rows of it. They have theirs in a column."""


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
                above, parent_kind = paths[(table, parent)]
                path = f"{above}.{_BETWEEN.get(parent_kind, '')}{name}"
            paths[(table, number)] = path, kind
            self._columns.setdefault(table, {})[path] = _Column(number, kind in _NUMBERS)

    def ids(self, table: str) -> dict[str, int]:
        """Return the numbers of a table's columns and of the fields within them, by path."""
        return {path: column.number for path, column in self._columns[table].items()}

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        return [path for path in self._columns[table] if "." not in path]

    def commit(self, files: Iterable[DataFile], inlined: Mapping[str, _Row] | None = None) -> bool:
        """Add durable `files`, and a row into each of the tables `inlined` that the catalog itself keeps.

        Returns False, with nothing changed, where a table has no rows yet: DuckLake takes in the first
        ones. Raises `sqlite3.Error`; whether the commit counts is then for the catalog to say.
        """
        inlined = inlined or {}
        by_table: dict[str, list[DataFile]] = {}
        for file in files:
            by_table.setdefault(file.table, []).append(file)
        with self._transaction() as connection:
            version, schema_version, next_catalog_id, next_id = _head(connection)
            version += 1
            next_id += len(inlined)  # as DuckLake does: what it remembers of inlined rows goes by that number
            known: dict[str, _Known] = {}
            for name in (*by_table, *inlined):
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
            for name, row in inlined.items():
                self._inline_row(connection, known[name], name, row, version)
                changes.append(f"inlined_insert:{known[name].table_id}")
            head = (version, text_of(datetime.now(UTC)), schema_version, next_catalog_id, next_id)
            _add_version(connection, head, ",".join(changes))
            connection.commit()
        return True

    def files(self) -> dict[str, list[StoredFile]]:
        """Return the data files of each table, oldest rows first."""
        with self._transaction() as connection:
            stored: dict[str, list[StoredFile]] = {}
            for table, *file in connection.execute(sql.text("ledger/commit/files.sql")):
                stored.setdefault(table, []).append(StoredFile(*file))
            return stored

    def replace(self, old: Sequence[StoredFile], new: Sequence[DataFile]) -> None:
        """Let the durable files `new`, which hold the rows of `old`, take their place.

        Raises `sqlite3.Error`; whether the commit counts is then for the catalog to say.
        """
        with self._transaction() as connection:
            version, schema_version, next_catalog_id, number = _head(connection)
            table = new[0].table
            known = _table(connection, table)
            if known is None:
                raise Invariant("a table with files has rows")
            now = text_of(datetime.now(UTC))
            first = min(file.version for file in old)
            last = max(file.version if file.partial_max is None else file.partial_max for file in old)
            row_id = min(file.first_row_id for file in old)
            for made in new:
                self._add_file_of_versions(connection, known, number, made, (first, last), row_id)
                number += 1
                row_id += made.row_count
            # Not one by one: the catalog's tables have no index on that number.
            numbers = (json.dumps([file.number for file in old]),)
            connection.execute(sql.text("ledger/commit/drop_files.sql"), numbers)
            connection.execute(sql.text("ledger/commit/drop_bounds.sql"), numbers)
            words = [(file.number, f"main/{table}/{file.path}", now) for file in old]
            connection.executemany(sql.text("ledger/commit/schedule.sql"), words)
            head = (version + 1, now, schema_version, next_catalog_id, number)
            _add_version(connection, head, f"merge_adjacent:{known.table_id}")
            connection.commit()

    def inlined_rows(self, table: str) -> int:
        """Return how many rows of `table` are inlined."""
        with self._transaction() as connection:
            known = _table(connection, table)
            if known is None or not known.inlined:
                return 0
            text = sql.text("ledger/commit/inlined_rows.sql").format(table=identifier(known.inlined))
            return int(connection.execute(text).fetchone()[0])

    def inlined(self, table: str) -> list[InlinedRow]:
        """Return the rows of `table` that are inlined, oldest first."""
        with self._transaction() as connection:
            known = _table(connection, table)
            if known is None or not known.inlined:
                return []
            text = sql.text("ledger/commit/inlined.sql").format(
                columns=", ".join(map(identifier, self.columns(table))), table=identifier(known.inlined)
            )
            return [
                InlinedRow(number, version, tuple(values))
                for number, version, *values in connection.execute(text)
            ]

    def flush(self, rows: Sequence[InlinedRow], new: DataFile) -> None:
        """Let the durable file `new` take the place of the first `rows` of its table that are inlined.

        Raises `sqlite3.Error`; whether the commit counts is then for the catalog to say.
        """
        with self._transaction() as connection:
            version, schema_version, next_catalog_id, number = _head(connection)
            known = _table(connection, new.table)
            if known is None:
                raise Invariant("a table with inlined rows has rows")
            versions = [row.version for row in rows]
            place = min(versions), max(versions)
            self._add_file_of_versions(connection, known, number, new, place, rows[0].number)
            text = sql.text("ledger/commit/drop_inlined.sql").format(table=identifier(known.inlined))
            connection.execute(text, (rows[-1].number,))
            size = (known.row_count, known.next_row_id, known.size + new.size, known.table_id)
            connection.execute(sql.text("ledger/commit/table_counts.sql"), size)
            head = (version + 1, text_of(datetime.now(UTC)), schema_version, next_catalog_id, number + 1)
            _add_version(connection, head, f"inline_flush:{known.table_id}")
            connection.commit()

    def expire(self, before: datetime, count_min: int) -> None:
        """Forget the versions of before that moment if there are so many, but never the newest.

        The tables only grow, so no file and no row belongs to them alone.
        """
        with self._transaction() as connection:
            old = connection.execute(sql.text("ledger/commit/old_versions.sql"), (text_of(before),))
            count, first = old.fetchone()
            if count < max(count_min, 1):
                return
            for name in sql.files("ledger/commit/expire"):
                connection.execute(sql.text(name), {"first": first})
            connection.commit()

    def named(self) -> set[str]:
        """Return the names, without folders, of the files that the catalog knows."""
        with self._transaction() as connection:
            return {Path(path).name for (path,) in connection.execute(sql.text("ledger/commit/named.sql"))}

    def replaced(self, before: datetime, count_max: int) -> dict[int, str]:
        """Return files that were replaced before that moment: number, and path in the data folder."""
        with self._transaction() as connection:
            words = (text_of(before), count_max)
            return dict(connection.execute(sql.text("ledger/commit/replaced.sql"), words))

    def forget_replaced(self, numbers: Iterable[int]) -> None:
        """Say that these files are deleted."""
        with self._transaction() as connection:
            words = (json.dumps(list(numbers)),)
            connection.execute(sql.text("ledger/commit/forget_replaced.sql"), words)
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
            connection.execute(sql.text("ledger/commit/file.sql"), (*place, *counts, None))
            self._add_bounds(connection, file_id, table_id, file)
            row_count += file.row_count
            next_row_id += file.row_count
            size += file.size
        connection.execute(
            sql.text("ledger/commit/table_counts.sql"), (row_count, next_row_id, size, table_id)
        )
        self._widen(connection, table_id, columns, [file.bounds for file in added])

    def _add_file_of_versions(
        self,
        connection: sqlite3.Connection,
        known: _Known,
        number: int,
        new: DataFile,
        versions: tuple[int, int],
        first_row_id: int,
    ) -> None:
        """Name a file whose rows came with several versions, from the first to the last of `versions`."""
        place = (number, known.table_id, versions[0], new.path.name)
        counts = (new.row_count, new.size, new.footer_size, first_row_id, versions[1])
        connection.execute(sql.text("ledger/commit/file.sql"), (*place, *counts))
        self._add_bounds(connection, number, known.table_id, new)

    def _add_bounds(self, connection: sqlite3.Connection, number: int, table_id: int, file: DataFile) -> None:
        columns = self._columns[file.table]
        rows = [
            (
                *(number, table_id, columns[path].number),
                *(one.size, one.value_count, one.null_count, one.low, one.high),
            )
            for path, one in file.bounds.items()
            if path in columns
        ]
        connection.executemany(sql.text("ledger/commit/file_bounds.sql"), rows)

    def _inline_row(
        self,
        connection: sqlite3.Connection,
        known: _Known,
        table: str,
        row: _Row,
        version: int,
    ) -> None:
        table_id, row_count, next_row_id, size, inlined = known
        values = {name: text_of(value) for name, value in row.items()}
        text = sql.text("ledger/commit/inlined_row.sql").format(
            table=identifier(inlined),
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


def _head(connection: sqlite3.Connection) -> tuple[int, int, int, int]:
    """Return version, version of the schema, next number of an object, next number of a file."""
    version, schema_version, next_object, next_file = connection.execute(
        sql.text("ledger/commit/head.sql")
    ).fetchone()
    return version, schema_version, next_object, next_file


def _add_version(connection: sqlite3.Connection, head: tuple[int, str, int, int, int], changes: str) -> None:
    connection.execute(sql.text("ledger/commit/snapshot.sql"), head)
    connection.execute(sql.text("ledger/commit/snapshot_changes.sql"), (head[0], changes))


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
