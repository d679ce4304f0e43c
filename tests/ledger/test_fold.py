"""The fold equals a table that was really changed: row at a time, set at a time, and in plain SQL.

A model keeps the rows themselves and notes what each change did to them; the ledger only gets what
a decoder would have sent: new images without unchanged TOAST, old images or not, attempts, DDL.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flux import sql
from flux.ledger import questions, row, table
from flux.ledger.moment import Cut
from flux.ledger.shape import Shape
from flux.ledger.shapes import relation_versions
from flux.model.batch import Batch
from flux.model.lsn import LSN_MAX
from flux.model.relation import Relation
from ledger.log import Log, delete, insert, relation, truncate, update

KEYS = ("1", "2", "3")
VALUES = st.sampled_from([None, "", "a", "b", 'it\'s {"odd"}', "x" * 40])
STEP = st.one_of(
    st.tuples(st.just("insert"), st.sampled_from(KEYS), VALUES, VALUES),
    st.tuples(st.just("update"), st.sampled_from(KEYS), st.integers(0, 4), VALUES),
    st.tuples(st.just("update"), st.sampled_from(KEYS), st.integers(0, 4), VALUES),
    st.tuples(st.just("move"), st.sampled_from(KEYS), st.sampled_from(KEYS)),
    st.tuples(st.just("delete"), st.sampled_from(KEYS)),
    st.tuples(st.just("truncate")),
    st.tuples(st.just("try"), st.sampled_from(KEYS), st.integers(0, 4), VALUES),
)
ACTION = st.one_of(
    st.tuples(st.just("transaction"), st.lists(STEP, min_size=1, max_size=4)),
    st.tuples(st.just("transaction"), st.lists(STEP, min_size=1, max_size=4)),
    st.tuples(st.just("rollback"), st.sampled_from(KEYS), st.integers(0, 4), VALUES),
    st.tuples(st.just("rename"), st.integers(0, 4)),
    st.tuples(st.just("add"), VALUES),
    st.tuples(st.just("drop"), st.integers(1, 4)),
)
TOAST = 3
"""Attribute number of the column that is not sent when it did not change."""

Change = dict[int, tuple[str | None, str | None]]


@dataclass
class TrueRow:
    values: dict[int, str | None]
    told: list[tuple[int, str, str, Change]] = field(default_factory=list)
    """(order, op, outcome, what changed by attribute number)"""
    spans: list[tuple[str, int, int | None]] = field(default_factory=list)
    """(key, number of lines told when it came, … when it left)"""
    owners: dict[int, str | None] = field(default_factory=dict)


class World:
    """A table, truly changed, and the log of it."""

    def __init__(self, oid: int, log: Log, *, is_full: bool) -> None:
        self.oid, self.log, self.is_full = oid, log, is_full
        self.columns: list[tuple[int, str]] = [(1, "id"), (2, "plan"), (TOAST, "doc")]
        self.missing: dict[str, str] = {}
        self.rows: dict[str, TrueRow] = {}
        self.every: list[TrueRow] = []
        self.loose: list[tuple[str, int, str, str, Change]] = []
        self.states: list[tuple[int, dict[str, dict[str, str | None]]]] = []
        self.order = self.names = 0
        self.shape()

    def relation(self) -> Relation:
        numbers = tuple(number for number, _ in self.columns)
        names = tuple(name for _, name in self.columns)
        return relation(
            f"public.t{self.oid}",
            names,
            oid=self.oid,
            attnums=numbers,
            key=(names[0],),
            missing={name: value for name, value in self.missing.items() if name in names},
            identity="f" if self.is_full else "d",
        )

    def shape(self) -> None:
        self.log.shape(self.relation())

    def image(self, values: dict[int, str | None], *, without: int | None = None) -> dict[str, str | None]:
        return {name: values[number] for number, name in self.columns if number != without}

    def tell(
        self,
        true: TrueRow,
        op: str,
        old: dict[int, str | None],
        new: dict[int, str | None],
        request: str | None,
        outcome: str = "committed",
    ) -> None:
        self.order += 1
        change = {
            number: (old.get(number), new.get(number))
            for number, _ in self.columns
            if old.get(number) != new.get(number)
        }
        true.told.append((self.order, op, outcome, change))
        if outcome == "committed":
            for number, _ in self.columns:
                if op == "insert" or number in change:
                    true.owners[number] = request

    def act(self, action: tuple[Any, ...], number: int) -> None:
        kind, *words = action
        if kind == "transaction":
            request = f"{self.oid}-{number}"
            sent = [one for step in words[0] if (one := self.step(step, request)) is not None]
            if sent:
                lsn = self.log.transaction(*sent, request=request)
                self.states.append((lsn, {key: self.image(row.values) for key, row in self.rows.items()}))
        elif kind == "rollback":
            attempt = self.attempt(words[0], words[1], words[2], "rolled_back")
            if attempt is not None:
                self.log.rolled_back(attempt, request=f"{self.oid}-{number}")
        elif kind == "rename":
            place = words[0] % len(self.columns)
            self.names += 1
            self.columns[place] = (self.columns[place][0], f"n{self.names}")
            self.missing = {}
            self.shape()
        elif kind == "add":
            self.names += 1
            added, name = 10 + self.names, f"n{self.names}"
            self.columns.append((added, name))
            if words[0] is not None:
                self.missing[name] = words[0]
            for row in self.rows.values():
                row.values[added] = words[0]
                row.owners[added] = None
            self.shape()
        elif kind == "drop" and len(self.columns) > 2:
            self.columns.pop(1 + words[0] % (len(self.columns) - 1))
            self.shape()

    def step(self, step: tuple[Any, ...], request: str) -> dict[str, Any] | None:
        kind, *words = step
        table = self.relation()
        row = self.rows.get(words[0]) if words else None
        if kind == "truncate":
            for one in self.rows.values():
                self.tell(one, "truncate", one.values, {}, request)
            for one in self.rows.values():
                one.spans.append((one.spans[-1][0], one.spans[-1][1], len(one.told)))
            self.rows.clear()
            return truncate(table)
        if kind == "insert":
            if row is not None:
                return None
            values = {number: words[1 + place % 2] for place, (number, _) in enumerate(self.columns)} | {
                1: words[0]
            }
            row = self.rows[words[0]] = TrueRow(values, spans=[(words[0], 0, None)])
            self.every.append(row)
            self.tell(row, "insert", {}, values, request)
            return insert(table, words[0], self.image(values))
        if kind == "try":
            return self.attempt(words[0], words[1], words[2], "savepoint_rolled_back")
        if row is None:
            return None
        old = dict(row.values)
        if kind == "delete":
            self.tell(row, "delete", old, {}, request)
            row.spans.append((row.spans[-1][0], row.spans[-1][1], len(row.told)))
            del self.rows[words[0]]
            return delete(
                table, words[0], before=self.image(old) if self.is_full else {self.columns[0][1]: words[0]}
            )
        if kind == "move":
            if words[1] in self.rows:
                return None
            row.values[1] = words[1]
            self.tell(row, "update", old, row.values, request)
            row.spans.append((words[0], row.spans[-1][1], len(row.told)))
            row.spans.append((words[1], 0, None))
            self.rows[words[1]] = self.rows.pop(words[0])
            return self.sent_update(table, row, old, words[1], old_key=words[0])
        number = self.columns[words[1] % len(self.columns)][0]
        if number != 1:
            row.values[number] = words[2]
        self.tell(row, "update", old, row.values, request)
        return self.sent_update(table, row, old, words[0])

    def sent_update(
        self, table: Relation, row: TrueRow, old: dict[int, str | None], key: str, **more: Any
    ) -> dict[str, Any]:
        is_same = any(number == TOAST for number, _ in self.columns) and old[TOAST] == row.values[TOAST]
        before = self.image(old) if self.is_full else None
        if before is None and "old_key" in more:
            before = {self.columns[0][1]: more["old_key"]}
        unchanged = [name for number, name in self.columns if number == TOAST and is_same]
        return update(
            table,
            key,
            self.image(row.values, without=TOAST if is_same else None),
            before=before,
            unchanged=unchanged,
            **more,
        )

    def attempt(self, key: str, place: int, value: str | None, outcome: str) -> dict[str, Any] | None:
        row = self.rows.get(key)
        if row is None:
            return None
        new = dict(row.values)
        number = self.columns[place % len(self.columns)][0]
        if number != 1:
            new[number] = value
        self.tell(row, "update", row.values, new, None, outcome)
        return update(self.relation(), key, self.image(new), before=self.image(row.values), outcome=outcome)

    def names_now(self) -> dict[int, str]:
        return dict(self.columns)

    def history(self, key: str) -> list[tuple[str, str, dict[int, tuple[str | None, str | None]]]]:
        told = []
        for true in self.every:
            stays = [span for span in true.spans if span[0] == key]
            if stays:
                last = stays[-1][2]
                told += true.told[: last if last is not None else len(true.told)]
        return [(op, outcome, change) for _, op, outcome, change in sorted(told, key=lambda one: one[0])]


class Lake:
    """A ledger's tables and macros in memory, without its files."""

    def __init__(self) -> None:
        self.lake = duckdb.connect()
        self.lake.execute("set timezone = 'UTC'")
        self.lake.execute(sql.text("ledger/010_tables.sql"))
        questions.install(self.lake)

    def load(self, batch: Batch) -> None:
        for name in ("changes", "contexts", "transactions", "relations", "ddl", "positions"):
            self.lake.execute(f"delete from {name}")
        self.lake.execute("insert into positions (source, commit_lsn) values ('shop', 0)")
        for name in ("changes", "contexts", "transactions", "relations", "ddl"):
            self.lake.register("batch", getattr(batch, name))
            self.lake.execute(f"insert into {name} by name select 'shop' as source, batch.* from batch")
            self.lake.unregister("batch")
        self.versions = [version for _, version in relation_versions(self.lake)]

    def asked(self, lsn: int = LSN_MAX) -> row.Asked:
        newest = self.versions[-1]
        return row.Asked(
            self.lake,
            lambda _: (),
            lambda table, _: table,
            "shop",
            newest,
            (newest.relation,),
            Shape(self.versions, bound_lsn=lsn),
            Cut(lsn=lsn),
            {},
        )

    def ask(self, question: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.lake.execute(question).to_arrow_table().to_pylist()
        return rows


@pytest.fixture(scope="module")
def lake() -> Lake:
    return Lake()


def told(rows: list[dict[str, Any]]) -> list[tuple[str, str, dict[str, tuple[str | None, str | None]]]]:
    return [
        (one["op"], one["outcome"], {name: (pair["from"], pair["to"]) for name, pair in one["changed"]})
        for one in rows
    ]


def states(table: pa.Table) -> dict[str, dict[str, str | None]]:
    return {one["key"]: dict(one["row"]) for one in table.to_pylist()}


_ARRIVAL_AFTER_A_DELETE = [
    ("insert", "1", None, None),
    ("delete", "1"),
    ("insert", "3", "b", None),
    ("move", "3", "1"),
]


@pytest.mark.property
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(actions=st.lists(ACTION, min_size=1, max_size=14), is_full=st.booleans(), key=st.sampled_from(KEYS))
@example(actions=[("transaction", _ARRIVAL_AFTER_A_DELETE)], is_full=False, key="1")
def test_the_fold_equals_the_table(
    actions: list[tuple[Any, ...]], is_full: bool, key: str, lake: Lake
) -> None:
    world = World(20_000, Log(), is_full=is_full)
    for number, action in enumerate(actions):
        world.act(action, number)
    lake.load(world.log.batch())
    for one in KEYS:
        check_row(world, lake, one)
    check_plain_sql(world, lake, key)
    check_states(world, lake, key)


def check_row(world: World, lake: Lake, key: str) -> None:
    now = world.names_now()
    expected = [
        (op, outcome, {now[number]: pair for number, pair in change.items() if number in now})
        for op, outcome, change in world.history(key)
    ]
    answer = row.history([lake.asked()], key, {}, row.Wanted()).to_pylist()
    kept = [
        (op, outcome, {column: pair for column, pair in changed.items() if column in now.values()})
        for op, outcome, changed in told(answer)
    ]
    assert kept == expected
    assert all(one["mismatch"] == [] and one["unknown"] == [] for one in answer)
    true = world.rows.get(key)
    owned = row.blame(lake.asked(), key).to_pylist()
    assert {one["column"]: (one["value"], one["request_id"]) for one in owned} == (
        {}
        if true is None
        else {column: (true.values[number], true.owners[number]) for number, column in world.columns}
    )


def check_plain_sql(world: World, lake: Lake, key: str) -> None:
    name = f"public.t{world.oid}"
    by_row = row.history([lake.asked()], key, {}, row.Wanted()).to_pylist()
    by_sql = lake.ask(f"from history('{name}', '{key}')")
    assert told(by_row) == told(by_sql)
    for mine, theirs in zip(by_row, by_sql, strict=True):
        for column in ("request_id", "lsn", "commit_lsn", "key", "old_key", "mismatch", "unknown", "lossy"):
            assert mine[column] == theirs[column], column
        # The macro gives a row without a context a null one; so does the function.
        assert mine["context"] == theirs["context"]
    owned = row.blame(lake.asked(), key).to_pylist()
    also = lake.ask(f"from blame('{name}', '{key}')")
    for mine, theirs in zip(owned, also, strict=True):
        for column in ("column", "value", "op", "request_id", "lsn", "commit_lsn", "seq", "rolled_back"):
            assert mine[column] == theirs[column], column


def check_states(world: World, lake: Lake, key: str) -> None:
    name = f"public.t{world.oid}"
    target = lake.versions[-1]
    now = {one: world.image(true.values) for one, true in world.rows.items()}
    assert states(table.at(lake.lake, target, Cut(), None)) == now
    if not world.states:
        return
    lsn, state = world.states[len(world.states) // 2]
    assert states(table.at(lake.lake, target, Cut(lsn=lsn), None)) == state
    for count in (1, len(KEYS) + 1):
        expected = dict(sorted(state.items())[:count])
        assert list(states(row.first(lake.asked(lsn), count)).items()) == list(expected.items())
    for one in KEYS:
        assert states(row.at(lake.asked(lsn), one)) == ({one: state[one]} if one in state else {})
    also = lake.ask(f"select key, \"row\" from row_at('{name}', '{key}', {lsn}::ubigint)")
    assert [dict(one["row"]) for one in also] == ([state[key]] if key in state else [])
    ops = {one["key"]: one["op"] for one in table.diff(lake.lake, target, Cut(lsn=lsn), Cut()).to_pylist()}
    for one in KEYS:
        later = lake.asked()
        (got,) = row.diff(replace(later, cut=Cut(lsn=lsn)), later, one).to_pylist() or [{"op": None}]
        assert got["op"] == ops.get(one)
        assert ((one in now) != (one in state)) == (got["op"] in {"insert", "delete"})
