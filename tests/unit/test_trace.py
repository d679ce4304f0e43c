"""Spans as trees: their order, their failures, their mutations, and two of them side by side."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flux.ledger.spans import Span, cause, tree, walk
from flux.ledger.suggestion import RULES, suggestions
from flux.ledger.trace import Step, compare, divergence, place

START = datetime(2026, 3, 10, 14, 0, tzinfo=UTC)


def row(
    span_id: str, parent: str | None = None, at: float = 0, took: float = 1, **words: Any
) -> dict[str, Any]:
    """A span that began `at` ms after the start."""
    return {
        "trace_id": "t",
        "span_id": span_id,
        "parent_id": parent,
        "request_id": "r",
        "service": "shop",
        "name": span_id,
        "kind": "internal",
        "started_at": START + timedelta(milliseconds=at),
        "duration_ms": took,
        "status": "unset",
        "attributes": {},
        "events": [],
    } | words


def sql(
    span_id: str, statement: str, at: float = 0, took: float = 1, rows: int | None = None
) -> dict[str, Any]:
    attributes = {"db.system": "postgresql", "db.statement": statement}
    if rows is not None:
        attributes["db.response.returned_rows"] = str(rows)
    return row(span_id, "top", at, took, kind="client", name="query", attributes=attributes)


def change(lsn: int, relation: str = "public.users", op: str = "update", **words: Any) -> dict[str, Any]:
    changed = {"plan": {"from": "free", "to": "pro"}}
    at = START + timedelta(milliseconds=5)
    return {
        "lsn": lsn,
        "relation": relation,
        "op": op,
        "outcome": "committed",
        "at": at,
        "changed": changed,
    } | words


def shape(tops: list[Span]) -> list[tuple[int, str]]:
    return [(depth, span.row["span_id"]) for depth, span in walk(tops)]


def test_callers_stand_before_what_they_called() -> None:
    rows = [row("b", "top", 5), row("top"), row("a", "top", 1), row("c", "a", 2), row("lost", "gone", 9)]
    assert shape(tree(rows)) == [(0, "top"), (1, "a"), (2, "c"), (1, "b"), (0, "lost")]


def test_a_span_that_came_twice_counts_once() -> None:
    assert shape(tree([row("a"), row("a")])) == [(0, "a")]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12))
def test_any_parents_give_a_forest_of_all_spans(pairs: list[tuple[int, int]]) -> None:
    """Also where a span is its own caller, or two are each other's."""
    rows = [row(str(one), str(parent), at=one) for one, parent in pairs]
    seen = [span_id for _, span_id in shape(tree(rows))]
    assert sorted(seen) == sorted({str(one) for one, _ in pairs})


def failed(kind: str = "E") -> dict[str, Any]:
    event = {"name": "exception", "at": START, "attributes": {"exception.type": kind}}
    return {"status": "error", "events": [event]}


def test_the_cause_is_the_deepest_failed_call() -> None:
    rows = [
        row("top", took=50, **failed()),
        row("first", "top", 1, **failed()),
        row("second", "top", 10, 20, **failed()),
        row("within", "second", 12, **failed()),
        row("fine", "second", 14),
    ]
    assert [span.name for span in cause(tree(rows)[0])] == ["top", "second", "within"]


def test_a_call_that_was_tried_again_is_no_cause() -> None:
    attributes = {"http.method": "POST", "http.url": "http://pay/charges/17?x=1"}
    again = {"http.method": "POST", "http.url": "http://pay/charges/18"}
    rows = [
        row("top", took=50, **failed()),
        row("once", "top", 1, kind="client", attributes=attributes, **failed()),
        row("again", "top", 10, kind="client", attributes=again | {"http.status_code": "200"}),
    ]
    (top,) = tree(rows)
    assert [span.name for span in cause(top)] == ["top"]
    assert top.children[0].label == "POST http://pay/charges/17"
    assert top.children[0].likeness == "POST http://pay/charges/{n}"


def test_an_answer_of_500_is_a_failure_too() -> None:
    attributes = {"http.request.method": "GET", "url.full": "http://x/", "http.response.status_code": "503"}
    rows = [row("top", took=9, **failed()), row("call", "top", 1, kind="client", attributes=attributes)]
    assert [span.name for span in cause(tree(rows)[0])] == ["top", "call"]


def test_mutations_stand_at_their_statements() -> None:
    rows = [
        row("top", took=100),
        sql("read", "select * from users", 1),
        sql("make", "insert into orders values (1)", 2, rows=1),
        sql("both", "update users set plan = 'pro'", 3, 10, rows=2),
        sql("later", "update public.users set plan = 'x'", 20, 10),
    ]
    tops = tree(rows)
    changes = [
        change(30, at=START + timedelta(hours=1)),  # committed later: its clock says nothing
        change(10, "public.orders", "insert"),
        change(20),
        change(40, outcome="rolled_back", at=START + timedelta(milliseconds=25)),
        change(50, "public.stock"),
    ]
    left = place(tops, changes)
    found = {span.name: [one["lsn"] for one in span.changes] for _, span in walk(tops)}
    by_id = {span.row["span_id"]: [one["lsn"] for one in span.changes] for _, span in walk(tops)}
    assert found
    assert by_id == {"top": [], "read": [], "make": [10], "both": [20, 30], "later": [40]}
    assert [one["lsn"] for one in left] == [50]


