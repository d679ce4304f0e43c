"""The look of a history and a blame, byte for byte."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from flux.cli.story import Look, Names, blame_lines, history_lines

PLAIN = Look(zone=UTC, key=frozenset({"id"}))
ALICE = {"application_name": "psql", "db_user": "alice", "client_addr": "10.0.0.7"}
REQUESTS = {short: f"{short}-52c8-4bb0-9fd1-000000000000" for short in ("a3c91ef0", "4f9a3b2c", "550e8400")}


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-10T{text}+00:00")


def mutation(when: str, op: str, changed: dict[str, Any], **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "at": at(when),
        "op": op,
        "outcome": "committed",
        "request_id": None,
        "actor": None,
        "context": {},
        "changed": {name: {"from": old, "to": new} for name, (old, new) in changed.items()},
    }
    return made | more


MUTATIONS = [
    mutation(
        "12:00:00",
        "insert",
        {"id": (None, "42"), "email": (None, "a@b.com"), "name": (None, None), "plan": (None, "free")},
        context=ALICE,
    ),
    mutation("14:21:59.25", "update", {"name": (None, "Alice Smith")}, request_id=REQUESTS["a3c91ef0"]),
    mutation("14:22:01", "update", {"plan": ("free", "pro")}, request_id=REQUESTS["4f9a3b2c"]),
    mutation(
        "14:22:01.5",
        "update",
        {"plan": ("pro", None)},
        request_id=REQUESTS["550e8400"],
        outcome="rolled_back",
    ),
]


def history(mutations: list[dict[str, Any]], look: Look = PLAIN) -> str:
    return "".join(history_lines("users id=42", mutations, look))


def test_where_a_row_appears_only_the_columns_asked_for_are_listed() -> None:
    look = Look(zone=UTC, only=frozenset({"plan"}), key=frozenset({"id"}))
    first = history(MUTATIONS, look).splitlines()[2]
    assert "plan: free" in first
    assert "email" not in first
    # What is not among the columns of a change hides nothing.
    assert history(MUTATIONS, Look(zone=UTC, only=frozenset({"x"}), key=frozenset({"id"}))) == history(
        MUTATIONS
    )


def test_the_history_of_the_contract() -> None:
    assert history(MUTATIONS) == (
        "users id=42  (4 mutations: 3 committed, 1 rolled back)\n"
        "\n"
        "  2026-03-10 12:00:00  INSERT  email: a@b.com, plan: free            psql alice@10.0.0.7\n"
        "  2026-03-10 14:21:59  UPDATE  name: null → Alice Smith              req:a3c91ef0\n"
        "  2026-03-10 14:22:01  UPDATE  plan: free → pro                      req:4f9a3b2c\n"
        "  2026-03-10 14:22:01  UPDATE  plan: pro → null        ROLLED BACK   req:550e8400\n"
    )


def test_the_blame_of_the_contract() -> None:
    owned = [
        ("email", "a@b.com", MUTATIONS[0]),
        ("name", "Alice Smith", MUTATIONS[1]),
        ("plan", "pro", MUTATIONS[2]),
    ]
    columns = [
        {"column": name, "value": value, "rolled_back": []}
        | {field: owner[field] for field in ("at", "op", "request_id", "actor", "context")}
        for name, value, owner in owned
    ]
    attempt = {
        "value": None,
        "at": at("14:22:01"),
        "request_id": REQUESTS["550e8400"],
        "outcome": "rolled_back",
    }
    columns[2]["rolled_back"] = [attempt]
    assert "".join(blame_lines(columns, PLAIN)) == (
        "  email   a@b.com       2026-03-10 12:00:00  psql alice@10.0.0.7\n"
        "  name    Alice Smith   2026-03-10 14:21:59  req:a3c91ef0\n"
        "  plan    pro           2026-03-10 14:22:01  req:4f9a3b2c   ✗ req:550e8400 tried null, rolled back\n"
    )
    columns[2]["rolled_back"] = [attempt, attempt | {"value": "", "outcome": "savepoint_rolled_back"}]
    assert "".join(blame_lines(columns[2:], PLAIN)) == (
        "  plan   pro   2026-03-10 14:22:01  req:4f9a3b2c   ✗ req:550e8400 tried null, rolled back\n"
        + " " * 51
        + "✗ req:550e8400 tried '', rolled back to savepoint\n"
    )


def test_a_gap_lies_where_it_is() -> None:
    lost = {"from_at": at("13:00:00"), "to_at": at("13:30:00"), "reason": "the slot was lost"}
    open_gap = {"from_at": at("15:00:00"), "to_at": None, "reason": "capture is\x1b[2J behind"}
    lines = history([MUTATIONS[0], {"gap": lost}, *MUTATIONS[1:], {"gap": open_gap}]).splitlines()
    assert lines[3] == (
        "  -- gap: 2026-03-10 13:00:00 to 2026-03-10 13:30:00, changes may be missing: the slot was lost"
    )
    assert lines[-1] == (
        "  -- gap: 2026-03-10 15:00:00 to now, changes may be missing: capture is\\x1b[2J behind"
    )


def test_special_values() -> None:
    text = history(
        [
            mutation(
                "12:00:00",
                "update",
                {"score": ("1", None), "note": (None, ""), "id": ("41", "42")},
                lossy=["score"],
                unknown=["note"],
            ),
            mutation("12:00:01", "update", {"note": ("", "a\nb\x1b[31m\u202e")}),
            mutation(
                "12:00:02", "update", {"note": ("y", "0123456789" * 10)}, outcome="savepoint_rolled_back"
            ),
            mutation("12:00:03", "delete", {"note": ("y", None), "id": ("42", None)}),
        ],
        look=Look(zone=ZoneInfo("Europe/Berlin"), key=frozenset({"id"})),
    )
    assert text == (
        "users id=42  (4 mutations: 3 committed, 1 rolled back to a savepoint)\n"
        "\n"
        "  2026-03-10 13:00:00  UPDATE  score: 1 → null or NaN, note: (unknown) → '', id: 41 → 42\n"
        "  2026-03-10 13:00:01  UPDATE  note: '' → a\\nb\\x1b[31m\\u202e\n"
        "  2026-03-10 13:00:02  UPDATE  note: y → 012345678901234567890123…78901234567890123456789"
        "      ROLLED BACK TO SAVEPOINT\n"
        "  2026-03-10 13:00:03  DELETE  note: y\n"
    )


def test_a_history_of_many_rows_names_each() -> None:
    rows = [MUTATIONS[1] | {"key": "42"}, MUTATIONS[3] | {"key": "1042"}]
    assert "".join(history_lines("users", rows, Look(zone=UTC, many=True))) == (
        "users  (2 mutations: 1 committed, 1 rolled back)\n"
        "\n"
        "  2026-03-10 14:21:59  UPDATE  42    name: null → Alice Smith              req:a3c91ef0\n"
        "  2026-03-10 14:22:01  UPDATE  1042  plan: pro → null        ROLLED BACK   req:550e8400\n"
    )


def test_many_columns_go_on_in_the_next_line() -> None:
    row = {f"column_{number}": (None, "some value") for number in range(6)}
    lines = history([mutation("12:00:00", "insert", row, context=ALICE)]).splitlines()
    indent = " " * len("  2026-03-10 12:00:00  INSERT  ")
    assert lines[2:] == [
        "  2026-03-10 12:00:00  INSERT  column_0: some value, column_1: some value,"
        + "   psql alice@10.0.0.7".rjust(len("   psql alice@10.0.0.7")),
        indent + "column_2: some value, column_3: some value,",
        indent + "column_4: some value, column_5: some value",
    ]


def test_colour_changes_no_other_byte() -> None:
    coloured = history(MUTATIONS, look=Look(zone=UTC, key=frozenset({"id"}), colour=True))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == history(MUTATIONS)


def test_requests_are_named_as_short_as_they_are_told_apart() -> None:
    names = Names(["550e8400-aaaa", "550e8400-ab", "short", "4f9a3b2c-1", None])
    assert names.request("550e8400-aaaa") == "req:550e8400-aa"
    assert names.request("550e8400-ab") == "req:550e8400-ab"
    assert names.request("4f9a3b2c-1") == "req:4f9a3b2c"
    assert names.request("short") == "req:short"
    assert names.request("a\nb") == "req:a\\nb"


def test_who_wrote_untagged() -> None:
    names = Names([])
    assert names.who(mutation("12:00:00", "update", {}, context=ALICE)) == "psql alice@10.0.0.7"
    local = {"application_name": None, "db_user": "alice", "client_addr": None}
    assert names.who(mutation("12:00:00", "update", {}, context=local)) == "alice@local"
    assert names.who(mutation("12:00:00", "update", {}, context=None)) == ""
