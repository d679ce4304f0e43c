"""Which literal of a statement belongs to which column, and what is in doubt."""

from __future__ import annotations

import pytest

from flux.sql.statements import DOUBT, Table, literals

EMAIL, SSN = 1, 2
TABLES = {
    "users": Table(("id", "email", "plan", "ssn"), {"email": EMAIL, "ssn": SSN}),
    "orders": Table(("id", "n"), {}),
}


def unknown(column: str) -> int | None:
    return {"email": EMAIL, "ssn": SSN, "*": EMAIL}.get(column)


def read(text: str) -> list[tuple[str, int | None]]:
    raw = text.encode()
    found = literals(raw, lambda _schema, name: TABLES.get(name), unknown)
    return [(each.parameter or raw[each.start : each.end].decode(), each.verdict) for each in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("insert into users values (1, 'a@b', 'free', -5)", [None, EMAIL, None, SSN]),
        ("insert into users (plan, email) values ('x', 'm'), ('y', E'\\'m')", [None, EMAIL, None, EMAIL]),
        ("insert into users (email) select 'm' where 'q' = 'q'", [EMAIL, DOUBT, DOUBT]),
        ("insert into users select 1, *, 'k' from (values ('m', 'n')) v", [None, DOUBT, DOUBT, DOUBT]),
        ("update users set plan = 'p', email = lower('m') where id = 3", [None, EMAIL, None]),
        ("update users set (email, plan) = ('m', 'p')", [EMAIL, EMAIL]),
        ("delete from users where email in ('m', 'n') and plan = 'q'", [EMAIL, EMAIL, None]),
        ("select * from users u join orders o on o.id = u.id where u.ssn = 12 and o.n = 5", [SSN, None]),
        ("select * from users where lower(email) like 'm%' limit 10", [EMAIL, None]),
        ("select case when email = 'm' then 'x' end from users", [EMAIL, EMAIL]),
        ("with n (e) as (values ('m')) insert into users (email) select e from n", [DOUBT]),
        ("insert into users (plan) values ('p') on conflict (id) do update set email = 'm'", [None, EMAIL]),
        ("alter table users add column email varchar(10) default 'm'", [None, EMAIL]),
        ("select * from orders where n = 3 and id = 4", [None, None]),
        # A view, or a table that is not tracked: by the column's name.
        ("select * from people where email = 'm' and n = 'x'", [EMAIL, None]),
        ("insert into people values ('m')", [DOUBT]),
        ("select sign_up('m'), lower('x')", [DOUBT, None]),
        ("select set_config('flux.request_id', 'r', true)", [None, None]),
        ("do $$ begin update users set email = 'm'; end $$", [DOUBT]),
        ("execute p('m')", [DOUBT]),
        # Cut, and so none that can be read.
        ("update users set email = 'cut off here", [DOUBT]),
        ("select 1 frm x; select 'm'", [DOUBT, DOUBT]),
        # Several at once, and places beyond letters of one byte.
        ("select 1; insert into users (plan) values ('é'); select 'x' from users", [None, None, DOUBT]),
        ("update users set plan = 'p' -- where email = 'm'", [None, DOUBT]),
        ("begin", []),
    ],
)
def test_literals_belong_to_columns(text: str, expected: list[int | None]) -> None:
    assert [verdict for _, verdict in read(text)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("insert into users (email, plan) values ($2, $1)", [("1", EMAIL), ("0", None)]),
        ("insert into users (email, plan) values (%s, %s)", [("0", EMAIL), ("1", None)]),
        ("insert into users (email) values (%(mail)s)", [("mail", EMAIL)]),
        ("select * from users where email = :mail and id = :id::int", [("mail", EMAIL), ("id", None)]),
        ("select * from users where email = ? and id = ?", [("0", EMAIL), ("1", None)]),
        ("select * from users where plan like 'a%%' and email = %s", [("'a%%'", None), ("0", EMAIL)]),
        ("select a[1:2], x ? 'k' from orders", [("1", None), ("2", None), ("'k'", None)]),
    ],
)
def test_parameters_of_every_driver(text: str, expected: list[tuple[str, int | None]]) -> None:
    assert read(text) == expected


def test_a_deep_statement_is_in_doubt_and_does_no_harm() -> None:
    deep = "select * from users where " + "(" * 5000 + "email = 'm'" + ")" * 5000
    assert read(deep)[-1] in {("'m'", DOUBT), ("'m'", EMAIL)}
    wide = "select " + " || ".join(["'x'"] * 5000)
    assert len(read(wide)) == 5000
