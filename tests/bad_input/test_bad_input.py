"""The commands as a person types them, given what they cannot work with."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import flux
from bad_input.proxy import Change, Proxy
from flux.capture import tracking
from flux.model.errors import UsageError
from servers import Database, NewServer, on

MARKER = "17171717"
"""The key of the row whose message is corrupted on its way; the first column, sent as text."""


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str

    def refuses(self, code: int, *parts: str) -> None:
        """The exit code is `code`, the error at most three lines with a remedy, and it says `parts`."""
        assert self.code == code, self.err
        lines = self.err.strip().splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith("flux: error: "))
        error = lines[start:]
        assert 2 <= len(error) <= 3, self.err
        assert "Traceback" not in self.err
        for part in parts:
            assert part in self.err, self.err


@dataclass(frozen=True, slots=True)
class Place:
    """A source with a tracked table, its ledger, and the command line."""

    database: Database
    ledger: Path

    def flux(self, *words: str, dsn: str | None = None, **more: str) -> Answer:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PG", "FLUX_", "DATABASE_"))
        }
        environment |= {"FLUX_DSN": dsn or self.database.dsn, "FLUX_LEDGER": str(self.ledger), **more}
        flux = Path(sys.executable).with_name("flux")
        done = subprocess.run(
            [flux, *words], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def good(self, *words: str) -> str:
        answer = self.flux(*words)
        assert answer.code == 0, answer.err
        return answer.out

    def count(self) -> int:
        rows = json.loads(self.good("sql", "--json", "select count(*)::int as n from changes"))
        return int(rows[0]["n"])


@pytest.fixture
def place(database: Database, tmp_path: Path) -> Place:
    made = Place(database, tmp_path / "ledger")
    with database.connect() as connection:
        connection.execute("create table users (id int primary key, plan text)")
        connection.execute("create table pairs (a text, b text, primary key (a, b))")
        connection.execute("insert into users values (42, 'free')")
    made.good("init", "--plugin", database.plugin)
    with database.connect() as connection:
        tracking.track(connection, ["users", "pairs"], rollbacks=True)
    made.good("up", "--once")
    return made


def corrupting(tag: bytes, offset: int) -> Change:
    """Return a change that puts `tag` at `offset` before the marker's text, in replication data only."""

    def change(data: bytes) -> bytes:
        # An insert of pgoutput: I, OID, N, count of columns, t, length of the text, the text. The attempt's
        # message shows the same text elsewhere.
        at = data.find(MARKER.encode())
        while at >= 0:
            if at >= 13 and data[at - 13 : at - 12] == b"I" and data[at - 8 : at - 7] == b"N":
                return data[: at + offset] + tag + data[at + offset + len(tag) :]
            at = data.find(MARKER.encode(), at + 1)
        return data

    return change


@pytest.mark.parametrize(
    ("tag", "offset", "says"),
    [
        (b"Z", -13, "unknown message tag 0x5a"),
        (b"\x7f", -4, "a row runs past its message"),
        (b"q", -5, "unknown kind"),
    ],
)
@on((17, "pgoutput"))
def test_a_stream_that_cannot_be_decoded(place: Place, tag: bytes, offset: int, says: str) -> None:
    before = place.count()
    with place.database.connect() as connection:
        connection.execute(f"insert into users values ({MARKER}, 'pro')")
    server = place.database.server
    with Proxy(server.port, corrupting(tag, offset)) as proxy:
        dsn = place.database.dsn.replace(f"port={server.port}", f"port={proxy.port}")
        assert dsn != place.database.dsn
        place.flux("up", "--once", dsn=dsn).refuses(3, says, "at byte", "log position", "flux doctor")
    assert place.count() == before
    place.good("up", "--once")
    assert place.count() == before + 1
    assert MARKER in place.good("state", "at", "users", "--json")


@on((15, "wal2json"))
def test_questions_that_have_no_answer(place: Place) -> None:
    with place.database.connect() as connection:
        for request in ("550e8400-aaaa", "550e8400-bbbb"):
            with connection.transaction():
                connection.execute("select flux.tag(%s)", [request])
                connection.execute("update users set plan = %s where id = 42", [request])
    place.good("up", "--once")
    history = ("state", "history")
    for words in ((*history, "users", "--id", "43"), ("state", "blame", "users", "--id", "43")):
        answer = place.flux(*words)
        assert (answer.code, answer.out) == (1, "")
        assert answer.err.startswith("flux: nothing is recorded of users id=43; keys (id) look like 42")
    place.flux(*history, "pairs", "--id", "one").refuses(2, "a, b")
    place.flux(*history, "pairs", "--id", '["a",').refuses(2, "JSON")
    place.flux(*history, "userz", "--id", "42").refuses(2, "userz", "users")
    place.flux(*history, "users", "--id", "42", "--request", "550e").refuses(
        2, "550e8400-aaaa", "550e8400-bbbb"
    )
    place.flux(*history, "users", "--id", "42", "--request", "ffff").refuses(2, "ffff")
    place.flux("state", "at", "users", "--as-of", "yesterdayish").refuses(2, "yesterdayish")
    place.flux("state", "at", "users", "--as-of", "lsn:zzz").refuses(2, "lsn:zzz")
    place.flux("track", "userz").refuses(2, "userz", "users")
    assert place.flux("state", "histori").code == 2
    assert place.flux(*history, "users", "--outcome", "maybe").code == 2


