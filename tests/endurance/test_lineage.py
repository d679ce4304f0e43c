"""What administrators do to a slot and a cluster under the capture: it is recognised, and becomes a gap.

Each test is one server's story. After every refusal the ledger is what it was; after `--resnapshot` it equals
the table, and holds nothing twice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capture.rig import Rig, make_rig
from flux.capture import confirmed as durable
from flux.cli.main import run
from flux.decoder import commit_record
from flux.decoder.wire import read_log
from flux.ledger import sources
from flux.model.batch import Position
from flux.model.errors import SlotLost, SourceError
from servers import Database, NewServer, Server, eventually, on
from servers.copies import back_up, put_back, standby_of, upgrade

Flux = Callable[..., tuple[int, str, str]]


@pytest.fixture
def flux(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Flux:
    """Runs `flux` in this process over a rig; returns exit code, stdout, stderr."""

    def call(rig: Rig, *arguments: str) -> tuple[int, str, str]:
        settings = rig.settings
        sources.write(settings.ledger, sources.Source(settings.source, settings.plugin, settings.slot))
        monkeypatch.setenv("FLUX_LEDGER", str(settings.ledger))
        monkeypatch.setenv("FLUX_DSN", settings.dsn or "")
        monkeypatch.setenv("TZ", "UTC")
        capfd.readouterr()
        code = run(arguments)
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Rig:
    return item_rig(database, tmp_path)


def item_rig(database: Database, folder: Path, *, rollbacks: bool = True) -> Rig:
    """`item` with 20 rows, tracked; nothing captured yet."""
    with database.connect() as connection:
        connection.execute("create table item (id int primary key, name text)")
        connection.execute("insert into item select i, 'item ' || i from generate_series(1, 20) i")
    return make_rig(database, folder, "item", rollbacks=rollbacks)


def moved(rig: Rig, server: Server) -> None:
    """Let the source's address lead to another server."""
    rig.database = replace(rig.database, server=server)
    rig.settings = replace(rig.settings, dsn=rig.database.dsn)


def lost(rig: Rig, why: str, *lost: tuple[str, str]) -> None:
    """Capture says `why` and stores nothing; with --resnapshot a gap, and as changes, (op, key), these."""
    counts = "select (select count(*) from gaps), count(*) from changes"
    newest = "select op, key from changes where commit_lsn = (select max(to_lsn) - 1 from gaps) order by all"
    ((gaps, changes),) = rig.ask(counts)
    with pytest.raises(SlotLost, match=why) as caught:
        rig.once()
    assert "flux up --resnapshot" in caught.value.hint
    rig.once(resnapshot=True)
    with rig.asking():
        rig.check("public.item")
        assert rig.ask(counts) == [(gaps + 1, changes + len(lost))]
        assert rig.ask(newest) == sorted(lost)


def goes_on(rig: Rig) -> None:
    """What happens next is captured as ever."""
    rig.execute("update item set name = name || '.' where id = 20")
    rig.once()
    rig.check("public.item")


def write_log(rig: Rig) -> None:
    """Go on by four segments of the log, and let the server remove what it may."""
    with rig.database.connect() as connection:
        for _ in range(4):
            connection.execute("select pg_logical_emit_message(false, 'other', 'x'), pg_switch_wal()")
        connection.execute("checkpoint")


def one(rig: Rig, query: str, *parameters: object) -> tuple[Any, ...]:
    """Return the one row of the server's answer."""
    with rig.database.connect() as connection:
        row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row


def health(rig: Rig) -> tuple[Any, ...]:
    """Return wal_status of the slot and its holder."""
    query = "select wal_status, active_pid from pg_replication_slots where slot_name = %s"
    return one(rig, query, rig.settings.slot)


