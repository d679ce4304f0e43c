"""What a statement was about to write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.sql.attempted import STATEMENT_LENGTH_MAX, Attempted, Value, attempted


def known(text: str | None) -> Value:
    return Value(text, is_known=True)


def written(text: str) -> Value:
    return Value(text, is_known=False)


@pytest.mark.parametrize(
    ("statement", "parameters", "expected"),
    [
        (
            "update users set plan = %s, n = n + 1 where id = %(id)s and x in (1)",
            {"0": None, "id": "42"},
            Attempted(
                "update", "users", ({"plan": known(None), "n": written("n + 1")},), {"id": known("42")}
            ),
        ),
        (
            """insert into shop.orders (id, total, ok)
            values ($1, 3.5::numeric, true), (default, 'it''s %s', $2)""",
            ["7", None],
            Attempted(
                "insert",
                "shop.orders",
                (
                    {"id": known("7"), "total": known("3.5"), "ok": known("true")},
                    {"id": written("default"), "total": known("it's %s"), "ok": known(None)},
                ),
                {},
            ),
        ),
        (
            "with gone as (delete from carts where user_id = 5 returning *) select * from gone",
            [],
            Attempted("delete", "carts", (), {"user_id": known("5")}),
        ),
        (
            "insert into log (who) select $1 -- 100%s\n",
            ["alice"],
            Attempted("insert", "log", ({"who": known("alice")},), {}),
        ),
        (
            "update t set a = 10 %% 3, b = $1 where (a, b) = (1, 2) or c = 3",
            [],
            Attempted("update", "t", ({"a": written("10 % 3"), "b": written("$1")},), {}),
        ),
        ("select 1", [], None),
        ("update users set", [], None),
        ("update users set a = 1 where id = :id", [], None),
        ("insert into a select * from b", [], Attempted("insert", "a", (), {})),
    ],
)
def test_what_it_attempted(statement: str, parameters: list[str | None], expected: Attempted | None) -> None:
    assert attempted(statement, parameters) == expected


def test_a_statement_too_long_is_not_read() -> None:
    assert attempted("insert into t (a) values ('" + "x" * STATEMENT_LENGTH_MAX + "')") is None


@given(st.text(max_size=80))
def test_any_text_is_read_or_not(text: str) -> None:
    attempted(text)
    attempted(f"update t set a = '{text}' where b = %s", ["x"])
