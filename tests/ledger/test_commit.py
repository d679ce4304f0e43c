"""Commits past DuckLake: what they write into the catalog is what DuckLake itself would have written."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flux.ledger import Writer, create_ledger, datafile, engine, open_ledger
from flux.ledger.commit import Catalog
from flux.ledger.layout import Layout
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


SIZES = ("file_size_bytes", "footer_size", "column_size_bytes")
"""What differs in a file that DuckDB wrote."""


def ducklake(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Let DuckLake itself do this with the ledger."""
    place = Layout(path)
    with closing(engine.open_engine(threads=1)) as lake:
        engine.attach(lake, place.catalog, place.data, read_only=False)
        return lake.execute(statement).fetchall()


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


def check_alike(one: Path, other: Path, after: str, *, without: Collection[str] = ()) -> None:
    ours, theirs = content(one), content(other)
    for row in itertools.chain(*ours.values(), *theirs.values()):
        for column in without:
            row.pop(column, None)
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


def test_upkeep_leaves_the_catalog_as_ducklake_would(tmp_path: Path) -> None:
    """Positions written out, versions forgotten, with views that were replaced meanwhile."""
    ours, lake = tmp_path / "ours", create_ledger(tmp_path / "lake")
    log = Log()
    with Writer.open(lake, source="shop") as writer:
        for shape in (USERS, replace(USERS, replica_identity="f")):
            log.shape(shape)
            for step in STEPS[1:4]:
                step(log)
                log.store(writer)
    shutil.copytree(lake, ours)
    with Writer.open(ours, source="shop") as writer:
        writer._upkeeper._flush()
        writer._upkeeper._flush()  # nothing to do any more
    with open_ledger(lake) as one, open_ledger(ours) as other:
        query = "select * from positions order by all"
        assert one.sql(query) == other.sql(query)
    ducklake(lake, "call ducklake_flush_inlined_data('flux')")
    check_alike(ours, lake, "a flush", without=SIZES)
    newest = max(row["snapshot_id"] for row in content(ours)["ducklake_snapshot"])
    counts = " union all by name ".join(
        f"select {at} as version, * from positions at (version => {at})" for at in range(2, newest + 1)
    )
    assert ducklake(ours, f"from ({counts}) order by all") == ducklake(lake, f"from ({counts}) order by all")

    Catalog(ours / "catalog.sqlite").expire(datetime.now(UTC), 1)
    ducklake(lake, f"call ducklake_expire_snapshots('flux', versions => range({newest})::ubigint[])")
    check_alike(ours, lake, "forgetting versions", without=SIZES)


def test_few_old_versions_stay(tmp_path: Path) -> None:
    path = create_ledger(tmp_path / "ledger")
    before = content(path)
    Catalog(path / "catalog.sqlite").expire(datetime.now(UTC), 100)
    assert content(path) == before
