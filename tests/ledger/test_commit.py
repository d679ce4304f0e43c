"""Commits past DuckLake: what they write into the catalog is what DuckLake itself would have written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flux.ledger import Writer, create_ledger, datafile, open_ledger
from flux.ledger.commit import Catalog
from ledger.log import Log, delete, insert, relation, update

USERS = relation()
ITEMS = relation("public.items", ("a", "b"), oid=16500, key=("a", "b"))


def first(log: Log) -> None:
    log.shape(USERS)
    log.shape(ITEMS)
    log.transaction(insert(USERS, "1", {"id": "1", "email": "a", "plan": None}), request="r1", actor="ann")


def nothing_of_ours(log: Log) -> None:
    log.transaction()


def no_request(log: Log) -> None:
    log.transaction(update(USERS, "0", {"id": "0", "email": "b", "plan": "x"}, unchanged=["email"]))
    log.transaction(delete(ITEMS, '["a","é"]', before={"a": "a", "b": "é"}, old_key='["a","b"]'))


def an_attempt(log: Log) -> None:
    """Its commit position is NULL, its subtransaction is not."""
    log.rolled_back(insert(USERS, "7", {"id": "7", "email": None, "plan": None}), request="r0")


def keys_of_every_width(log: Log) -> None:
    """Of more than 4 KiB a file keeps no bounds."""
    keys = ["", "123456789012", "1234567890123", "žluť", "'\"\\{}", "k" * 5000, None]
    log.transaction(*(insert(USERS, key, {"id": key}) for key in keys), request="'" * 5000)


def several_row_groups(log: Log) -> None:
    log.transaction(*(insert(USERS, str(key), {"id": str(key)}) for key in range(40)))


def a_fraction_of_a_second(log: Log) -> None:
    log.transaction(insert(USERS, "f", {"id": "f"}))
    for rows in (log.changes, log.transactions):
        rows[0]["at"] = rows[0]["at"].replace(microsecond=120_300)
    log.position = replace(log.position, at_us=log.position.at_us + 50)


STEPS: tuple[Callable[[Log], None], ...] = (
    first,
    nothing_of_ours,
    no_request,
    an_attempt,
    keys_of_every_width,
    several_row_groups,
    a_fraction_of_a_second,
)


def content(path: Path) -> dict[str, Any]:
    """The rows of the catalog, without what differs between two ledgers that hold the same."""
    with closing(sqlite3.connect(path / "catalog.sqlite")) as connection:
        names = connection.execute(
            "select name from sqlite_master where type = 'table' and name not like '%mapping%' "
            "and name <> 'ducklake_metadata'"
        ).fetchall()
        found = {}
        for (name,) in names:
            cursor = connection.execute(f'select * from "{name}"')
            # Random, or the test's own time; and DuckLake finds the columns of its files by their names.
            columns = [
                (place, column)
                for place, (column, *_) in enumerate(cursor.description)
                if not column.endswith(("uuid", "snapshot_time", "path", "mapping_id"))
            ]
            found[name] = sorted(
                ({column: _in_order(column, row[place]) for place, column in columns} for row in cursor),
                key=repr,
            )
    return found


def _in_order(column: str, value: Any) -> Any:
    return sorted(value.split(",")) if column == "changes_made" and value else value


def check_alike(one: Path, other: Path, after: str) -> None:
    ours, theirs = content(one), content(other)
    assert ours.keys() == theirs.keys()
    for row, their_row in zip(
        ours["ducklake_table_column_stats"], theirs["ducklake_table_column_stats"], strict=True
    ):
        if row["min_value"] is None:
            # DuckLake remembers whether bounds are unknown or there were only NULLs; the catalog does not.
            their_row["min_value"] = their_row["max_value"] = None
    for table, rows in ours.items():
        assert [row for row in rows if row not in theirs[table]] == [
            row for row in theirs[table] if row not in rows
        ], f"{table} after {after}"
        assert rows == theirs[table]


def test_the_catalog_is_as_ducklake_would_have_written_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, lake = (create_ledger(tmp_path / name) for name in ("ours", "lake"))
    real = Catalog.commit
    taken: list[bool] = []

    def noting(self: Catalog, *words: Any) -> bool:
        if self._file.parent == lake:
            return False
        taken.append(real(self, *words))
        return taken[-1]

    monkeypatch.setattr(Catalog, "commit", noting)
    monkeypatch.setattr(datafile, "GROUP_ROWS", 16)
    with Writer.open(ours, source="shop") as our_writer, Writer.open(lake, source="shop") as lake_writer:
        both = ((our_writer, Log()), (lake_writer, Log()))
        for step in STEPS:
            for writer, log in both:
                step(log)
                log.store(writer)
            check_alike(ours, lake, step.__name__)
        assert taken == [True] * (len(STEPS) - 1)

        # DuckLake goes on from there: it inserts, flushes and compacts.
        for writer, log in both:
            log.shape(replace(USERS, replica_identity="f"))
            log.transaction(insert(USERS, "after", {"id": "after"}))
            log.store(writer)
        check_alike(ours, lake, "a change of shape")
        for writer, _ in both:
            writer.maintain(force=True)
    with open_ledger(ours) as one, open_ledger(lake) as other:
        for table in ("changes", "contexts", "transactions", "positions", "relations"):
            query = f"select * from {table} order by all"
            assert one.sql(query) == other.sql(query), table