@on((17, "pgoutput"))
def test_a_plugin_that_the_server_does_not_have(database: Database, tmp_path: Path) -> None:
    place = Place(database, tmp_path / "ledger")
    place.flux("init", "--plugin", "wal2json").refuses(2, "wal2json")
    assert place.flux("init", "--plugin", "decoderbufs").code == 2


@pytest.mark.parametrize("major", [15, 18])
def test_a_server_with_wal_level_replica(new_server: NewServer, tmp_path: Path, major: int) -> None:
    server = new_server(major, {"wal_level": "replica"})
    place = Place(server.create_database(), tmp_path / "ledger")
    place.flux("init").refuses(2, "wal_level", "alter system set wal_level = logical")
    assert place.flux("doctor").code == 1


@on((15, "wal2json"), (18, "pgoutput"))
def test_a_dropped_slot_is_never_papered_over(place: Place) -> None:
    before = place.count()
    with place.database.connect() as connection:
        connection.execute("select pg_drop_replication_slot(slot_name) from pg_replication_slots")
        connection.execute("update users set plan = 'unseen' where id = 42")
    place.flux("up", "--once").refuses(2, "slot", "--resnapshot")
    assert place.count() == before
    place.good("up", "--once", "--resnapshot")
    answer = json.loads(place.good("state", "history", "users", "--id", "42", "--json"))
    assert len(answer["gaps"]) == 1
    assert answer["mutations"][-1]["changed"]["plan"] == {"from": "free", "to": "unseen"}
    assert "gap" in place.good("state", "history", "users", "--id", "42")


@on((15, "pgoutput"))
def test_a_server_that_is_not_there(place: Place) -> None:
    place.flux("up", "--once", dsn="host=127.0.0.1 port=1 dbname=x password=hunter2").refuses(3)
    answer = place.flux("init", dsn="host=127.0.0.1 port=1 dbname=x password=hunter2")
    answer.refuses(3)
    assert "hunter2" not in answer.out + answer.err


def _foreign(ledger: Path) -> None:
    shutil.rmtree(ledger)
    ledger.mkdir()
    (ledger / "thesis.txt").write_text("not a ledger")


def _garbled(ledger: Path) -> None:
    (ledger / "catalog.sqlite").write_bytes(b"garbage" * 1000)


def _someone_elses(ledger: Path) -> None:
    shutil.rmtree(ledger)
    ledger.mkdir()
    with sqlite3.connect(ledger / "catalog.sqlite") as other:
        other.execute("create table t (x)")
    other.close()


def _lost_file(ledger: Path) -> None:
    for file in ledger.rglob("*.parquet"):
        if "changes" in file.parts:
            file.unlink()


def _cut_file(ledger: Path) -> None:
    for file in ledger.rglob("*.parquet"):
        if "changes" in file.parts:
            file.write_bytes(file.read_bytes()[:100])


@pytest.mark.parametrize("damage", [_foreign, _garbled, _someone_elses, _lost_file, _cut_file])
@on((17, "pgoutput"))
def test_a_foreign_or_damaged_ledger(place: Place, damage: Callable[[Path], None]) -> None:
    damage(place.ledger)
    left = {file: file.read_bytes() for file in place.ledger.rglob("*") if file.suffix in {".txt", ".sqlite"}}
    place.flux("state", "history", "users", "--id", "42").refuses(5, str(place.ledger))
    if damage in {_foreign, _garbled, _someone_elses}:
        place.flux("up", "--once").refuses(5, str(place.ledger))
        assert {file: file.read_bytes() for file in left} == left


@on((17, "pgoutput"))
def test_a_ledger_that_is_missing(place: Place, tmp_path: Path) -> None:
    for words in (("state", "history", "users", "--id", "42"), ("sql", "from changes"), ("up", "--once")):
        answer = place.flux(*words, FLUX_LEDGER=str(tmp_path / "nowhere"))
        answer.refuses(5, "nowhere", "flux init")


@on((17, "pgoutput"))
def test_sql_reads_the_ledger_and_nothing_else(place: Place, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\nhunter2\n")
    before = {file: file.stat().st_size for file in place.ledger.rglob("*.parquet")}
    for query in (
        f"from read_csv('{secret}')",
        f"from '{secret}'",
        f"copy changes to '{tmp_path}/out.csv'",
        f"copy changes to '{place.ledger}/out.csv'",
        f"attach '{tmp_path}/other.db'",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "reset lock_configuration",
        "delete from changes",
        "drop view changes",
        "create table t as select 1",
        "select getenv('HOME')",
        f"from glob('{tmp_path}/*')",
        f"from read_text('{place.ledger}/sources.json')",
        f"export database '{tmp_path}/dump'",
        "call ducklake_flush_inlined_data('flux')",
        f"select 1; copy changes to '{tmp_path}/out.csv'",
        "pragma threads = 8",
    ):
        with flux.connect(place.ledger) as ledger, pytest.raises(UsageError) as refused:
            ledger.sql(query)
        assert "hunter2" not in str(refused.value), query
    place.flux("sql", f"copy changes to '{tmp_path}/out.csv'").refuses(2)
    assert not (tmp_path / "out.csv").exists()
    assert not (place.ledger / "out.csv").exists()
    assert {file: file.stat().st_size for file in place.ledger.rglob("*.parquet")} == before
    assert place.count() >= 1
