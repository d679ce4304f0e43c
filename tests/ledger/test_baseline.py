"""Baselines: what a copy of a table's rows does to the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from flux.ledger import Writer, create_ledger, open_ledger
from ledger.log import Log, Row, delete, insert, ledger_with, relation, update

USERS = relation()
PAIRS = relation("public.pairs", ("a", "b", "v"), oid=17001, key=("a", "b"))
NOTES = relation("public.notes", ("text", "n"), oid=17002, key=(), identity="f")


def copy_of(*rows: Mapping[str, str | None]) -> list[pa.RecordBatch]:
    return [
        pa.RecordBatch.from_pylist([row], schema=pa.schema([(name, pa.string()) for name in row]))
        for row in rows
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return create_ledger(tmp_path / "ledger")


def state(path: Path, name: str) -> dict[str | None, Row]:
    with open_ledger(path) as ledger:
        return {one["key"]: dict(one["row"]) for one in ledger.at(name).to_pylist()}


def test_a_first_baseline_is_written_whole(path: Path) -> None:
    odd = 'quote " back\\ tab\t bell\x07 é'
    with Writer.open(path, source="shop") as writer:
        one = writer.reconcile(USERS, copy_of({"id": "1", "email": "a", "plan": None}), lsn=5000, at_us=1)
        two = writer.reconcile(PAIRS, copy_of({"a": "x", "b": odd, "v": "1"}), lsn=5000, at_us=1)
        assert (one.row_count, one.written, one.deleted) == (1, 1, 0)
        assert two.written == 1
        assert [(stored.relation, stored.lsn, stored.row_count) for stored in writer.baselines()] == [
            ("public.pairs", 5000, 1),
            ("public.users", 5000, 1),
        ]
        assert {one.relation for one in writer.relations(0)} == {"public.users", "public.pairs"}
    assert state(path, "users") == {"1": {"id": "1", "email": "a", "plan": None}}
    assert list(state(path, "pairs")) == ['["x","quote \\" back\\\\ tab\\t bell\\u0007 é"]']
    with open_ledger(path) as ledger:
        assert ledger.history("users", "1").to_pylist()[0]["op"] == "baseline"
        places = ledger.sql("select commit_lsn, seq from changes").to_pylist()
    assert {one["commit_lsn"] for one in places} == {4999}
    assert len({one["seq"] for one in places}) == 2


def test_a_later_baseline_writes_only_what_differs(path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.transaction(*(insert(USERS, key, {"id": key, "email": "a", "plan": "p"}) for key in "1234"))
    log.transaction(update(USERS, "2", {"id": "2", "plan": "q"}, unchanged=["email"]), delete(USERS, "4"))
    ledger_with(path, log)
    rows: list[Row] = [
        {"id": "1", "email": "a", "plan": "p"},
        {"id": "2", "email": "a", "plan": "q"},
        {"id": "3", "email": "other", "plan": None},
        {"id": "5", "email": "new", "plan": "p"},
    ]
    with Writer.open(path, source="shop") as writer:
        lsn = log.next_lsn()
        done = writer.reconcile(USERS, copy_of(*rows), lsn=lsn, at_us=2)
        assert (done.row_count, done.written, done.deleted) == (4, 2, 0)
        again = writer.reconcile(USERS, copy_of(*rows[:3]), lsn=lsn + 10, at_us=3)
        assert (again.row_count, again.written, again.deleted) == (3, 0, 1)
        same = writer.reconcile(USERS, copy_of(*rows[:3]), lsn=lsn + 20, at_us=4)
        assert (same.written, same.deleted) == (0, 0)
    assert state(path, "users") == {row["id"]: row for row in rows[:3]}
    with open_ledger(path) as ledger:
        (_, line) = ledger.history("users", "3").to_pylist()
        assert line["op"] == "baseline"
        assert {name: (pair["from"], pair["to"]) for name, pair in line["changed"]} == {
            "email": ("a", "other"),
            "plan": ("p", None),
        }


def test_rows_without_a_key_are_compared_as_a_bag(path: Path) -> None:
    a, b = {"text": "a", "n": "1"}, {"text": "b", "n": "1"}
    log = Log()
    log.shape(NOTES)
    log.transaction(insert(NOTES, None, a), insert(NOTES, None, a), insert(NOTES, None, b))
    ledger_with(path, log)
    with Writer.open(path, source="shop") as writer:
        done = writer.reconcile(NOTES, copy_of(a, b, b), lsn=log.next_lsn(), at_us=2)
        assert (done.written, done.deleted) == (1, 1)
    with open_ledger(path) as ledger:
        rows = sorted(dict(one["row"])["text"] for one in ledger.at("notes").to_pylist())
    assert rows == ["a", "b", "b"]


def test_the_pieces_of_a_first_baseline_are_one_file(path: Path) -> None:
    rows = [{"id": str(number), "email": "a", "plan": None} for number in range(3)]
    with Writer.open(path, source="shop") as writer:
        writer.reconcile(USERS, copy_of(*rows), lsn=5000, at_us=1)
    assert len(list((path / "data" / "main" / "changes").glob("*.parquet"))) == 1
    assert state(path, "users") == {row["id"]: row for row in rows}


def test_a_baseline_that_fails_leaves_nothing(path: Path) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from copy_of({"id": "1", "email": "a", "plan": None})
        raise ConnectionError

    with Writer.open(path, source="shop") as writer:
        with pytest.raises(ConnectionError):
            writer.reconcile(USERS, broken(), lsn=5000, at_us=1)
        assert writer.baselines() == []
        assert writer.relations(0) == []
    assert not list((path / "data").rglob("*.parquet"))