def steps(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(one.step.value, one.span.label) for one in compare(tree(first), tree(second))]


def test_two_requests_are_aligned_by_what_they_did() -> None:
    common = [sql("a", "select 1", 1), sql("b", "select 2", 2, took=3)]
    first = [row("top", took=20), *common, sql("c", "delete from t", 9)]
    second = [row("top", took=90), sql("b", "select 2", 2, took=30), sql("d", "select 9", 50)]
    assert steps(first, second) == [
        ("slower", "top"),
        ("missing", "select 1"),
        ("slower", "select 2"),
        ("changed", "delete from t"),
    ]
    assert [step for step, _ in steps(first, first)] == ["same"] * 4
    assert steps(second, first)[0] == ("faster", "top")


def test_the_first_divergence_is_the_deepest_of_the_first() -> None:
    first = [row("top", took=9), row("a", "top", 1), row("b", "a", 2), row("z", "top", 5)]
    second = [row("top", took=9, **failed()), row("a", "top", 1, **failed()), row("b", "a", 2, **failed())]
    every = list(compare(tree(first), tree(second)))
    found = divergence(every)
    assert found is not None
    assert found.span.name == "b"
    assert divergence(list(compare(tree(first), tree(first)))) is None


def test_what_was_rolled_back_did_the_same() -> None:
    """The outcome is a later step's."""
    first, second = (
        tree([sql("a", "update users set plan = 1")]),
        tree([sql("a", "update users set plan = 1")]),
    )
    assert not place(first, [change(1)])
    assert not place(second, [change(2, outcome="rolled_back", at=START)])
    assert [one.step for one in compare(first, second)] == [Step.SAME]


def document(**words: Any) -> dict[str, Any]:
    return {
        "root_cause": None,
        "location": None,
        "failed_sql": [],
        "outbound": [],
        "changes": [],
        "previous": [],
    } | words


def statement(sqlstate: str, message: str = "") -> dict[str, Any]:
    attempted = {
        "relation": "public.users",
        "op": "update",
        "rows": [{"email": {"value": None, "known": True}}],
    }
    return {
        "sqlstate": sqlstate,
        "message": message,
        "attempted": attempted,
        "evidence": [{"table": "spans"}],
    }


def fired(**words: Any) -> dict[str, str]:
    return {one["rule"]: one["text"] for one in suggestions(document(**words))}


def test_each_rule_fires_on_its_evidence_alone() -> None:
    assert fired() == {}
    rules = {
        "not-null": fired(failed_sql=[statement("23502", 'null value in column "email"')]),
        "unique": fired(failed_sql=[statement("23505", 'violates unique constraint "users_email_key"')]),
        "foreign-key": fired(failed_sql=[statement("23503", 'violates foreign key constraint "fk"')]),
        "conflict": fired(failed_sql=[statement("40P01")]),
        "timeout": fired(failed_sql=[statement("57014")]),
    }
    for rule, found in rules.items():
        assert list(found) == [rule]
    assert "users.email must not be null, and the statement passes null" in rules["not-null"]["not-null"]
    assert "users_email_key" in rules["unique"]["unique"]
    call: dict[str, Any] = {
        "name": "POST http://pay",
        "status": None,
        "error_type": "Timeout",
        "duration_ms": 2000.0,
    }
    call |= {"at": START + timedelta(seconds=1), "evidence": [{"table": "spans"}]}
    undone = change(1, outcome="rolled_back", evidence=[{"table": "changes"}])
    inside = fired(outbound=[call], changes=[undone])
    assert list(inside) == ["call-inside-transaction"]
    assert not fired(outbound=[call], changes=[undone | {"outcome": "committed"}])
    assert not fired(outbound=[call | {"duration_ms": 10.0}], changes=[undone])
    step = {"name": "POST http://pay", "kind": "http", "status": "503"}
    cause_of: dict[str, Any] = {"error_type": "503", "message": None, "step": step, "evidence": []}
    assert "answered 503" in fired(root_cause=cause_of)["outbound-failure"]
    none_error: dict[str, Any] = {
        "error_type": "AttributeError",
        "message": "'NoneType' has no attribute",
        "step": None,
    }
    owner: dict[str, Any] = {
        "relation": "public.users",
        "key": "42",
        "column": "plan",
        "value": None,
        "op": "update",
    }
    owner |= {"request_id": "4f9a", "evidence": []}
    planted = fired(root_cause=none_error | {"evidence": []}, previous=[owner])
    assert "users.plan of row 42 was null when it came: req:4f9a had set it" in planted["planted-null"]
    assert not fired(root_cause=none_error | {"evidence": []}, previous=[owner | {"value": "x"}])
    assert set(rules) | {"call-inside-transaction", "outbound-failure", "planted-null"} == set(RULES)
