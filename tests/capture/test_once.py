"""`flux up --once`: a baseline, then everything up to the position at the start of the call."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from capture.rig import Rig, make_rig
from flux.capture import tracking
from flux.decoder.slot import create_slot, read_slot
from flux.decoder.wire import open_stream
from flux.ledger.writer import Writer
from flux.model.errors import LedgerLocked, SlotBusy, Unreachable
from servers import Database, on


def test_a_new_source_then_changes_then_nothing(rig: Rig) -> None:
    assert rig.once().complete
    rig.check("public.item")
    assert rig.ask("select op, count(*) from changes group by op") == [("baseline", 100)]
    rig.execute(
        "insert into item values (101, null, 1.5)",
        "update item set name = E'tab\\tnew\\nline \\\\N', price = 0 where id = 7",
        "update item set id = 1000 where id = 8",
        "delete from item where id = 9",
    )
    assert rig.once().complete
    rig.check("public.item")
    stored = rig.ask("select count(*) from changes")
    assert rig.once().rows == 0
    assert rig.ask("select count(*) from changes") == stored


def test_what_was_rolled_back_is_resolved(rig: Rig) -> None:
    rig.once()
    with rig.database.connect(autocommit=False) as connection:
        connection.execute("select set_config('flux.request_id', 'req-1', true)")
        connection.execute("update item set price = 99 where id = 1")
        connection.rollback()
    with rig.database.connect(autocommit=False) as connection:
        connection.execute("update item set price = 1 where id = 2")
        connection.execute("savepoint one")
        connection.execute("update item set price = 2 where id = 2")
        connection.execute("rollback to savepoint one")
        connection.commit()
    rig.once()
    rig.check("public.item")
    rows = rig.ask("select key, outcome, request_id from changes where op = 'update' order by lsn")
    assert rows == [
        ("1", "rolled_back", "req-1"),
        ("2", "committed", None),
        ("2", "savepoint_rolled_back", None),
    ]


def test_an_attempt_that_is_still_open_is_not_lost(rig: Rig) -> None:
    rig.once()
    with rig.database.connect(autocommit=False) as connection:
        connection.execute("update item set price = 99 where id = 1")
        summary = rig.once()
        assert (summary.complete, summary.open_attempts) == (True, 1)
        rig.execute("update item set price = 3 where id = 3")
        rig.once()
        connection.rollback()
    rig.once()
    rig.once()
    rig.check("public.item")
    assert rig.ask("select key, outcome from changes where op = 'update' order by lsn") == [
        ("1", "rolled_back"),
        ("3", "committed"),
    ]


@on((15, "wal2json"), (18, "pgoutput"))
def test_an_attempt_from_before_a_schema_change_keeps_its_columns(rig: Rig) -> None:
    rig.once()
    with rig.database.connect(autocommit=False) as connection:
        connection.execute("savepoint one")
        connection.execute("update item set price = 99 where id = 1")
        connection.execute("rollback to savepoint one")
        # The lock went with the savepoint, and the transaction goes on.
        rig.execute(
            "alter table item rename price to cost",
            "alter table item add column size int default 7",
            "alter table item rename to thing",
            "update thing set cost = 5, size = 8 where id = 2",
        )
        # Each of these begins anew, from the log's position before the attempt.
        assert rig.once().open_attempts == 1
        assert rig.once().open_attempts == 1
        connection.rollback()
    rig.once()
    query = "select relation, op, key, outcome, map_keys(after) from changes where op = 'update' order by lsn"
    assert rig.ask(query) == [
        ("public.item", "update", "1", "rolled_back", ["id", "name", "price"]),
        ("public.thing", "update", "2", "committed", ["id", "name", "cost", "size"]),
    ]
    versions = rig.ask("select relation, len(columns) from relations order by lsn")
    assert versions == [("public.item", 3), ("public.item", 3), ("public.item", 4), ("public.thing", 4)]


@on((15, "wal2json"), (18, "pgoutput"))
def test_a_table_that_took_the_name_of_a_dropped_one_is_another(rig: Rig) -> None:
    rig.once()
    rig.execute("drop table item")
    rig.once()
    rig.execute("create table item (id int primary key, name text, price numeric(10, 2))")
    rig.execute("insert into item values (1, 'untracked', 1)")
    rig.once()
    assert rig.ask("select count(*) from changes where op <> 'baseline'") == [(0,)]
    assert rig.ask("select relation, tracked from relations order by lsn") == [
        ("public.item", True),
        ("public.item", False),
    ]


def test_a_slot_that_was_there_before_the_ledger(rig: Rig) -> None:
    create_slot(rig.database.dsn, rig.settings.slot, rig.settings.plugin).connection.close()
    rig.execute("insert into item values (101, 'between', 1)", "delete from item where id = 5")
    rig.once()
    rig.check("public.item")
    rig.execute("insert into item values (102, 'after', 1)")
    rig.once()
    rig.check("public.item")


def test_a_table_tracked_later_gets_its_rows(rig: Rig) -> None:
    rig.once()
    rig.execute(
        "create table note (id int primary key, body text)",
        "insert into note values (1, 'before'), (2, 'before')",
    )
    with rig.database.connect() as connection:
        tracking.track(connection, ["note"])
    rig.execute("insert into note values (3, 'after')", "update note set body = 'changed' where id = 1")
    rig.once()
    rig.check("public.note")
    rig.check("public.item")


@on((15, "pgoutput"), (15, "wal2json"), (17, "pgoutput"))
def test_a_partitioned_table_is_one(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        connection.execute("create table part (id int primary key, v text) partition by range (id)")
        connection.execute("create table part_a partition of part for values from (0) to (100)")
        connection.execute("create table part_b partition of part for values from (100) to (200)")
        connection.execute("insert into part select i, 'v' from generate_series(50, 149) i")
    rig = make_rig(database, tmp_path, "part")
    rig.once()
    rig.check("public.part")
    rig.execute("update part set id = 150 where id = 60", "delete from part where id = 120")
    rig.once()
    rig.check("public.part")
    assert rig.ask("select distinct relation from changes") == [("public.part",)]


@on((15, "pgoutput"), (15, "wal2json"))
def test_a_table_untracked_after_a_part_was_emptied_is_not_copied(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        connection.execute("create table part (id int primary key) partition by range (id)")
        connection.execute("create table part_a partition of part for values from (0) to (100)")
        connection.execute("create table part_b partition of part for values from (100) to (200)")
        connection.execute("insert into part select i from generate_series(50, 149) i")
    rig = make_rig(database, tmp_path, "part")
    rig.once()
    rig.execute("truncate part_a")
    with database.connect() as connection:
        tracking.untrack(connection, ["part"])
    rig.once()
    assert not [line for line in rig.lines[1:] if line.startswith("baseline")]
    assert rig.ask("select relation, arg_max(tracked, lsn) from relations group by relation order by 1") == [
        ("public.part", False),
        ("public.part_a", False),
        ("public.part_b", False),
    ]


@on((15, "pgoutput"))
def test_a_table_with_odd_names_and_generated_columns(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        connection.execute('create schema "My Schema"')
        connection.execute(
            'create table "My Schema"."T, x" ("Key" int primary key, "a""b" text, '
            'twice int generated always as ("Key" * 2) stored)'
        )
        connection.execute("""insert into "My Schema"."T, x" values (1, 'one'), (2, null)""")
    rig = make_rig(database, tmp_path, '"My Schema"."T, x"')
    rig.once()
    folded = rig.folded("My Schema.T, x")
    assert folded == {"1": {"Key": "1", 'a"b': "one"}, "2": {"Key": "2", 'a"b': None}}


@on((15, "wal2json"))
def test_lossy_columns_are_marked_and_warned_of(rig: Rig) -> None:
    rig.once()
    assert rig.ask("select distinct lossy from relations") == [(["price"],)]
    assert any("NaN" in line and "public.item.price" in line for line in rig.lines)


@on((15, "pgoutput"))
def test_one_writer_of_a_ledger(rig: Rig) -> None:
    with Writer.open(rig.settings.ledger, source="shop"), pytest.raises(LedgerLocked):
        rig.once()


@on((15, "pgoutput"))
def test_a_slot_in_use_names_its_holder(rig: Rig) -> None:
    rig.once()
    with closing(open_stream(rig.database.dsn, slot=rig.settings.slot, plugin="pgoutput")):
        with rig.database.connect() as connection:
            state = read_slot(connection, rig.settings.slot)
        assert state is not None
        with pytest.raises(SlotBusy, match=f"PID {state.active_pid}"):
            rig.once()


@on((15, "pgoutput"))
def test_a_server_that_is_down_is_worth_a_retry(rig: Rig) -> None:
    rig.once()
    rig.database.server.stop()
    with pytest.raises(Unreachable):
        rig.once()
    rig.database.server.start()
    with psycopg.connect(rig.database.dsn, autocommit=True) as connection:
        connection.execute("insert into item values (101, 'x', 1)")
    rig.once()
    rig.check("public.item")
