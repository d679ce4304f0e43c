"""History, blame, at and diff of single rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from flux.ledger import Ledger, Writer, open_ledger
from flux.model.errors import UsageError
from flux.model.moment import Moment
from ledger.log import EPOCH, Log, delete, insert, ledger_with, relation, truncate, update

USERS = relation()


@contextmanager
def asked(path: Path, log: Log) -> Iterator[Ledger]:
    with open_ledger(ledger_with(path / "ledger", log)) as ledger:
        yield ledger


def changes(table: Any) -> list[tuple[str, str, dict[str, tuple[str | None, str | None]]]]:
    return [
        (one["op"], one["outcome"], {name: (pair["from"], pair["to"]) for name, pair in one["changed"] or ()})
        for one in table.to_pylist()
    ]


def user(**values: str | None) -> dict[str, str | None]:
    return {"id": "42", "email": "a@b.com", "plan": "free"} | values


def the_example(log: Log) -> Log:
    log.shape(USERS)
    log.transaction(insert(USERS, "42", user()), actor="alice")
    log.transaction(update(USERS, "42", user(email="c@d.com")), request="a3c91ef0")
    log.transaction(update(USERS, "42", user(email="c@d.com", plan="pro")), request="4f9a3b2c")
    log.rolled_back(
        update(USERS, "42", user(email="c@d.com", plan=None), before=user(email="c@d.com", plan="pro")),
        request="550e8400",
    )
    return log


def test_history_tells_each_change_and_who_made_it(tmp_path: Path) -> None:
    with asked(tmp_path, the_example(Log())) as ledger:
        told = ledger.history("users", "42")
    assert changes(told) == [
        ("insert", "committed", {"id": (None, "42"), "email": (None, "a@b.com"), "plan": (None, "free")}),
        ("update", "committed", {"email": ("a@b.com", "c@d.com")}),
        ("update", "committed", {"plan": ("free", "pro")}),
        ("update", "rolled_back", {"plan": ("pro", None)}),
    ]
    first, second, *_, last = told.to_pylist()
    assert first["actor"] == "alice"
    assert second["request_id"] == "a3c91ef0"
    assert second["context"]["application_name"] == "shop"
    assert dict(second["context"]["attributes"]) == {"tenant": "eu"}
    assert last["commit_lsn"] is None
    assert first["seq"] == 0


def test_blame_names_the_owner_and_who_was_rolled_back(tmp_path: Path) -> None:
    with asked(tmp_path, the_example(Log())) as ledger:
        owned = {one["column"]: one for one in ledger.blame("users", "42").to_pylist()}
    assert list(owned) == ["id", "email", "plan"]
    assert owned["id"]["op"] == "insert"
    assert (owned["email"]["value"], owned["email"]["request_id"]) == ("c@d.com", "a3c91ef0")
    assert owned["email"]["rolled_back"] == []
    assert owned["plan"]["request_id"] == "4f9a3b2c"
    (tried,) = owned["plan"]["rolled_back"]
    assert (tried["value"], tried["request_id"], tried["outcome"]) == (None, "550e8400", "rolled_back")


def test_the_row_as_of_a_time_and_of_a_position(tmp_path: Path) -> None:
    log = the_example(Log())
    second = log.transactions[1]
    with asked(tmp_path, log) as ledger:
        for moment in (
            second["at"],
            second["commit_lsn"],
            Moment(lsn=second["commit_lsn"]),
            Moment(time=second["at"]),
        ):
            (row,) = ledger.at("users", "42", as_of=moment).to_pylist()
            assert dict(row["row"]) == user(email="c@d.com")
        assert ledger.at("users", "42", as_of=EPOCH).num_rows == 0
        assert ledger.blame("users", "42", as_of=1).num_rows == 0
        assert len(ledger.history("users", "42", as_of=second["at"])) == 2
        (row,) = ledger.at("users", as_of=second["at"]).to_pylist()
        assert dict(row["row"]) == user(email="c@d.com")


def test_diff_of_a_row_and_of_a_table(tmp_path: Path) -> None:
    log = the_example(Log())
    log.transaction(insert(USERS, "43", user(id="43")))
    first = log.transactions[0]["commit_lsn"]
    with asked(tmp_path, log) as ledger:
        (row,) = ledger.diff("users", "42", since=first).to_pylist()
        assert row["op"] == "update"
        assert {name: (pair["from"], pair["to"]) for name, pair in row["changed"]} == {
            "email": ("a@b.com", "c@d.com"),
            "plan": ("free", "pro"),
        }
        whole = {one["key"]: one["op"] for one in ledger.diff("users", since=first).to_pylist()}
        assert whole == {"42": "update", "43": "insert"}
        assert ledger.diff("users", "42", since=first, until=first).num_rows == 0
        assert {one["op"] for one in ledger.diff("users", since=0).to_pylist()} == {"insert"}


def test_what_was_not_sent_is_carried_forward(tmp_path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.transaction(insert(USERS, "42", user(email="long")))
    log.transaction(update(USERS, "42", {"id": "42", "plan": "pro"}, unchanged=["email"]))
    log.transaction(delete(USERS, "42"))
    last = log.transactions[-1]["commit_lsn"]
    with asked(tmp_path, log) as ledger:
        told = changes(ledger.history("users", "42"))
        (row,) = ledger.at("users", "42", as_of=last - 1).to_pylist()
        (same,) = ledger.at("users", as_of=last - 1).to_pylist()
    assert told[1] == ("update", "committed", {"plan": ("free", "pro")})
    assert told[2] == (
        "delete",
        "committed",
        {"id": ("42", None), "email": ("long", None), "plan": ("pro", None)},
    )
    assert dict(row["row"]) == user(email="long", plan="pro") == dict(same["row"])


def test_history_follows_a_key_back_and_shows_the_change_that_left(tmp_path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.transaction(insert(USERS, "41", user(id="41")), request="born")
    log.transaction(update(USERS, "42", user(), old_key="41"), request="moved")
    log.transaction(insert(USERS, "41", user(id="41", email="another")), request="other")
    log.transaction(update(USERS, "43", user(id="43"), old_key="42"), request="left")
    log.transaction(update(USERS, "43", user(id="43", plan="pro")), request="later")
    with asked(tmp_path, log) as ledger:
        assert [one["request_id"] for one in ledger.history("users", "42").to_pylist()] == [
            "born",
            "moved",
            "left",
        ]
        assert changes(ledger.history("users", "42"))[1][2] == {"id": ("41", "42")}
        assert [one["request_id"] for one in ledger.history("users", "43").to_pylist()] == [
            "born",
            "moved",
            "left",
            "later",
        ]
        assert [one["request_id"] for one in ledger.history("users", "41").to_pylist()] == [
            "born",
            "moved",
            "other",
        ]
        owned = {one["column"]: one["request_id"] for one in ledger.blame("users", "43").to_pylist()}
        assert owned == {"id": "left", "email": "born", "plan": "later"}
        assert ledger.at("users", "42").num_rows == 0
        assert sorted(one["key"] for one in ledger.at("users").to_pylist()) == ["41", "43"]


def test_a_truncate_ends_rows_and_an_insert_begins_another_life(tmp_path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.transaction(insert(USERS, "42", user(plan="old")))
    log.transaction(truncate(USERS))
    log.transaction(truncate(USERS))
    log.transaction(insert(USERS, "42", user()))
    with asked(tmp_path, log) as ledger:
        told = changes(ledger.history("users", "42"))
        assert [op for op, _, _ in told] == ["insert", "truncate", "insert"]
        assert told[1][2]["plan"] == ("old", None)
        assert told[2][2]["plan"] == (None, "free")


def test_a_schema_change_alone_belongs_to_the_moments_after_it(tmp_path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.transaction(insert(USERS, "42", user()))
    before = log.now()
    log.shape(relation(columns=("id", "email", "tier"), attnums=(1, 2, 3)))
    log.ddl.append(
        {"lsn": log.relations[-1].lsn, "at": before + timedelta(seconds=5), "command": "ALTER TABLE"}
    )
    with asked(tmp_path, log) as ledger:
        for seconds, name in ((1, "plan"), (9, "tier")):
            moment = before + timedelta(seconds=seconds)
            (one,) = ledger.at("users", "42", as_of=moment).to_pylist()
            assert [column for column, _ in one["row"]] == ["id", "email", name]
            (every,) = ledger.at("users", as_of=moment).to_pylist()
            assert every["row"] == one["row"]
            for macro in ("row_at('public.users', '42', '{}')", "table_at('public.users', '{}')"):
                (asked_in_sql,) = ledger.sql(f'select "row" from {macro.format(moment)}').to_pylist()
                assert asked_in_sql["row"] == one["row"]


def test_renamed_columns_are_the_same_and_added_ones_have_their_default(tmp_path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.transaction(insert(USERS, "42", user()))
    log.shape(
        relation(
            name="crm.people",
            columns=("id", "email", "tier", "lang"),
            attnums=(1, 2, 3, 4),
            missing={"lang": "en"},
        )
    )
    people = log.relations[-1]
    added = people.lsn
    log.ddl.append({"lsn": added, "at": log.now(), "request_id": "migration", "command": "ALTER TABLE"})
    log.transaction(
        update(people, "42", {"id": "42", "email": "a@b.com", "tier": "pro", "lang": "en"}), request="r"
    )
    log.shape(
        relation(name="crm.people", columns=("id", "tier", "lang"), attnums=(1, 3, 4), missing={"lang": "en"})
    )
    with asked(tmp_path, log) as ledger:
        told = changes(ledger.history("people", "42"))
        assert told[0][2] == {"id": (None, "42"), "email": (None, "a@b.com"), "tier": (None, "free")}
        assert told[1][2] == {"tier": ("free", "pro")}
        # The old name leads to the same table.
        assert changes(ledger.history("users", "42")) == told
        before = log_of = ledger.history("users", "42", as_of=added - 1)
        assert changes(before)[0][2]["plan"] == (None, "free")
        assert len(log_of) == 1
        owned = {one["column"]: one for one in ledger.blame("crm.people", "42").to_pylist()}
        assert list(owned) == ["id", "tier", "lang"]
        assert (owned["lang"]["value"], owned["lang"]["op"], owned["lang"]["request_id"]) == (
            "en",
            "ddl",
            "migration",
        )
        (row,) = ledger.at("people").to_pylist()
        assert dict(row["row"]) == {"id": "42", "tier": "pro", "lang": "en"}


def test_attempts_lie_where_they_were_made(tmp_path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.transaction(insert(USERS, "42", user()))
    saved = "savepoint_rolled_back"
    log.transaction(
        update(USERS, "42", user(plan="a"), before=user()),
        update(USERS, "42", user(plan="x"), before=user(plan="a"), outcome=saved),
        update(USERS, "42", user(plan="b")),
        request="r",
    )
    for row in log.changes:
        if row["outcome"] != saved:
            row["before"] = None
    with asked(tmp_path, log) as ledger:
        told = changes(ledger.history("users", "42"))
    assert [(outcome, changed.get("plan")) for _, outcome, changed in told] == [
        ("committed", (None, "free")),
        ("committed", ("free", "a")),
        (saved, ("a", "x")),
        ("committed", ("a", "b")),
    ]


def test_a_broken_ledger_is_loud(tmp_path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.transaction(insert(USERS, "42", user()))
    log.transaction(update(USERS, "42", user(plan="pro"), before=user(email="never@seen")))
    log.transaction(update(USERS, "7", user(id="7", plan="pro")))
    with asked(tmp_path, log) as ledger:
        assert [one["mismatch"] for one in ledger.history("users", "42").to_pylist()] == [[], ["email"]]
        (row,) = ledger.history("users", "7").to_pylist()
        assert row["unknown"] == ["id", "email", "plan"]


def test_gaps_lie_where_they_are(tmp_path: Path) -> None:
    log = the_example(Log())
    middle = log.transactions[1]
    path = ledger_with(tmp_path / "ledger", log)
    us = int(middle["at"].timestamp() * 1_000_000)
    with Writer.open(path, source="shop") as writer:
        writer.add_gap(
            from_lsn=middle["commit_lsn"],
            to_lsn=middle["commit_lsn"] + 10,
            from_us=us,
            to_us=us + 5,
            reason="slot lost",
        )
    with open_ledger(path) as ledger:
        assert [one["op"] for one in ledger.history("users", "42").to_pylist()] == [
            "insert",
            "update",
            "gap",
            "update",
            "update",
        ]
        gap = ledger.history("users", "42").to_pylist()[2]["gap"]
        assert gap["reason"] == "slot lost"
        assert gap["to_at"].microsecond == 5
        assert ledger.gaps().num_rows == 1
        blamed = {one["column"]: one["gaps"] for one in ledger.blame("users", "42").to_pylist()}
        assert blamed == {"id": [gap], "email": [gap], "plan": []}  # plan was given after it


def test_lossy_columns_are_named(tmp_path: Path) -> None:
    log = Log()
    log.shape(relation(lossy=("plan",)))
    log.transaction(insert(USERS, "42", user()))
    log.transaction(update(USERS, "42", user(plan=None)))
    with asked(tmp_path, log) as ledger:
        assert ledger.history("users", "42").to_pylist()[1]["lossy"] == ["plan"]
        assert {one["column"]: one["lossy"] for one in ledger.blame("users", "42").to_pylist()} == {
            "id": False,
            "email": False,
            "plan": True,
        }
        assert ledger.at("users", "42").to_pylist()[0]["lossy"] == ["plan"]
        assert ledger.at("users").to_pylist()[0]["lossy"] == ["plan"]


def test_rows_without_a_key_are_a_bag(tmp_path: Path) -> None:
    notes = relation("public.notes", ("text", "n"), oid=17000, key=(), identity="f")
    a, b = {"text": "a", "n": "1"}, {"text": "b", "n": "1"}
    log = Log()
    log.shape(notes)
    log.transaction(insert(notes, None, a), insert(notes, None, a), insert(notes, None, b))
    log.transaction(delete(notes, None, before=a))
    log.transaction(update(notes, None, {"n": "2"}, before=b, unchanged=["text"]), request="r2")
    with asked(tmp_path, log) as ledger:
        rows = sorted(sorted(dict(one["row"]).items()) for one in ledger.at("notes").to_pylist())
        assert rows == [[("n", "1"), ("text", "a")], [("n", "2"), ("text", "b")]]
        told = changes(ledger.history("notes", where={"text": "b"}))
        assert told == [
            ("insert", "committed", {"text": (None, "b"), "n": (None, "1")}),
            ("update", "committed", {"n": ("1", "2")}),
        ]
        assert [one["op"] for one in ledger.diff("notes", since=log.lsn - 5000).to_pylist()]


def test_where_finds_the_rows_that_once_had_a_value(tmp_path: Path) -> None:
    log = the_example(Log())
    log.transaction(insert(USERS, "43", user(id="43", plan="other")))
    with asked(tmp_path, log) as ledger:
        told = ledger.history("users", where={"plan": "pro"})
        assert {one["key"] for one in told.to_pylist()} == {"42"}
        assert len(told) == 4
        assert len(ledger.history("users")) == 5


def test_history_can_be_narrowed(tmp_path: Path) -> None:
    with asked(tmp_path, the_example(Log())) as ledger:
        assert len(ledger.history("users", "42", columns=["plan"])) == 3
        assert len(ledger.history("users", "42", outcome="rolled_back")) == 1
        assert len(ledger.history("users", "42", request="4f9a")) == 1
        span = ledger.request_span("req:4f9a")
        assert len(ledger.history("users", "42", since=span.start, until=span.end)) == 1
        assert [one["request_id"] for one in ledger.history("users", "42", limit=2).to_pylist()] == [
            "4f9a3b2c",
            "550e8400",
        ]


def test_names_that_fit_nothing_or_several_are_refused_with_what_is_near(tmp_path: Path) -> None:
    log = the_example(Log())
    log.shape(relation("public.orders", oid=17001))
    log.shape(relation('public.Odd "Name', oid=17002))
    log.transaction(update(USERS, "42", user(plan="z")), request="4f9a0000")
    with asked(tmp_path, log) as ledger:
        with pytest.raises(UsageError, match=r"public\.users"):
            ledger.relation("usres")
        assert ledger.relation('"Odd ""Name"').relation_id == 17002
        assert ledger.relation("public.orders").relation_id == 17001
        assert ledger.relation_names() == ['public.Odd "Name', "public.orders", "public.users"]
        assert ledger.request("req:a3c9") == "a3c91ef0"
        with pytest.raises(UsageError, match="4f9a0000, 4f9a3b2c"):
            ledger.request("4f9a")
        with pytest.raises(UsageError):
            ledger.request("none")


def test_a_partition_means_its_root(tmp_path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.shape(relation("public.users_eu", oid=16500, root=(16400, "public.users")))
    with asked(tmp_path, log) as ledger:
        assert ledger.relation("users_eu").relation == "public.users"


def test_a_table_that_was_made_again_is_another(tmp_path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.transaction(insert(USERS, "42", user(plan="old")))
    again = relation(oid=19000)
    log.shape(again)
    log.transaction(insert(again, "42", user(plan="new")))
    with asked(tmp_path, log) as ledger:
        assert [changed["plan"] for _, _, changed in changes(ledger.history("users", "42"))] == [
            (None, "old"),
            (None, "new"),
        ]
        assert [dict(one["row"])["plan"] for one in ledger.at("users").to_pylist()] == ["new"]


def test_the_ledger_is_read_while_it_is_written(tmp_path: Path) -> None:
    log = Log()
    log.shape(USERS)
    log.transaction(insert(USERS, "42", user()))
    path = ledger_with(tmp_path / "ledger", log)
    with open_ledger(path) as ledger, Writer.open(path, source="shop") as writer:
        assert len(ledger.history("users", "42")) == 1
        log.transaction(update(USERS, "42", user(plan="pro")))
        writer.append(log.batch())
        assert len(ledger.history("users", "42")) == 1
        writer.commit(slot="s", system_identifier="1", timeline=1)
        assert len(ledger.history("users", "42")) == 2
        writer.maintain(force=True)
        assert len(ledger.history("users", "42")) == 2
        assert ledger.positions().to_pylist()[0]["commit_lsn"] == log.position.commit_lsn
        assert ledger.info()["rows"]["changes"] == 2


def test_the_commit_beside_a_moment_is_one_that_changed_the_table(tmp_path: Path) -> None:
    log, users, orders = Log(), USERS, relation("public.orders", oid=16500)
    log.shape(users)
    log.shape(orders)
    first = log.transaction(insert(users, "1", user(id="1")), insert(users, "2", user(id="2")))
    log.transaction(insert(orders, "1", {"id": "1"}))
    log.rolled_back(insert(users, "3", user(id="3")))
    second = log.transaction(update(users, "1", user(id="1", plan="pro")))
    times = {row["commit_lsn"]: row["at"] for row in log.transactions}
    with asked(tmp_path, log) as ledger:

        def beside(as_of: int | None, step: Literal[-1, 1]) -> int | None:
            found = ledger.commit_beside("users", as_of, step)
            assert found is None or found[1] == times[found[0].lsn or 0]
            return None if found is None else found[0].lsn

        assert [beside(as_of, -1) for as_of in (None, second, second - 1, first)] == [
            second,
            first,
            first,
            None,
        ]
        assert [beside(as_of, 1) for as_of in (first - 1, first, second - 1, second)] == [
            first,
            second,
            second,
            None,
        ]
