"""Markers are planted in every field of every path; then every byte of the ledger's folder is searched."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from capture.rig import Rig, make_rig
from flux.capture import tracking
from flux.decoder import spill
from flux.ledger.writer import Writer
from flux.model.redaction import MASK
from flux.model.request import EXCHANGES, REQUESTS, SPANS
from flux.redaction import Redactor
from ledger.calls import START, rows_of
from redaction.markers import Markers, contents, spilled
from redaction.policies import KEY, policy
from servers import Database, eventually, on

RULES = r"""
redact = [
  { relation = "public.users", column = "email", action = "mask" },
  { relation = "public.users", column = "card", action = "last4" },
  { relation = "users", column = "ssn", action = "hash" },
  { relation = "public.users", column = "tok*", action = "encrypt" },
  { column = "gone", action = "drop" },
  { column = "added", action = "mask" },
  { relation = "public.accounts", column = "mail", action = "hash" },
  { relation = "public.orders", column = "who", action = "encrypt" },
  { relation = "public.parted", column = "secret", action = "mask" },
  { header = "x-gone", action = "drop" },
  { header = "x-secret*", action = "hash" },
  { json = "$.pin", action = "mask" },
  { json = "$..deep.code", action = "encrypt" },
  { json = "$.items[*].sku", action = "drop" },
  { json = "$.away", action = "drop" },
  { pattern = '\b4\d{15}\b', action = "hash" },
]
"""

TABLES = (
    """create table users (id int primary key, email text, card text, ssn text, token text, gone text,
                           doc jsonb, note text, big text)""",
    "create table accounts (mail text primary key, name text)",
    "create table orders (who text, no text, detail text, primary key (no, who))",
    """create table parted (id int, secret text, primary key (id)) partition by range (id);
       create table parted_low partition of parted for values from (0) to (100);
       create table parted_high partition of parted for values from (100) to (200)""",
    "create table bag (note text, gone text)",
)
NAMES = ("users", "accounts", "orders", "parted", "bag")


def user(markers: Markers, where: str, number: int) -> dict[str, Any]:
    """Return a row of `users` with a marker in every column."""

    def one(column: str) -> str:
        return markers.text(f"{where} users.{column}")

    doc = {
        "pin": one("doc.pin"),
        "a": [{"deep": {"code": one("doc..deep.code")}}],
        "items": [{"sku": one("doc.items[0].sku"), "n": 1}, {"sku": one("doc.items[1].sku")}],
        "away": {"x": one("doc.away")},
        "free": f"card {markers.card(f'{where} users.doc.free')}",
    }
    return {
        "id": number,
        "email": one("email"),
        "card": one("card"),
        "ssn": one("ssn"),
        "token": one("token") + "é '\\",
        "gone": one("gone"),
        "doc": json.dumps(doc),
        "note": f"called from {markers.card(f'{where} users.note')}, and again",
        "big": "x" * 70_000 + f" {markers.card(f'{where} users.big')} " + "y" * 10,
    }


def literal(value: object) -> str:
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def insert(table: str, row: dict[str, Any]) -> str:
    names, values = ", ".join(row), ", ".join(map(literal, row.values()))
    return f"insert into {table} ({names}) values ({values})"


def update(table: str, row: dict[str, Any]) -> str:
    settings = ", ".join(f"{name} = {literal(value)}" for name, value in row.items() if name != "id")
    return f"update {table} set {settings} where id = {row['id']}"


def tag(connection: psycopg.Connection[Any], markers: Markers, where: str) -> None:
    attributes = {
        "pin": markers.text(f"{where} attributes.pin"),
        "away": markers.text(f"{where} attributes.away"),
    }
    attributes["free"] = markers.card(f"{where} attributes.free")
    attributes["nested"] = {"deep": {"code": markers.text(f"{where} attributes.nested.deep.code")}}  # type: ignore[assignment]
    attributes[markers.card(f"{where} attributes' name")] = "x"
    settings = {
        "flux.request_id": f"req-{markers.card(f'{where} request_id')}",
        "flux.actor": f"user {markers.card(f'{where} actor')}",
        "flux.attributes": json.dumps(attributes),
        "application_name": f"app {markers.card(f'{where} application_name')}",
    }
    for name, value in settings.items():
        connection.execute("select set_config(%s, %s, true)", (name, value))


@pytest.fixture
def markers() -> Markers:
    return Markers()


@pytest.fixture
def rig(database: Database, tmp_path: Path, markers: Markers) -> Rig:
    """Every table with rows before capture began, tracked with rollbacks."""
    with database.connect() as connection:
        for statement in TABLES:
            connection.execute(statement)
        connection.execute(insert("users", user(markers, "baseline", 1)))
        connection.execute(insert("users", user(markers, "baseline", 2)))
        plant(connection, markers, "baseline", 1)
    made = make_rig(database, tmp_path, *(name for name in NAMES if name != "bag"))
    with database.connect() as connection:
        tracking.track(connection, ["bag"], rollbacks=True)
    made.settings = replace(made.settings, redaction=policy(RULES))
    return made


def plant(connection: psycopg.Connection[Any], markers: Markers, where: str, number: int) -> None:
    """Insert a marked row into the other tables."""
    connection.execute(insert("accounts", {"mail": markers.text(f"{where} accounts key"), "name": "n"}))
    connection.execute(
        insert(
            "orders",
            {
                "who": markers.text(f"{where} orders key"),
                "no": markers.card(f"{where} orders.no, by pattern in a key"),
                "detail": markers.card(f"{where} orders.detail"),
            },
        )
    )
    for place in (number, 100 + number):
        connection.execute(insert("parted", {"id": place, "secret": markers.text(f"{where} parted.secret")}))
    connection.execute(
        insert("bag", {"note": markers.card(f"{where} bag.note"), "gone": markers.text(f"{where} bag.gone")})
    )


def work(rig: Rig, markers: Markers) -> None:
    """Change everything, in every way a change can come."""
    with rig.database.connect(autocommit=False) as connection:
        tag(connection, markers, "committed")
        connection.execute(insert("users", user(markers, "insert", 10)))
        connection.execute(update("users", user(markers, "update", 1)))
        connection.execute(update("users", user(markers, "update", 10)))
        plant(connection, markers, "insert", 10)
        connection.execute("delete from users where id = 2")
        connection.commit()
    with rig.database.connect(autocommit=False) as connection:
        tag(connection, markers, "rolled back")
        connection.execute(insert("users", user(markers, "rolled back", 20)))
        connection.execute(update("users", user(markers, "rolled back", 1)))
        plant(connection, markers, "rolled back", 20)
        connection.execute("delete from users where id = 1")
        connection.rollback()
    with rig.database.connect(autocommit=False) as connection:
        tag(connection, markers, "savepoint")
        connection.execute(insert("users", user(markers, "before a savepoint", 30)))
        connection.execute("savepoint one")
        connection.execute(insert("users", user(markers, "savepoint", 31)))
        plant(connection, markers, "savepoint", 31)
        connection.execute("rollback to savepoint one")
        connection.commit()
    with rig.database.connect(autocommit=False) as connection:
        # A name that no commit ever brings.
        connection.execute("alter table users rename column email to mailed")
        connection.execute(f"update users set mailed = '{markers.text('renamed, rolled back')}' where id = 1")
        connection.rollback()
    one = markers.text("accounts moved")
    two = markers.text("accounts moved again")
    rig.execute(
        f"insert into accounts values ('{one}', 'n')",
        f"update accounts set mail = '{two}' where mail = '{one}'",
        f"delete from accounts where mail = '{two}'",
        f"alter table users add column added text default '{markers.text('ddl default')}'",
        f"alter table users alter column email set default '{markers.text('ddl set default')}'",
        "alter table users rename column email to mail",
        "alter table users rename to customers",
        f"update customers set mail = '{markers.text('renamed')}' where id = 1",
        f"do $$ begin update customers set mail = '{markers.text('do block')}' where id = 1; end $$",
        # Cut where the statement is longer than what is kept of it.
        f"update customers set mail = '{markers.text('cut statement')}', note = '{'z' * 3000}' where id = 1",
    )


def search(rig: Rig, markers: Markers) -> dict[str, list[str]]:
    """Return where each marker that was found was planted, with the files."""
    found: dict[str, list[str]] = {}
    for name, content in contents(rig.settings.ledger):
        for where in markers.found(content).values():
            found.setdefault(where, []).append(name)
    return found


def test_no_marker_reaches_the_ledger(rig: Rig, markers: Markers) -> None:
    rig.once()
    work(rig, markers)
    rig.once()
    with closing(
        Writer.open(rig.settings.ledger, source="shop", redaction=Redactor(policy(RULES)))
    ) as writer:
        writer.record(*told(markers))
        assert search(rig, markers) == {}
        writer.maintain(force=True)
    assert search(rig, markers) == {}
    assert rig.ask("select count(*) from requests") == [(1,)]
    assert MASK in str(rig.ask("select after from changes where relation = 'public.users'"))
    # Nothing of a value in what is said, and a baseline of unchanged rows finds them unchanged.
    assert not [line for line in rig.lines if markers.found(line.encode())]
    with rig.asking():
        before = rig.ask("select relation, op, key, after from changes order by all")
        ((token,),) = rig.ask(
            "select after['token'] from changes where relation = 'public.users' and key = '1' "
            "and op = 'baseline'"
        )
    assert KEY.revealed(token).endswith("é '\\")
    rig.once(resnapshot=True)
    assert rig.ask("select relation, op, key, after from changes order by all") == before


@on((18, "pgoutput"))
def test_without_rules_the_search_finds_every_marker(rig: Rig, markers: Markers) -> None:
    """So where it finds none, there is none: each was planted where it is stored."""
    rig.settings = replace(rig.settings, redaction=None)
    rig.once()
    work(rig, markers)
    rig.once()
    with Writer.open(rig.settings.ledger, source="shop") as writer:
        writer.record(*told(markers))
        writer.maintain(force=True)
    assert set(markers.planted.values()) - set(search(rig, markers)) == set()


def told(markers: Markers) -> tuple[Any, Any, Any]:
    """Return a request with its spans and exchanges, a marker in every field."""
    card, text = markers.card, markers.text

    def headers(where: str) -> list[tuple[str, str]]:
        return [
            ("x-gone", text(f"{where} header dropped")),
            ("X-Secret-One", text(f"{where} header hashed")),
            ("x-free", f"a {card(f'{where} header free')}"),
            (card(f"{where} header's name"), "x"),
        ]

    def body(where: str) -> str:
        return json.dumps(
            {
                "pin": text(f"{where} body.pin"),
                "x": {"deep": {"code": text(f"{where} body..deep.code")}},
                "items": [{"sku": text(f"{where} body.items.sku")}],
                "free": card(f"{where} body.free"),
            }
        )

    mail = text("parameter users.email")
    quoted = text("literal users.email")
    select = f"select * from users where email = %s and token = %s and note = %s and email <> '{quoted}'"
    parameters = [mail, text("parameter users.token"), card("parameter users.note")]
    detail = f"duplicate key\nDETAIL:  Key (email)=({text('detail of a key')}) already exists."
    row = f"null value\nDETAIL:  Failing row contains (1, {text('a row')}, (x), \n{text('a row, 2')}, f)."
    alchemy = f"bad\n[SQL: {select}]\n[parameters: ('{text('sqlalchemy parameters')}', 'x')]\n(Background: x)"
    inner = f"SQL statement \"update users set email='{text('context')}'\""
    stack = f"Traceback\n  File x\n{row}\nCONTEXT:  {inner}\n{alchemy}"
    request = {
        "request_id": f"r-{card('requests.request_id')}",
        "trace_id": "0" * 31 + "1",
        "service": f"s {card('requests.service')}",
        "method": card("requests.method"),
        "route": card("requests.route"),
        "path": f"/users/{card('requests.path')}?pin={text('requests.path query')}",
        "status": 500,
        "started_at": START,
        "duration_ms": 1.0,
        "error_type": card("requests.error_type"),
        "error_message": f"{detail} {mail} {card('requests.error_message')}",
        "error_location": card("requests.error_location"),
        "error_stack": stack,
        "code_version": card("requests.code_version"),
        "request": {"headers": headers("requests.request"), "body": body("requests.request")},
        "response": {"headers": headers("requests.response"), "body": body("requests.response")[:-2]},
        "is_replay": False,
        "replay_of": card("requests.replay_of"),
    }
    attributes = [
        *((f"http.request.header.{name.lower()}", json.dumps([value])) for name, value in headers("spans")),
        ("http.response.header.x-secret-two", json.dumps([text("spans header, second")])),
        ("db.query.text", select),
        *((f"db.query.parameter.{place}", value) for place, value in enumerate(parameters)),
        ("url.full", f"https://x/?a=1&pin={text('url.full')}&c={card('url.full by pattern')}"),
        ("url.query", f"pin={text('url.query')}"),
        ("flux.request.body", body("spans")),
        ("flux.response.body", f"pin={text('form body')}&b=1"),
        ("exception.message", detail),
        (card("spans attribute's name"), card("spans attribute")),
        ("pin", text("attribute that is a member")),
        ("flux.exchange.fingerprint", "00112233"),
    ]
    event = {
        "name": card("event name"),
        "at": START,
        "attributes": [("exception.message", row), ("exception.stacktrace", stack), ("x", card("event"))],
    }
    span = {
        "trace_id": "0" * 31 + "1",
        "span_id": "0" * 16,
        "request_id": request["request_id"],
        "service": card("spans.service"),
        "name": f"SELECT {card('spans.name')} where email = '{quoted}'",
        "kind": "client",
        "started_at": START,
        "duration_ms": 1.0,
        "status": "error",
        "attributes": attributes,
        "events": [event],
    }
    sql = {
        "request_id": request["request_id"],
        "seq": 0,
        "kind": "sql",
        "target": card("exchanges.target"),
        "fingerprint": "00112233",
        "occurrence": 0,
        "request": json.dumps({"statement": select, "parameters": parameters}),
        "response": json.dumps({"rows": int(card("exchanges.response, a number"))}),
        "error": json.dumps({"type": card("error type"), "code": "23505", "message": f"{detail}\n{stack}"}),
        "duration_ms": 1.0,
    }
    http = {
        **sql,
        "seq": 1,
        "kind": "http",
        "target": f"POST https://x/?pin={text('exchanges.target query')}",
        "request": json.dumps(
            {"headers": dict(headers("exchange")), "body": body("exchange"), "url": f"https://x/?pin={mail}"}
        ),
        "response": json.dumps(
            {"headers": {"x-gone": [text("header list")]}, "body": body("exchange response")}
        ),
        "error": card("an error that is no JSON"),
    }
    mail_sent = {
        **sql,
        "seq": 2,
        "kind": "mail",
        "request": json.dumps({"to": mail, "pin": text("mail.pin")}),
    }
    return rows_of(REQUESTS, [request]), rows_of(SPANS, [span]), rows_of(EXCHANGES, [sql, http, mail_sent])


@on((18, "pgoutput"))
def test_what_is_set_aside_is_encrypted(rig: Rig, markers: Markers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "MEMORY_BYTES_MAX", 100_000)
    monkeypatch.setattr(spill, "TABLES_MAX", 1)
    rig.once()
    running = rig.start()
    with rig.database.connect(autocommit=False) as connection:
        tag(connection, markers, "spilled")
        for number in range(40, 60):
            connection.execute(insert("users", user(markers, "spilled", number)))
        eventually(lambda: len(spilled(rig.settings.ledger)) > 1000, what="attempts that are set aside")
        assert markers.found(spilled(rig.settings.ledger)) == {}
        connection.rollback()
    running.stop()
    rig.once()
    assert rig.ask("select count(*) from changes where outcome = 'rolled_back'") == [(20,)]
    assert search(rig, markers) == {}
