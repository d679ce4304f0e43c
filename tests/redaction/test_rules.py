"""Rules as `flux.toml` has them, and what they do to columns, keys, texts and errors. No server."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pyarrow as pa
import pytest

from flux.model.batch import CHANGES, CONTEXTS, ROW
from flux.model.cipher import Cipher, parse_key
from flux.model.errors import UsageError
from flux.model.json_path import parse_path, places
from flux.model.key import key_text
from flux.model.redaction import MASK, Policy
from flux.model.relation import ROW_TEXT, Column, Relation
from flux.redaction import Redactor, failures
from flux.redaction.reveal import revealed
from redaction.policies import KEY, rules

USERS = Relation(
    16384,
    "public.users",
    16384,
    "public.users",
    1,
    tuple(
        Column(name, "text", place, name == "id", not_null=False)
        for place, name in enumerate(("id", "email", "note"), 1)
    ),
    ("id",),
    row_columns=("id", "email", "note"),
)


def changes(*rows: dict[str, str | None], key: str = "id", relation_id: int = 16384) -> pa.Table:
    """Return a change for each row."""
    filled = {
        "lsn": pa.array(np.arange(len(rows), dtype=np.uint64) + 10),
        "relation": pa.array(["public.users"] * len(rows)),
        "relation_id": pa.array([relation_id] * len(rows), pa.uint32()),
        "key": pa.array([row.get(key) for row in rows], pa.string()),
        "after": pa.array([list(row.items()) for row in rows], ROW),
    }
    nothing = {field.name: pa.nulls(len(rows), field.type) for field in CHANGES}
    return pa.table({**nothing, **filled})


def stored(
    policy: Policy, *rows: dict[str, str | None], relation: Relation = USERS
) -> list[dict[str, str | None]]:
    """Return the rows as they are stored, with their keys."""
    done = Redactor(policy, [relation]).changes(
        changes(*rows, key=relation.key[0], relation_id=relation.root_id)
    )
    return [{"key": row["key"], **dict(row["after"])} for row in done.select(["key", "after"]).to_pylist()]


def test_each_action_keeps_what_it_says() -> None:
    row: dict[str, str | None] = {"id": "1", "email": "ann@example.org", "note": None}
    for action, kept in (
        ("mask", MASK),
        ("last4", "[….org]"),
        ("hash", KEY.hashed("ann@example.org")),
        ("encrypt", KEY.encrypted("ann@example.org")),
    ):
        assert stored(rules(f"{action} relation=users column=email"), row) == [
            {"key": "1", **row, "email": kept}
        ]
    assert stored(rules("drop column=email"), row) == [{"key": "1", "id": "1", "note": None}]
    # NULL stays NULL, a short text is masked whole, the first rule that names a column decides.
    assert stored(rules("mask column=*ote", "hash column=id"), row)[0]["note"] is None
    assert (
        stored(rules("last4 column=email", "mask column=email"), {"id": "1", "email": "1234567"})[0]["email"]
        == MASK
    )
    assert stored(rules("mask relation=other.users column=email"), row) == [{"key": "1", **row}]


def test_a_key_stays_a_key() -> None:
    hashed, encrypted = KEY.hashed("1"), KEY.encrypted("1")
    assert stored(rules("hash column=id"), {"id": "1"}) == [{"key": hashed, "id": hashed}]
    assert stored(rules("encrypt column=id"), {"id": "1"}) == [{"key": encrypted, "id": encrypted}]
    for action in ("mask", "drop", "last4"):
        with pytest.raises(UsageError, match=r"rule 1 in flux\.toml cannot"):
            Redactor(rules(f"{action} column=id")).relation(USERS)
    # A pattern in a key: different rows stay different rows.
    (one, two) = stored(rules(r"mask pattern=\d{4,}"), {"id": "a 12345"}, {"id": "a 54321"})
    assert one["key"] == one["id"] == f"a {KEY.hashed('12345')}"
    assert two["key"] != one["key"]
    both = dataclasses.replace(USERS, key=("note", "id"))
    done = Redactor(rules("hash column=note"), [both]).changes(
        changes({"id": "1", "note": 'a"é', "both": '["a\\"é","1"]'}, key="both")
    )
    assert done.column("key").to_pylist() == [key_text([KEY.hashed('a"é'), "1"])]


def test_a_rule_holds_under_every_name() -> None:
    redactor = Redactor(rules("mask relation=users column=email"), [USERS])
    columns = (USERS.columns[0], dataclasses.replace(USERS.columns[1], name="mail"), USERS.columns[2])
    redactor.learn(
        [dataclasses.replace(USERS, relation="app.people", root="app.people", columns=columns, lsn=9)]
    )
    done = redactor.changes(changes({"id": "1", "mail": "x", "email": "y", "note": "z"}))
    assert dict(done.column("after").to_pylist()[0]) == {"id": "1", "mail": MASK, "email": MASK, "note": "z"}
    # Of a relation that is not known, and of a row that is kept whole, nothing is kept that might be meant.
    done = redactor.changes(changes({"id": "1", "email": "x"}, relation_id=7))
    assert dict(done.column("after").to_pylist()[0]) == {"id": "1", "email": MASK}
    done = redactor.changes(changes({ROW_TEXT: "(1,x)"}))
    assert dict(done.column("after").to_pylist()[0]) == {ROW_TEXT: MASK}


def test_slices_and_views_of_the_stream() -> None:
    table = changes(
        {"id": "1", "email": "a"}, {"id": "2", "email": "b"}, {"id": "3"}, {"id": "4", "email": "d"}
    )
    views = table.column("after").combine_chunks()
    views = views.cast(pa.map_(pa.string(), pa.string_view()))
    place = table.schema.get_field_index("after")
    table = table.set_column(place, "after", pa.chunked_array([views.slice(0, 1), views.slice(1)]))
    done = Redactor(rules("drop column=email", "mask pattern=[34]"), [USERS]).changes(table.slice(1, 3))
    assert [dict(row) for row in done.column("after").to_pylist()] == [
        {"id": "2"},
        {"id": KEY.hashed("3")},
        {"id": KEY.hashed("4")},
    ]


def test_patterns_and_paths_inside_of_texts() -> None:
    policy = rules(
        r"encrypt pattern=\d{3}(?:-\d+)?", "mask pattern=[a-z]{5,}", r"hash json=$.a.b", "drop json=$.c"
    )
    one, two, three = (
        row["note"]
        for row in stored(
            policy,
            {"id": "x", "note": "é123 and 456-7 hello"},
            {"id": "y", "note": '{"c": 1, "a": {"b": "secret 123"}, "c": [1, {"x": 2}]}'},
            {"id": "z", "note": "\U000f0000 123"},
        )
    )
    assert one == f"é{KEY.encrypted('123')} and {KEY.encrypted('456-7')} {MASK}"
    assert two == f'{{ "a": {{"b": "{KEY.hashed("secret 123")}"}}}}'
    assert three == f"\ufffd {KEY.encrypted('123')}"


def test_json_paths() -> None:
    text = '{"card": {"number": "1"}, "items": [{"sku": 2}, {"x": {"sku": {"y": [3]}}}], '
    text += '"a b": null, "n\\u0061me": 4}'
    for path, expected in (
        ("$.card.number", ['"1"']),
        ("$.items[*].sku", ["2"]),
        ("$..sku", ["2", '{"y": [3]}']),
        ("$.items[1]", ['{"x": {"sku": {"y": [3]}}}']),
        ('$["a b"]', ["null"]),
        ("$.name", ["4"]),
        ("$.*.number", ['"1"']),
    ):
        assert [text[place.start : place.end] for place in places(text, [parse_path(path)])] == expected
    cut = '{"a": {"pin": "12345\n[flux: cut, 16 of 99 bytes]'
    (place,) = places(cut, [parse_path("$..pin")])
    assert cut[: place.start] == '{"a": {"pin": '
    assert place.end == len(cut)
    for wrong in ("a.b", "$", "$.", "$[x]", "$a"):
        with pytest.raises(ValueError, match="JSON path"):
            parse_path(wrong)


@pytest.mark.parametrize(
    "words",
    [
        "zap column=x",
        "mask",
        "mask header=a json=$.x",
        "mask json=x",
        "mask colum=x",
        "mask pattern=(",
        "mask pattern=a*",
        "mask column=",
    ],
)
def test_a_bad_rule_is_named(words: str) -> None:
    with pytest.raises(UsageError, match=r"rule 2 in flux\.toml cannot be used"):
        rules("mask column=fine", words)


def test_a_key_is_needed_and_never_shown() -> None:
    with pytest.raises(UsageError, match=r"rule 1 in flux\.toml needs a key to hash"):
        rules("hash column=x", cipher=None)
    assert repr(KEY.key) not in repr(KEY)
    text = "ab" * 32
    assert parse_key(text, origin="X").key == bytes.fromhex(text)
    for wrong in ("ab" * 31, "secret-word", "é"):
        with pytest.raises(UsageError) as caught:
            parse_key(wrong, origin="KEY_OF_OURS")
        assert "KEY_OF_OURS" in str(caught.value)
        assert wrong not in str(caught.value)


def test_encrypted_values_come_back_with_their_key() -> None:
    token = KEY.encrypted("é 'x'")
    assert re.fullmatch(r"flux:enc:v1:[0-9a-f]{8}:[A-Za-z0-9_-]+;", token)
    table = pa.table(
        {
            "text": [f"a{token}b", None],
            "map": pa.array([[("k", token)], None], ROW),
            "list": pa.array([[token, "x"], []], pa.list_(pa.struct([("y", pa.string())]).field(0).type)),
            "number": [1, 2],
        }
    )
    shown = revealed(table, KEY).to_pylist()
    assert shown[0] == {"text": "aé 'x'b", "map": [("k", "é 'x'")], "list": ["é 'x'", "x"], "number": 1}
    with pytest.raises(UsageError, match="cannot reveal with this key"):
        revealed(table, Cipher(bytes(32)))
    with pytest.raises(UsageError, match="cut or damaged"):
        KEY.revealed(token[:-3] + "AA;")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("DETAIL:  Key (email)=(a (b)\nc) already exists.", f"DETAIL:  Key (email)=({MASK}) already exists."),
        (
            "DETAIL:  Key (lower(email::text), id)=(a, 1) already exists.",
            f"DETAIL:  Key (lower(email::text), id)=({MASK}) already exists.",
        ),
        ("DETAIL:  Schlüssel »(email)=(a)« existiert bereits.", None),
        ("DETAIL:  Key (id)=(1) already exists.", "DETAIL:  Key (id)=(1) already exists."),
        (
            "DETAIL:  Failing row contains (1, a), b\nc).\nCONTEXT:  x 'm'",
            f"DETAIL:  Failing row contains ({MASK}).\nCONTEXT:  x '{MASK}'",
        ),
        ('invalid input syntax for type date: "a@b"', f'invalid input syntax for type date: "{MASK}"'),
        (
            "LINE 1: insert into users (email) values ('m'",
            f"LINE 1: insert into users (email) values ('{MASK}'",
        ),
        (
            "x\n[SQL: select 'm' from users]\n[parameters: {'a': 'm'}]",
            f"x\n[SQL: select '{MASK}' from users]\n[parameters: {MASK}]",
        ),
        ("permission denied (really)", "permission denied (really)"),
    ],
)
def test_errors_quote_nothing(text: str, kept: str | None) -> None:
    redactor = Redactor(rules("mask relation=users column=email"), [USERS])
    done = redactor.texts.inside_one(text, list(failures.edits(text, redactor.known, redactor.texts)))
    assert done == kept if kept is not None else "(a)" not in done


def test_statements_of_contexts() -> None:
    redactor = Redactor(rules("mask relation=users column=email", "hash json=$.pin"), [USERS])
    said = ["update users set email = 'é', note = 'n'", "update t set d = '{\"pin\": \"it''s\"}'", None]
    contexts = pa.Table.from_pylist(
        [{**dict.fromkeys(CONTEXTS.names), "statement": text} for text in said], CONTEXTS
    )
    done = redactor.contexts(contexts)
    assert done.column("statement").to_pylist() == [
        f"update users set email = '{MASK}', note = 'n'",
        f'update t set d = \'{{"pin": "{KEY.hashed(chr(105) + "t" + chr(39) + "s")}"}}\'',
        None,
    ]
