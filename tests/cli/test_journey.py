"""A newcomer's way on a real server: init, track, up --once, ask, and take it all out again."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from cli.conftest import Flux
from servers.fixtures import on
from servers.server import Database

REQUEST = "550e8400-e29b-41d4-a716-446655440000"

pytestmark = pytest.mark.postgres


def work(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """One tagged change, and one that is rolled back."""
    with connection.transaction():
        connection.execute("select set_config('flux.request_id', 'a3c91ef0-52c8', true)")
        connection.execute("insert into users values (42, 'a@b.com', 'free')")
    with connection.transaction(force_rollback=True):
        connection.execute("select set_config('flux.request_id', %s, true)", [REQUEST])
        connection.execute("update users set plan = null where id = 42")


def how_it_is(flux: Flux) -> None:
    """What is said of a ledger and a source in order, and of a time before them."""
    before = flux("state", "at", "users", "--as-of", "1d")
    assert (before.code, before.out) == (1, b"")
    assert "is not known" in before.err

    status = json.loads(flux("status", "--json").out)
    assert [(one["state"], one["slot_health"]) for one in status] == [("stopped", "reserved")]
    doctor = flux("doctor")
    assert doctor.code == 0, doctor.text
    findings = json.loads(flux("doctor", "--json").out)
    assert {"ledger", "wal_level"} <= {finding["name"] for finding in findings}


@on((15, "wal2json"), (17, "pgoutput"))
def test_the_journey(database: Database, flux: Flux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_DSN", database.dsn)
    monkeypatch.setenv("FLUX_LEDGER", str(tmp_path / "ledger"))
    with database.connect(autocommit=True) as connection:
        connection.execute("create table users (id int primary key, email text, plan text)")
        connection.execute("insert into users values (1, 'old@b.com', 'free')")

        assert flux("state", "history", "users", "1").code == 5
        first = flux("init", "--plugin", database.plugin)
        assert (first.code, first.out) == (0, b"")
        assert "next: flux track" in first.err
        again = flux("init")
        assert again.code == 0
        assert "is prepared already" in again.err
        assert f"plugin {database.plugin}" in again.err

        assert flux("track", "nobody").code == 2
        tracked = flux("track", "users", "--rollbacks")
        assert (tracked.code, tracked.text) == (0, "public.users: tracked with rollbacks\n"), tracked.err
        assert flux("track", "users", "--rollbacks").text.endswith("(it was tracked before)\n")
        assert flux("up", "--once").code == 0
        work(connection)
        captured = flux("up", "--once")
        assert captured.code == 0, captured.err

    history = json.loads(flux("state", "history", "users", "42", "--json").out)
    assert [(one["op"], one["outcome"], one["request_id"]) for one in history["mutations"]] == [
        ("insert", "committed", "a3c91ef0-52c8"),
        ("update", "rolled_back", REQUEST),
    ]
    assert history["mutations"][1]["changed"] == {"plan": {"from": "free", "to": None}}
    blame = flux("state", "blame", "users", "42").text
    assert "✗ req:550e8400 tried null, rolled back" in blame
    baseline = json.loads(flux("state", "history", "users", "1", "--json").out)["mutations"]
    assert [one["op"] for one in baseline] == ["baseline"]
    assert flux("state", "diff", "users", "--from", "req:a3c9").code == 1

    how_it_is(flux)
    assert flux("untrack", "users").text == "public.users: no longer tracked\n"
    assert flux("init", "--remove").code == 2
    removed = flux("init", "--remove", "--yes")
    assert removed.code == 0, removed.err
    with database.connect() as connection:
        left = connection.execute(
            "select (select count(*) from pg_namespace where nspname = 'flux'), "
            "(select count(*) from pg_replication_slots where database = current_database())"
        ).fetchone()
    assert left == (0, 0)
    assert flux("state", "history", "users", "42").code == 0
    assert flux("up", "--once").code == 2


def test_print_sql_needs_no_server(flux: Flux) -> None:
    printed = flux("init", "--print-sql", "--dsn", "postgresql://127.0.0.1:1/none")
    assert printed.code == 0
    assert printed.text.startswith("begin;\n")
    assert printed.text.rstrip().endswith("commit;")
