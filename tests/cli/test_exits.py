"""How commands end: the exit code, and an error of at most three plain lines."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cli.conftest import Flux
from flux.cli.main import EXIT_BUG, EXITS, run
from flux.cli.setup import confirm
from flux.model.errors import UsageError
from servers.server import free_port

USERS = ["state", "history", "users"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, []),
        (0, ["--version"]),
        (0, ["help", "state", "history"]),
        (0, ["state"]),
        (0, ["config", "show"]),
        (0, ["ledger", "info"]),
        (0, ["state", "diff", "users", "--from", "lsn:0/1", "--to", "lsn:0/1"]),
        (1, [*USERS, "--id", "99"]),
        (1, ["state", "blame", "users", "42"]),
        (1, ["state", "at", "users", "99"]),
        (1, ["state", "diff", "users", "--from", "lsn:0/1"]),
        (1, [*USERS, "42", "--since", "14:00..14:05"]),
        (2, ["histroy"]),
        (2, ["state", "histroy"]),
        (2, [*USERS, "--nonsense"]),
        (2, ["state", "history"]),
        (2, ["state", "history", "nowhere"]),
        (2, ["state", "history", "stock", "--id", "eu"]),
        (2, ["state", "history", "stock", "--id", '["eu"']),
        (2, ["state", "history", "Odd Notes", "--id", "1"]),
        (2, [*USERS, "42", "--id", "42"]),
        (2, [*USERS, "--id", "42", "--where", "plan=pro"]),
        (2, [*USERS, "--where", "plan"]),
        (2, [*USERS, "--where", "colour=red"]),
        (2, [*USERS, "--column", "colour"]),
        (2, [*USERS, "--since", "tomorrow"]),
        (2, [*USERS, "--since", "14:00..14:05", "--until", "15:00"]),
        (2, [*USERS, "--request", "550e84"]),
        (2, [*USERS, "--request", "ffff"]),
        (2, [*USERS, "--outcome", "lost"]),
        (2, [*USERS, "--limit", "-1"]),
        (2, [*USERS, "--format", "csv", "--json"]),
        (2, [*USERS, "--format", "xml"]),
        (2, [*USERS, "--follow", "--json"]),
        (2, [*USERS, "--output", "/nowhere/at/all"]),
        (2, ["state", "blame", "users"]),
        (2, ["state", "blame", "users", "43", "--porcelain", "--json"]),
        (2, ["state", "diff", "users"]),
        (2, ["sql", "drop table changes"]),
        (2, ["sql", "copy (select 1) to '/tmp/flux-must-not-write'"]),
        (2, ["sql", "select * from read_csv('/etc/passwd')"]),
        (2, ["sql", "select nothing"]),
        (2, ["sql", "select 1", "-c", "select 1"]),
        (2, ["sql", "--file", "/nowhere/at/all"]),
        (2, ["track"]),
        (2, ["track", "users", "--all"]),
        (2, ["track", "users", "--rollbacks", "--no-trigger"]),
        (2, ["init", "--dsn", "postgresql://u:pa@ss@h/d"]),
        (2, ["config", "show", "--dsn", "host"]),
        (2, ["status", "--source", "nobody"]),
        (5, [*USERS, "--ledger", "/nowhere/at/all"]),
        (5, [*USERS, "--ledger", "/etc"]),
        (5, ["ledger", "compact", "--ledger", "/nowhere/at/all"]),
        (5, ["up", "--ledger", "/nowhere/at/all"]),
        (5, ["status", "--ledger", "/nowhere/at/all"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_exit_code(code: int, words: list[str], flux: Flux) -> None:
    result = flux(*words)
    assert result.code == code, result.err
    assert code in EXITS
    assert "Traceback" not in result.err
    if code >= 2:
        lines = result.err.splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith("flux: error: "))
        assert len(lines[start:]) <= 3
        assert all(line.startswith(("  why: ", "  hint: ")) for line in lines[start + 1 :])


def test_a_database_that_does_not_answer_is_3(flux: Flux) -> None:
    dsn = f"postgresql://alice:hunter2@127.0.0.1:{free_port()}/shop?connect_timeout=5"
    for words in (["track", "users"], ["init"], ["up", "--once"], ["doctor"]):
        result = flux(*words, "--dsn", dsn)
        assert result.code == 3, result.err
        assert "hunter2" not in result.err + result.text
    assert flux("status", "--dsn", dsn).code == 0


def test_debug_may_stand_anywhere_and_shows_where(flux: Flux) -> None:
    assert "Traceback" not in flux(*USERS, "--id", "99").err
    for words in (["--debug", *USERS, "--id", "99"], [*USERS, "--id", "99", "--debug"]):
        assert "Traceback" in flux(*words).err
    # After `--` it is a word like any other.
    assert "Traceback" not in flux(*USERS, "--", "--debug").err


def test_a_bug_says_where_and_no_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secret value")

    monkeypatch.setattr("flux.cli.main.tree", broken)
    assert run(["state"]) == EXIT_BUG
    err = capsys.readouterr().err
    assert "KeyError at test_exits.py:" in err
    assert "secret" not in err


def test_an_ambiguous_request_lists_its_candidates(flux: Flux) -> None:
    err = flux(*USERS, "--request", "req:550e84").err
    assert "550e8400-e29b-41d4-a716-446655440000" in err
    assert "550e8499-e29b-41d4-a716-446655440000" in err


def test_removal_is_confirmed_by_a_person_or_by_yes() -> None:
    confirm("really?", yes=True)
    with pytest.raises(UsageError, match="confirmation"):
        confirm("really?", yes=False)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = "{'duckdb', 'pyarrow', 'numpy', 'psycopg', 'pydantic', 'pglast'}"
    probe = f"import sys; from flux.cli.main import run; run(%r); assert not {heavy} & set(sys.modules)"
    for words in ([], ["--version"], ["state", "history", "--help"], ["init", "--help"]):
        subprocess.run([sys.executable, "-c", probe % (words,)], check=True, capture_output=True)
    probe = probe.replace(heavy, "{'psycopg', 'pydantic', 'pglast'}")
    words = ["state", "history", "x", "--id", "1", "--ledger", "/nowhere/at/all"]
    subprocess.run([sys.executable, "-c", probe % (words,)], check=True, capture_output=True)
