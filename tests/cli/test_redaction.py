"""Redaction on the command line: rules and key in `flux.toml`, keys that are asked for, `--reveal`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cli.conftest import Flux
from flux.capture.daemon import run
from flux.capture.settings import Settings
from flux.ledger import Writer, create_ledger, sources
from flux.model.errors import Unreachable
from flux.redaction import Redactor
from ledger.log import Log, insert, relation
from redaction.policies import KEY, policy

RULES = """
[redaction]
key_file = "key"

[[redact]]
relation = "users"
column = "id"
action = "hash"

[[redact]]
column = "email"
action = "encrypt"
"""


@pytest.fixture
def redacted(flux: Flux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flux:
    """`flux` over a ledger whose rows went through `RULES`, which stand in this folder."""
    monkeypatch.delenv("FLUX_REDACTION_KEY", raising=False)
    ledger = create_ledger(tmp_path / "ledger")
    monkeypatch.setenv("FLUX_LEDGER", str(ledger))
    (tmp_path / "flux.toml").write_text(RULES)
    (tmp_path / "key").write_text(f"{KEY.key.hex()}\n")
    with Writer.open(ledger, source="shop", redaction=Redactor(policy(RULES))) as writer:
        log, users = Log(), relation(columns=("id", "email"))
        log.shape(users)
        log.transaction(insert(users, "42", {"id": "42", "email": "ann@example.org"}))
        log.store(writer)
    sources.write(ledger, sources.Source("shop", "pgoutput", "flux_shop"))
    return flux


def test_a_row_is_found_by_the_key_that_people_know(redacted: Flux, tmp_path: Path) -> None:
    found = redacted("state", "history", "users", "--id", "42", "--json")
    assert found.code == 0
    (line,) = json.loads(found.text)["mutations"]
    assert KEY.hashed("42") in str(line)
    assert KEY.encrypted("ann@example.org") in str(line)
    by_value = redacted("state", "history", "users", "--where", "email=ann@example.org", "--json")
    assert json.loads(by_value.text)["mutations"]
    (tmp_path / "key").unlink()
    without = redacted("state", "history", "users", "--id", "42")
    assert without.code == 2
    assert "redaction key" in without.err


def test_reveal_needs_the_key(redacted: Flux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = "select after['email'] as email, after as map from changes"
    (row,) = json.loads(redacted("sql", query, "--json").text)
    assert row["email"] == KEY.encrypted("ann@example.org")
    (row,) = json.loads(redacted("sql", query, "--json", "--reveal").text)
    assert row["email"] == row["map"]["email"] == "ann@example.org"
    monkeypatch.setenv("FLUX_REDACTION_KEY", "00" * 32)
    other = redacted("sql", query, "--reveal")
    assert (other.code, "cannot reveal with this key" in other.err) == (2, True)
    monkeypatch.delenv("FLUX_REDACTION_KEY")
    (tmp_path / "flux.toml").write_text("")
    none = redacted("sql", query, "--reveal")
    assert (none.code, "there is no redaction key" in none.err) == (2, True)


def test_rules_and_key_are_shown_by_name(redacted: Flux, tmp_path: Path) -> None:
    shown = redacted("config", "show", "--json").text
    settings = {row["setting"]: (row["value"], row["from"]) for row in json.loads(shown)}
    place = str(tmp_path / "flux.toml")
    assert settings["redaction key"] == (f"key {KEY.name}", str(tmp_path / "key"))
    assert settings["redaction rule 1"] == ("hash relation users, column id", place)
    assert settings["redaction rule 2"] == ("encrypt column email", place)
    assert KEY.key.hex() not in shown


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[[redact]]\ncolumn = "a"\naction = "mask"\n[[redact]]\ncolumn = "b"\naction = "zap"', "rule 2 in"),
        ('[[redact]]\ncolumn = "a"\naction = "hash"', "rule 1 in"),
        ('redact = "all"', "`redact` is not a list"),
        ('[redaction]\nkey = "abc"\n[[redact]]\ncolumn = "a"\naction = "mask"', "[redaction] has 'key'"),
        ('[redaction]\nkey_file = "nowhere"', "cannot read the redaction key"),
    ],
)
def test_a_bad_rule_stops_capture_before_it_begins(
    redacted: Flux, tmp_path: Path, text: str, why: str
) -> None:
    (tmp_path / "flux.toml").write_text(text)
    for command in (("up", "--once", "--dsn", "host=nowhere"), ("config", "show")):
        done = redacted(*command)
        assert done.code == 2, done.err
        assert why in done.err
        assert "flux.toml" in done.err or "nowhere" in done.err


def test_without_its_rules_a_ledger_is_not_written(redacted: Flux, tmp_path: Path) -> None:
    """Whoever starts `flux up` where `flux.toml` is not found would store every value as it is."""
    settings = Settings(
        ledger=tmp_path / "ledger", source="shop", slot="flux_shop", plugin="pgoutput", once=True
    )
    settings = replace(settings, dsn="host=127.0.0.1 port=1 connect_timeout=1")
    with pytest.raises(Unreachable):
        run(replace(settings, redaction=policy(RULES)), say=print)
    (tmp_path / "flux.toml").unlink()
    refused = redacted("up", "--once", "--dsn", settings.dsn or "")
    assert refused.code == 2
    assert "no redaction rules are found" in refused.err
    (tmp_path / "ledger" / "redacted").unlink()
    with pytest.raises(Unreachable):
        run(settings, say=print)