def test_a_slot_beyond_its_bound(new_server: NewServer, tmp_path: Path, flux: Flux) -> None:
    """The server takes the log away, from a reader at work and from one that is down."""
    bounds = {"max_slot_wal_keep_size": "16MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}
    rig = item_rig(new_server(17, bounds).create_database(), tmp_path)
    rig.once()
    running = rig.start()
    eventually(lambda: health(rig)[1] is not None, within_s=30, what="the reader")
    # A transaction that stays open holds the slot where it is, however well it is read.
    with rig.database.connect(autocommit=False) as slow:
        slow.execute("insert into item values (101, 'slow')")
        write_log(rig)
        running.wait()
        slow.commit()
    assert isinstance(running.error, SlotLost)
    assert "--resnapshot" in running.error.hint
    assert health(rig) == ("lost", None)
    how_it_is_told(rig, flux)
    lost(rig, "lost its log", ("baseline", "101"))

    rig.execute("update item set name = 'unseen' where id = 2", "delete from item where id = 3")
    write_log(rig)
    assert health(rig)[0] == "lost"
    lost(rig, "max_slot_wal_keep_size", ("baseline", "2"), ("delete", "3"))
    how_the_gaps_are_shown(rig, flux)


def how_it_is_told(rig: Rig, flux: Flux) -> None:
    """`status` and `doctor` say that the slot is lost; the remedies that they and `up` name are right."""
    assert f"{rig.settings.slot}: lost" in flux(rig, "status")[1]
    code, found, _ = flux(rig, "doctor", "--json")
    (slot,) = [finding for finding in json.loads(found) if finding["name"] == "slot"]
    assert (code, slot["level"], slot["sql"]) == (1, "fault", "flux up --resnapshot")
    assert "lost" in slot["what"]
    code, out, said = flux(rig, "up", "--once", "--port", "0")
    assert (code, out) == (2, "")
    assert "lost its log" in said
    assert "flux up --resnapshot" in said


def how_the_gaps_are_shown(rig: Rig, flux: Flux) -> None:
    """Every answer about a row shows the gaps where they lie; what was lost in them is a baseline's."""
    gaps = json.loads(flux(rig, "sql", "from gaps order by from_lsn", "--json")[1])
    reasons = [gap["reason"] for gap in gaps]
    assert len(reasons) == 2
    assert all("wal_status is lost" in reason for reason in reasons)
    # Untouched, lost in the first gap, changed in the second.
    for key, ops in (
        ("1", "baseline gap gap"),
        ("101", "gap baseline gap"),
        ("2", "baseline gap gap baseline"),
    ):
        lines = flux(rig, "state", "history", "item", key, "--format", "jsonl")[1].splitlines()
        story = [json.loads(line) for line in lines]
        assert " ".join(one.get("op", "gap") for one in story) == ops
        assert [one["gap"]["reason"] for one in story if "gap" in one] == reasons
    document = json.loads(flux(rig, "state", "history", "item", "101", "--json")[1])
    assert [gap["reason"] for gap in document["gaps"]] == reasons
    _, _, *told = flux(rig, "state", "history", "item", "101")[1].splitlines()
    assert ["gap" if "-- gap: " in line else line.split()[2] for line in told] == ["gap", "BASELINE", "gap"]
    blamed = json.loads(flux(rig, "state", "blame", "item", "101", "--json")[1])
    assert [one["op"] for one in blamed["columns"]] == ["baseline", "baseline"]
    assert [gap["reason"] for gap in blamed["gaps"]] == reasons
    text = flux(rig, "state", "blame", "item", "2")[1].splitlines()
    assert ["-- gap: " in line for line in text] == [False, False, True, True]
    assert [line.endswith(reason) for line, reason in zip(text[2:], reasons, strict=True)] == [True, True]


@on((17, "pgoutput"))
def test_a_slot_moved_back_and_a_ledger_put_back(rig: Rig, tmp_path: Path) -> None:
    """A slot that stands before the ledger is read from the ledger's position on; one after it is refused."""
    slot = rig.settings.slot
    rig.once()
    rig.execute(f"select pg_copy_logical_replication_slot('{slot}', 'spare')")
    rig.execute("insert into item values (101, 'a')", "update item set name = 'b' where id = 1")
    rig.once()
    rig.execute(
        f"select pg_drop_replication_slot('{slot}')",
        f"select pg_copy_logical_replication_slot('spare', '{slot}')",
        "select pg_drop_replication_slot('spare')",
        "delete from item where id = 101",
    )
    older = tmp_path / "older"
    shutil.copytree(rig.settings.ledger, older)
    rig.once()
    with rig.asking():
        rig.check("public.item")
        assert rig.ask("select op, key from changes where op <> 'baseline' order by commit_lsn") == [
            *(("insert", "101"), ("update", "1"), ("delete", "101"))
        ]

    shutil.rmtree(rig.settings.ledger)
    older.rename(rig.settings.ledger)
    lost(rig, "the ledger is an older copy", ("delete", "101"))
    rig.execute(
        "insert into item values (102, 'unseen')",
        f"select pg_replication_slot_advance('{slot}', pg_current_wal_lsn())",
    )
    lost(rig, "something else read from it", ("baseline", "102"))
    goes_on(rig)


def test_a_backup_put_back(new_server: NewServer, tmp_path: Path) -> None:
    """The same cluster, timeline and slot, and a log that ends early, or by now is another one."""
    server = new_server(15)
    rig = item_rig(server.create_database(), tmp_path, rollbacks=False)
    rig.once()
    back_up(server)
    put_back(server)
    rig.execute("insert into item values (101, 'lost')", "update item set name = 'lost' where id = 1")
    rig.once()  # nothing had been captured since the backup: it is the same log

    put_back(server)
    with pytest.raises(SlotLost, match="ends before the ledger's position"):
        rig.once()
    with pytest.raises(SourceError, match="cannot continue this source"):
        rig.once(resnapshot=True)
    put_back(server)  # with its slot
    rig.execute("insert into item values (102, 'unseen')")
    write_log(rig)
    lost(rig, "not the one that", ("delete", "101"), ("baseline", "1"), ("baseline", "102"))

    # Confirmed without a commit read: nothing contradicts this log, so it is read from the last commit on.
    rig.once()
    back_up(server)
    seldom = replace(rig.settings.bounds, heartbeat_interval_s=600.0)
    running = rig.start(bounds=seldom)
    rig.execute("select pg_logical_emit_message(false, 'other', repeat('x', 100000))")
    (end,) = one(rig, "select (pg_current_wal_insert_lsn() - '0/0')::bigint")

    def confirmed() -> bool:
        known = durable.read(rig.settings.ledger, rig.settings.source)
        return known is not None and known.confirmed_lsn >= end

    eventually(confirmed, within_s=30, what="the confirmation")
    running.stop()
    put_back(server)
    rig.execute("insert into item values (103, 'seen')")
    write_log(rig)
    rig.once()
    rig.check("public.item")


def test_a_standby_promoted(new_server: NewServer, tmp_path: Path) -> None:
    """The slot stayed behind, and the timeline is another one."""
    primary = new_server(17)
    rig = item_rig(primary.create_database(), tmp_path)
    rig.once()
    with standby_of(primary) as standby:
        rig.execute("insert into item values (101, 'captured')")
        rig.once()
        rig.execute("insert into item values (102, 'unseen')")

        def replayed() -> bool:
            with standby.connect(rig.database.name) as connection:
                return connection.execute("select from item where id = 102").fetchone() is not None

        eventually(replayed, within_s=30, what="the standby's replay")
        primary.kill9()
        moved(rig, standby)
        with standby.connect() as connection:
            connection.execute("select pg_promote()")
        lost(rig, "another timeline", ("baseline", "102"))
        goes_on(rig)


def test_a_major_upgrade(new_server: NewServer, tmp_path: Path) -> None:
    """pg_upgrade makes another cluster of it, even where it takes the slot along (since 17)."""
    old, new = new_server(17), new_server(18)
    rig = item_rig(old.create_database(), tmp_path, rollbacks=False)
    # It refuses a slot with unread messages: no heartbeat may come after the one that ends the run.
    seldom = replace(rig.settings.bounds, heartbeat_interval_s=600.0)
    rig.once(bounds=seldom)
    upgrade(old, new)
    moved(rig, new)
    assert health(rig) == ("reserved", None)
    rig.execute("update item set name = 'unseen' where id = 1")
    lost(rig, "another database cluster", ("baseline", "1"))

    # As after a dump was restored: the table's OID is another table's.
    old.start()
    moved(rig, old)
    rig.execute("alter table item rename to thing")
    with pytest.raises(SourceError, match="numbers that the ledger knows as others") as caught:
        rig.once(resnapshot=True)
    assert "flux init --source NEWNAME" in caught.value.hint
    rig.execute("alter table thing rename to item", "alter table item rename name to title")
    with pytest.raises(SourceError, match="numbers that the ledger knows as others"):
        rig.once(resnapshot=True)
    assert rig.ask("select count(*) from gaps") == [(1,)]


@on((15, "wal2json"), (18, "pgoutput"))
def test_every_commit_is_found_in_the_log(rig: Rig) -> None:
    """Plain, prepared, with subtransactions, replicated from elsewhere, across pages: no false alarm."""
    rig.once()
    rig.execute(
        *(f"update item set name = '{number}' where id = {number % 20 + 1}" for number in range(40)),
        "begin; insert into item values (101, 'a'); prepare transaction 'flux_one'",
        "commit prepared 'flux_one'",
        "do $$ begin for i in 1000 .. 4000 loop begin insert into item values (i, 'a'); "
        "exception when others then null; end; end loop; end $$",
    )
    with rig.database.connect() as connection:
        connection.execute("select pg_replication_origin_create('elsewhere')")
        connection.execute("select pg_replication_origin_session_setup('elsewhere')")
        connection.execute("begin")
        connection.execute("select pg_replication_origin_xact_setup('0/42', '2020-02-02 02:02:02.020202Z')")
        connection.execute("insert into item values (9000, 'a')")
        connection.execute("commit")
        connection.execute("select pg_replication_origin_session_reset()")
        connection.execute("select pg_replication_origin_drop('elsewhere')")
    rig.once()
    query = 'select commit_lsn, end_lsn, epoch_us("at") from transactions where commit_lsn is not null'
    commits = [Position(*row) for row in rig.ask(query)]
    assert len(commits) > 40
    assert any(commit.end_lsn - commit.commit_lsn > commit_record.PAGE_BYTES for commit in commits)
    for commit in commits:
        where = commit_record.span(commit)
        assert where is not None
        log = read_log(rig.database.dsn, *where)
        assert log is not None
        assert commit_record.holds(log, commit) is True
        assert commit_record.holds(log, replace(commit, at_us=commit.at_us + 1)) is False
