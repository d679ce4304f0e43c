"""The servers that every other test stands on: they start, crash, come back, and go for certain."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from servers import Database, NewDatabase, NewServer, eventually, find_installation, on
from servers.fixtures import missing
from servers.installation import find_installations
from servers.server import Server


def test_a_slot_of_the_plugin_decodes(database: Database) -> None:
    with database.connect() as connection:
        row = connection.execute("select current_setting('server_version_num')::int / 10000").fetchone()
        assert row == (database.major,)
        connection.execute("create table t (id int primary key)")
        connection.execute("create publication p for table t")
        connection.execute("select pg_create_logical_replication_slot('s', %s)", [database.plugin])
        connection.execute("insert into t values (1)")
        options = (
            ["proto_version", "1", "publication_names", "p"]
            if database.plugin == "pgoutput"
            else ["format-version", "2"]
        )
        changes = connection.execute(
            "select data from pg_logical_slot_get_binary_changes('s', null, null, variadic %s)", [options]
        ).fetchall()
    kinds = [bytes(data) for (data,) in changes]
    assert len(kinds) == (4 if database.plugin == "pgoutput" else 3)  # pgoutput has a relation message more


@on((17, "pgoutput"))
def test_kill9_loses_nothing_committed_and_comes_back_on_the_same_port(database: Database) -> None:
    server, port = database.server, database.server.port
    with database.connect() as connection:
        connection.execute("create table t (id int)")
        connection.execute("insert into t values (1)")
        family = [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]
        server.kill9()
        assert not server.running
        assert not any(_lives(pid) for pid in family)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    with pytest.raises(psycopg.OperationalError):
        database.connect()
    server.start()
    assert server.port == port
    assert "was interrupted" in server.log_text() or "not properly shut down" in server.log_text()
    with database.connect() as connection:
        assert connection.execute("select id from t").fetchall() == [(1,)]


@on((15, "pgoutput"), (18, "pgoutput"))
def test_restart_keeps_slots(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("select pg_create_logical_replication_slot('kept', 'pgoutput')")
    before = database.server.pid
    database.server.restart()
    assert database.server.pid != before
    with database.connect() as connection:
        own = "select slot_name from pg_replication_slots where database = current_database()"
        assert connection.execute(own).fetchall() == [("kept",)]


@on((17, "pgoutput"))
def test_what_a_test_leaves_behind_is_dropped(database: Database, new_database: NewDatabase) -> None:
    server = database.server
    other = new_database()
    with other.connect() as connection:
        connection.execute("create table t (id int)")
        connection.execute("create role left_behind")
        connection.execute("grant select on t to left_behind")
        connection.execute("select pg_create_logical_replication_slot('left_slot', 'pgoutput')")
        connection.execute("create publication p for table t")
    with other.connect(autocommit=False) as connection:
        connection.execute("insert into t values (1)")
        connection.execute("prepare transaction 'left_prepared'")
    reader = psycopg.connect(other.dsn, autocommit=True, replication="database")
    reader.pgconn.exec_(
        b"START_REPLICATION SLOT left_slot LOGICAL 0/0 (proto_version '1', publication_names 'p')"
    )
    server.drop_database(other.name)
    server.drop_roles()
    reader.close()
    with server.connect() as connection:
        assert (
            connection.execute("select 1 from pg_replication_slots where slot_name = 'left_slot'").rowcount
            == 0
        )
        assert connection.execute("select 1 from pg_prepared_xacts").rowcount == 0
        assert connection.execute("select 1 from pg_roles where rolname = 'left_behind'").rowcount == 0
    server.create_database(other.name)  # the fixture drops it once more


def test_settings_of_ones_own(new_server: NewServer) -> None:
    server = new_server(17, {"wal_level": "replica"})
    with server.connect() as connection:
        assert connection.execute("show wal_level").fetchone() == ("replica",)


@pytest.mark.parametrize("major", [15, 16, 17, 18])
def test_both_old_and_new_minors_take_wal2json_into_their_settings(major: int) -> None:
    for installation in find_installations(major):
        server = Server.create(installation)
        try:
            conf = (server.data / "postgresql.conf").read_text()
            assert ("output_plugin_libraries = 'pgoutput" in conf) == installation.restricts_plugins
            server.start()
        finally:
            server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another user")
def test_a_wheel_that_the_servers_user_cannot_enter_is_copied(tmp_path: Path, new_server: NewServer) -> None:
    installation = find_installation(18)
    if installation is None:
        missing("no PostgreSQL 18 on this machine")
    hidden = tmp_path / "hidden" / installation.root.parent.name
    shutil.copytree(installation.root, hidden / installation.root.name, symlinks=True)
    libraries = installation.root.parent.with_name(f"{installation.root.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, hidden.with_name(libraries.name), symlinks=True)
    hidden.parent.chmod(0o700)
    server = new_server(replace(installation, root=hidden / installation.root.name))
    assert server.installation.root.is_relative_to(server.socket_folder)
    base = server.socket_folder
    server.close()
    assert not base.exists()


_KILLED = """
import os, sys
from servers.installation import find_installation
from servers.server import Server
server = Server.create(find_installation({major}))
server.start()
print(server.pid, server.data.parent, flush=True)
os.kill(os.getpid(), {signal})
"""


@pytest.mark.crash
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_test_process_leaves_no_server(number: signal.Signals) -> None:
    if find_installation(17) is None:
        missing("no PostgreSQL 17 on this machine")
    done = subprocess.run(
        [sys.executable, "-c", _KILLED.format(major=17, signal=int(number))],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -number, done.stderr
    pid, base = done.stdout.split()
    eventually(lambda: not _lives(int(pid)), within_s=30, what="the end of the server")
    eventually(lambda: not Path(base).exists(), within_s=30, what="the end of its folder")


def test_eventually_returns_what_came_true_and_gives_up() -> None:
    answers = iter([0, "", "yes"])
    assert eventually(lambda: next(answers)) == "yes"
    with pytest.raises(TimeoutError, match="the moon"):
        eventually(lambda: False, within_s=0.05, what="the moon")


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
