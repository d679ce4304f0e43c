"""The writer: whole transactions or nothing, one writer, positions with their rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flux import sql
from flux.ledger import Writer, create_ledger, open_ledger
from flux.ledger import writer as writer_module
from flux.ledger.datafile import GROUP_ROWS
from flux.ledger.lock import holder
from flux.model.errors import Invariant, LedgerDamaged, LedgerLocked, LedgerMissing
from flux.model.relation import Column
from ledger.log import Log, commit, insert, ledger_with, relation, update

USERS = relation()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return create_ledger(tmp_path / "ledger")


def test_a_new_ledger_has_no_position_and_no_relations(path: Path) -> None:
    with Writer.open(path, source="shop") as writer:
        assert writer.position() is None
        assert writer.relations(0) == []


def test_rows_and_position_are_committed_together(path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.transaction(insert(USERS, "1", {"id": "1", "email": "a@b.com", "plan": None}), request="r1")
    with Writer.open(path, source="shop") as writer:
        log.store(writer)
        stored = writer.position()
        assert stored is not None
        assert (stored.commit_lsn, stored.end_lsn) == (log.position.commit_lsn, log.position.end_lsn)
        assert stored.at_us == log.position.at_us
        assert [version.relation for version in writer.relations(0)] == ["public.users"]
    with Writer.open(path, source="shop") as writer:
        assert writer.position() == stored
        (version,) = writer.relations(0)
        assert version.columns == USERS.columns
        assert version.key == ("id",)
        assert version.row_columns == ("id", "email", "plan")


def test_what_was_not_committed_is_not_there(path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.transaction(insert(USERS, "1", {"id": "1", "email": "a", "plan": None}))
    with Writer.open(path, source="shop") as writer:
        writer.append(log.batch())
        writer.rollback()
        assert writer.position() is None
        assert writer.relations(0) == []
    assert not list((path / "data").rglob("*.parquet"))


def test_a_large_transaction_is_stored_in_pieces_and_seen_whole(path: Path) -> None:
    log = Log()
    log.transaction(insert(USERS, "1", {"id": "1", "email": "a", "plan": None}))
    first = log.batch(open_transaction=True)
    log.transaction(update(USERS, "1", {"id": "1", "email": "b", "plan": None}))
    with Writer.open(path, source="shop") as writer:
        writer.append(first)
        writer.append(log.batch())
        commit(writer)
        stored = writer.position()
    assert stored is not None
    assert stored.commit_lsn == log.position.commit_lsn


def test_a_commit_brings_one_file_of_each_table(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    log.shape(USERS)
    with Writer.open(path, source="shop") as writer:
        for number in range(3):
            log.transaction(insert(USERS, str(number), {"id": str(number), "email": "a", "plan": None}))
            writer.append(log.batch())
        commit(writer)
        assert {table: len(files_of(path, table)) for table in ("changes", "transactions")} == {
            "changes": 1,
            "transactions": 1,
        }
        # Of a huge transaction there are several.
        monkeypatch.setattr(writer_module, "FILE_BYTES_MAX", 1)
        for number in range(3, 5):
            log.transaction(insert(USERS, str(number), {"id": str(number), "email": "a", "plan": None}))
            writer.append(log.batch())
        assert len(files_of(path, "changes")) == 3
        writer.rollback()
        assert len(files_of(path, "changes")) == 1
    with open_ledger(path) as ledger:
        assert len(ledger.history("users", "1").to_pylist()) == 1


def files_of(path: Path, table: str) -> list[Path]:
    return list((path / "data" / "main" / table).glob("*.parquet"))


def test_the_same_rows_twice_are_refused(path: Path) -> None:
    log = Log()
    log.transaction(insert(USERS, "1", {"id": "1", "email": "a", "plan": None}))
    batch = log.batch()
    with Writer.open(path, source="shop") as writer:
        writer.append(batch)
        commit(writer)
        with pytest.raises(Invariant):
            writer.append(batch)


def test_an_empty_batch_at_the_stored_position_commits_nothing(path: Path) -> None:
    log = Log()
    log.transaction(insert(USERS, "1", {"id": "1", "email": "a", "plan": None}))
    with Writer.open(path, source="shop") as writer:
        log.store(writer)
        catalog = (path / "catalog.sqlite").read_bytes()
        log.store(writer)
        assert (path / "catalog.sqlite").read_bytes() == catalog


def test_a_second_writer_is_refused_and_told_who_writes(path: Path) -> None:
    import os

    with Writer.open(path, source="shop"):
        assert holder(path / "lock") == os.getpid()
        with pytest.raises(LedgerLocked, match=str(os.getpid())):
            Writer.open(path, source="shop")
    assert holder(path / "lock") is None
    Writer.open(path, source="shop").close()


def test_relations_come_with_the_versions_that_the_log_may_still_need(path: Path) -> None:
    log = Log()
    leaf = relation("public.users_1", oid=16401, root=(16400, "public.users"))
    for one in (USERS, leaf):
        log.shape(one)
    with Writer.open(path, source="shop") as writer:
        log.store(writer)
        first, _ = writer.relations(0)
        wider = replace(USERS, columns=(*USERS.columns, Column("age", "integer", 9, False, False)))
        log.shape(wider)
        log.store(writer)
        log.shape(replace(wider, relation="public.people", root="public.people"))
        log.store(writer)
        every = writer.relations(0)
        assert [(one.relation, one.root, len(one.columns)) for one in every] == [
            ("public.users", "public.users", 3),
            ("public.users_1", "public.users", 3),
            ("public.users", "public.users", 4),
            ("public.people", "public.people", 4),
            ("public.users_1", "public.people", 3),
        ]
        assert [one.lsn for one in every[2:]] == [every[2].lsn, every[3].lsn, every[3].lsn]
        assert writer.relations(every[3].lsn) == every[3:]
        assert writer.relations(every[3].lsn - 1) == every[1:]
        assert first == every[0]


def test_untracked_relations_are_listed_as_such(path: Path) -> None:
    log = Log()
    log.shape(USERS)
    leaf = relation("public.users_1", oid=16401, root=(16400, "public.users"))
    log.shape(leaf)
    with Writer.open(path, source="shop") as writer:
        log.store(writer)
        known = writer.relations(0)
        assert [one.tracked for one in known] == [True, True]
        gone_lsn = log.next_lsn()
        writer.append(log.batch(gone=((16400, gone_lsn),)))
        commit(writer)
        assert [(one.relation, one.lsn, one.tracked) for one in writer.relations(gone_lsn)] == [
            ("public.users", gone_lsn, False),
            ("public.users_1", gone_lsn, False),
        ]
        log.shape(USERS)
        writer.append(log.batch(gone=((16400, log.next_lsn()),)))
        log.shape(USERS)
        again_lsn = log.next_lsn()
        log.shape(USERS)
        writer.append(log.batch(gone=((16400, again_lsn),)))
        commit(writer)
        found = [one for one in writer.relations(gone_lsn) if one.relation_id == 16400]
        assert [one.tracked for one in found] == [False, True, False, True, False, True]


def test_row_groups_are_alike_whoever_writes_the_file() -> None:
    assert f"'parquet_row_group_size', {GROUP_ROWS})" in sql.text("ledger/020_options.sql")


def test_a_partition_that_left_its_root_outlives_it(path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.shape(relation("public.users_1", oid=16401, root=(16400, "public.users")))
    log.shape(relation("public.users_1", oid=16401))
    with Writer.open(path, source="shop") as writer:
        log.store(writer)
        gone_lsn = log.next_lsn()
        writer.append(log.batch(gone=((16400, gone_lsn),)))
        commit(writer)
        assert [(one.relation, one.tracked) for one in writer.relations(gone_lsn)] == [
            ("public.users_1", True),
            ("public.users", False),
        ]


def test_a_version_that_says_nothing_new_is_not_stored_again(path: Path) -> None:
    log = Log()
    log.shape(USERS)
    with Writer.open(path, source="shop") as writer:
        log.store(writer)
        (before,) = writer.relations(0)
        log.shape(USERS)
        log.store(writer)
        assert writer.relations(0) == [before]


def test_a_foreign_folder_is_not_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(LedgerMissing):
        Writer.open(tmp_path / "none", source="shop")
    (tmp_path / "file").write_text("x")
    with pytest.raises(LedgerDamaged, match="not a ledger"):
        Writer.open(tmp_path, source="shop")
    with pytest.raises(LedgerDamaged):
        create_ledger(tmp_path)


def test_a_newer_format_asks_for_an_upgrade(path: Path) -> None:
    (path / "ledger.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(LedgerDamaged, match="upgrade flux"):
        Writer.open(path, source="shop")


@pytest.mark.parametrize("damage", ["mark", "catalog", "no catalog"])
def test_a_damaged_ledger_says_so(path: Path, damage: str) -> None:
    if damage == "mark":
        (path / "ledger.json").write_text("{")
    elif damage == "catalog":
        (path / "catalog.sqlite").write_bytes(b"no database at all, this" * 1000)
    else:
        (path / "catalog.sqlite").unlink()
    with pytest.raises(LedgerDamaged):
        Writer.open(path, source="shop")
    # The lock of the failed opening is gone with it.
    assert holder(path / "lock") is None


def test_values_come_back_as_they_were(path: Path) -> None:
    nasty = [
        "",
        " ",
        "'",
        '"',
        "\\",
        "{",
        "}",
        "=",
        ",",
        "NULL",
        "null",
        "\n",
        "\x01",
        "é",
        "😀",
        "[1]",
        "a=b}",
    ]
    log = Log()
    for number, value in enumerate(nasty):
        log.transaction(insert(USERS, str(number), {"id": str(number), value: value, "plan": None}))
    ledger_with(path, log)
    import flux

    with flux.connect(path) as ledger:
        got = ledger.sql("select after from changes order by commit_lsn").column("after").to_pylist()
    assert got == [
        [("id", str(number)), (value, value), ("plan", None)] for number, value in enumerate(nasty)
    ]
