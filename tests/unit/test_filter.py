"""The grammar of `flux tail --filter`, and that DuckDB answers what it says."""

from __future__ import annotations

import operator
import re
from contextlib import suppress
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flux.ledger.predicate import compiled, expression
from flux.model.errors import UsageError
from flux.model.filter import DEPTH_MAX, FIELDS, Comparison, Either, Every, Filter, Not, parse_filter

Row = dict[str, Any]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("status>=500", Comparison("status", ">=", (500.0,))),
        ("status = 5xx", Comparison("status", "between", (500.0, 600.0))),
        ("status!=4XX", Not(Comparison("status", "between", (400.0, 500.0)))),
        ("STATUS == 200", Comparison("status", "=", (200.0,))),
        ('path ~ "^/check"', Comparison("path", "~", ("^/check",))),
        (r"path ~ '\d+ \'x'", Comparison("path", "~", (r"\d+ 'x",))),
        (r'message = "a \"b\" \\"', Comparison("message", "=", ('a "b" \\',))),
        ("duration > 1.5s", Comparison("duration", ">", (1500.0,))),
        ("duration>250", Comparison("duration", ">", (250.0,))),
        ("failed = yes", Comparison("failed", "=", (True,))),
        ("route=/users/{id}", Comparison("route", "=", ("/users/{id}",))),
        ("error is null", Comparison("error", "null", ())),
        ("error is not null", Not(Comparison("error", "null", ()))),
        (
            "method in (GET, POST)",
            Either((Comparison("method", "=", ("GET",)), Comparison("method", "=", ("POST",)))),
        ),
        (
            "not status=200 and (table=users or key=42)",
            Every(
                (
                    Not(Comparison("status", "=", (200.0,))),
                    Either((Comparison("table", "=", ("users",)), Comparison("key", "=", ("42",)))),
                )
            ),
        ),
    ],
)
def test_what_a_filter_means(text: str, tree: Filter) -> None:
    assert parse_filter(text) == tree


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "a condition is missing"),
        ("statu=3", "'statu' is no field"),
        ("status", "no operator after status"),
        ("status=", "no value after status ="),
        ("status=abc", "'abc' is no number"),
        ("status~5", "status is a number"),
        ("path>3", "path has no order"),
        ('path~"(("', "is no regular expression"),
        ("duration>5h", "'5h' is no duration"),
        ("failed=maybe", "failed is true or false"),
        ("status=200 path=x", "'path' is too much"),
        ("(status=200", ") is missing"),
        ('path="x', "cannot read"),
        ("method in GET", "( is missing"),
        ("status=200 and", "a condition is missing"),
        ("(" * 200 + "status=1" + ")" * 200, "too deep"),
    ],
)
def test_a_wrong_filter_says_where(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)) as caught:
        parse_filter(text)
    assert "at letter " in caught.value.what
    assert caught.value.hint


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_wrong(text: str) -> None:
    with suppress(UsageError):
        parse_filter(text)


VALUES = ["GET", "get", "POST", "/checkout/7", "it's", "a.b", "", "users"]
TEXT_FIELDS = ("request", "service", "method", "path", "error")
COLUMNS = {"request": "request_id", "duration": "duration_ms", "error": "error_type"}


def leaves() -> st.SearchStrategy[Filter]:
    text = st.builds(
        lambda field, sign, value: Comparison(field, sign, (value,)),
        st.sampled_from(TEXT_FIELDS),
        st.sampled_from(["=", "!="]),
        st.sampled_from(VALUES),
    )
    pattern = st.builds(
        lambda field, sign, value: Comparison(field, sign, (value,)),
        st.sampled_from(TEXT_FIELDS),
        st.sampled_from(["~", "!~"]),
        st.sampled_from(["^/check", "[GP]", "s$", "", "."]),
    )
    number = st.builds(
        lambda field, sign, value: Comparison(field, sign, (float(value),)),
        st.sampled_from(["status", "duration"]),
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.sampled_from([0, 200, 404, 500]),
    )
    other = st.sampled_from(
        [
            Comparison("status", "between", (500.0, 600.0)),
            Comparison("error", "null", ()),
            Comparison("failed", "=", (True,)),
            Comparison("failed", "!=", (True,)),
        ]
    )
    return st.one_of(text, pattern, number, other)


NAMES = ("request_id", "service", "method", "path", "error_type", "status", "duration_ms")
TREES: st.SearchStrategy[Filter] = st.recursive(
    leaves(),
    lambda part: st.one_of(
        part.map(Not),
        st.lists(part, min_size=1, max_size=3).map(lambda parts: Every(tuple(parts))),
        st.lists(part, min_size=1, max_size=3).map(lambda parts: Either(tuple(parts))),
    ),
    max_leaves=8,
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            **{COLUMNS.get(name, name): st.sampled_from([*VALUES, None]) for name in TEXT_FIELDS},
            "status": st.sampled_from([None, 200, 404, 500, 503]),
            "duration_ms": st.sampled_from([None, 0.0, 200.0, 500.5]),
        }
    ),
    min_size=1,
    max_size=6,
)


def holds(tree: Filter, row: Row) -> bool:
    """The oracle: what the filter says of a row, in plain Python."""
    if isinstance(tree, Not):
        return not holds(tree.part, row)
    if isinstance(tree, Every):
        return all(holds(part, row) for part in tree.parts)
    if isinstance(tree, Either):
        return any(holds(part, row) for part in tree.parts)
    status = row["status"]
    value = row[COLUMNS.get(tree.field, tree.field)] if tree.field != "failed" else None
    if tree.field == "failed":
        value = (status or 0) >= 500 or (row["error_type"] is not None and (status or 0) < 400)
    if tree.operator == "null":
        return value is None
    if tree.operator == "between":
        return value is not None and tree.values[0] <= value < tree.values[1]
    (wanted,) = tree.values
    if tree.field == "method" and tree.operator in {"=", "!="}:
        value, wanted = (None if value is None else value.lower()), str(wanted).lower()
    match tree.operator:
        case "=":
            return bool(value == wanted)
        case "!=":
            return bool(value != wanted)
        case "~":
            return value is not None and re.search(str(wanted), value) is not None
        case "!~":
            return value is None or re.search(str(wanted), value) is None
    order = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[tree.operator]
    return value is not None and bool(order(value, wanted))


@settings(max_examples=150)
@given(TREES, ROWS)
def test_duckdb_answers_what_the_filter_says(tree: Filter, rows: list[Row]) -> None:
    predicate, words = compiled(tree, expression("failed"))
    for value in VALUES:
        assert f"'{value}'" not in predicate  # bound, never written into the statement
    lake = SHARED.cursor()
    lake.execute(
        "create or replace temp table requests (request_id varchar, service varchar, method varchar, "
        "path varchar, error_type varchar, status integer, duration_ms double, nth integer)"
    )
    lake.executemany(
        "insert into requests values (?, ?, ?, ?, ?, ?, ?, ?)",
        [[*(row[name] for name in NAMES), nth] for nth, row in enumerate(rows)],
    )
    found = lake.execute(f"select nth from requests where coalesce({predicate}, false)", words).fetchall()
    assert {nth for (nth,) in found} == {nth for nth, row in enumerate(rows) if holds(tree, row)}


SHARED = duckdb.connect()


def test_every_field_is_compiled() -> None:
    for name in FIELDS:
        predicate, _ = compiled(Comparison(name, "null", ()), "false")
        assert "is null" in predicate
    assert DEPTH_MAX < 100
