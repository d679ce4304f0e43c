"""One PostgreSQL server of our own: made, started, crashed, stopped, and surely gone at the end.

It lives in a folder under /tmp whose name is short (a unix socket's path has at most 107 bytes), owned by
an unprivileged user when the tests run as root, because PostgreSQL refuses to. A guard process
holds the reading end of a pipe: when the test process ends, even by SIGKILL, the guard sees the end of
file, stops the server and removes the folder.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from servers.deadline import eventually
from servers.installation import Installation

SETTINGS: Mapping[str, str] = {
    "wal_level": "logical",
    "max_replication_slots": "24",
    "max_wal_senders": "24",
    "max_prepared_transactions": "24",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "fsync": "off",
    "full_page_writes": "off",
    "timezone": "UTC",
    "lc_messages": "C",
    "listen_addresses": "127.0.0.1",
}
"""Written to postgresql.conf, so that `alter system` in a test still wins."""

START_S_MAX = 60.0
STOP_S_MAX = 30.0
# Below Linux' and macOS' ephemeral ranges: no client connection takes a port while its server is down.
_PORTS = range(15_000, 30_000)

_FOLDER = "/tmp"  # noqa: S108

_GUARD = 'cat >/dev/null; "$1" -D "$2/data" -m immediate -s stop >/dev/null 2>&1; rm -rf "$2"'
_serial = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Database:
    """A database on a test server, and the plugin that the test is to read it with."""

    server: Server
    name: str
    plugin: str

    @property
    def major(self) -> int:
        """The server's major version."""
        return self.server.major

    @property
    def dsn(self) -> str:
        """A connection string for the superuser, over TCP."""
        return self.server.dsn(self.name)

    def connect(self, **options: Any) -> psycopg.Connection[TupleRow]:
        """Return a connection in autocommit mode; `options` are psycopg's and libpq's."""
        return self.server.connect(self.name, **options)


class Server:
    """A server over one data folder. Use `Server.create`, `start`, … and `close` at the end."""

    def __init__(self, installation: Installation, base: Path, user: str | None, port: int) -> None:
        self.installation = installation
        self.port = port
        self.socket_folder = base
        self.data = base / "data"
        self.log = base / "server.log"
        self._base = base
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", installation.program("pg_ctl"), str(base)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # not ended by the terminal's Ctrl-C
            **self._identity(),
        )

    @classmethod
    def create(cls, installation: Installation, settings: Mapping[str, str] | None = None) -> Server:
        """Make a new data folder; `settings` are added to SETTINGS, or replace them."""
        server = cls.place(installation)
        try:
            server._initialise({**SETTINGS, **(settings or {})})
        except BaseException:
            server.close()
            raise
        return server

    @classmethod
    def place(cls, installation: Installation) -> Server:
        """Make a place for a server whose data folder is yet to come (`servers.copies`)."""
        user = _unprivileged_user() if os.geteuid() == 0 else None
        base = Path(tempfile.mkdtemp(prefix="flux-pg-", dir=_FOLDER))
        installation = _reachable(installation, base, user)
        if user is not None:
            shutil.chown(base, user, pwd.getpwnam(user).pw_gid)
        return cls(installation, base, user, free_port())

    @property
    def major(self) -> int:
        """The major version."""
        return self.installation.major

    @property
    def plugins(self) -> tuple[str, ...]:
        """The output plugins that a slot can be made with."""
        return self.installation.plugins

    @property
    def running(self) -> bool:
        """Whether the postmaster lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None, "the server was never started"
        return self._process.pid

    def dsn(self, dbname: str = "postgres", *, user: str = "postgres", over_socket: bool = False) -> str:
        """Return a connection string; over TCP on 127.0.0.1 unless `over_socket`."""
        host = str(self.socket_folder) if over_socket else "127.0.0.1"
        return make_conninfo(host=host, port=self.port, user=user, dbname=dbname)

    def connect(self, dbname: str = "postgres", **options: Any) -> psycopg.Connection[TupleRow]:
        """Return a connection in autocommit mode."""
        return psycopg.connect(self.dsn(dbname), **{"autocommit": True, **options})

    def start(self) -> None:
        """Start the server unless it runs, and wait until it answers."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.installation.program("postgres"), "-D", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._identity(),
            )
        eventually(self._answers, within_s=START_S_MAX, what=f"the start of {self}")

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server: sessions are cut off; `immediate` leaves recovery to the next start."""
        if self._process is None or not self.running:
            return
        family = psutil.Process(self.pid).children(recursive=True)
        self._process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            # A WAL sender waits for its reader to take everything; a test that reads no more must not hang.
            self.kill9()
        _wait_until_gone(family)

    def restart(self) -> None:
        """Stop and start again, on the same port."""
        self.stop()
        self.start()

    def kill9(self) -> None:
        """Crash: SIGKILL to the postmaster and all its children, and wait until they are gone."""
        if self._process is None or not self.running:
            return
        postmaster = psutil.Process(self.pid)
        # Stopped first: a postmaster that sees a child die would begin its own recovery.
        postmaster.suspend()
        family = postmaster.children(recursive=True)
        postmaster.kill()
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self._process.wait(STOP_S_MAX)
        _wait_until_gone(family)

    def close(self) -> None:
        """Stop the server and remove its folder."""
        try:
            self.stop(immediate=True)
        finally:
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard.wait(STOP_S_MAX)

    def create_database(self, name: str | None = None, *, plugin: str = "pgoutput") -> Database:
        """Create an empty database; its name is made up unless given."""
        database = Database(self, name or f"test_{next(_serial)}", plugin)
        with self.connect() as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(database.name)))
        return database

    def drop_database(self, name: str) -> None:
        """Drop a database with all that would hold it: sessions, prepared transactions, slots."""
        identifier = sql.Identifier(name)
        with self.connect() as connection:
            # First of all: a reader that reconnects would take its slot again.
            connection.execute(sql.SQL("alter database {} allow_connections false").format(identifier))
            self._roll_back_prepared(name)
            eventually(lambda: _drop_slots(connection, name), what=f"the end of the slots of {name}")
            connection.execute(sql.SQL("drop database {} with (force)").format(identifier))

    def drop_roles(self) -> None:
        """Drop the roles that tests made; those that another database still needs stay."""
        with self.connect() as connection:
            rows = connection.execute("select rolname from pg_roles where oid >= 16384").fetchall()
            for (name,) in rows:
                with contextlib.suppress(psycopg.errors.DependentObjectsStillExist):
                    connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs as its user, in its folder; raise with what it printed."""
        done = subprocess.run(
            [self.installation.program(program), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=START_S_MAX,
            check=False,
            **self._identity() | {"cwd": self._base},
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} of {self} failed:\n{done.stdout}")

    def log_text(self) -> str:
        """Return the server's log so far."""
        return self.log.read_text(errors="replace")

    def __str__(self) -> str:
        return f"PostgreSQL {self.installation.version} in {self._base}"

    def _initialise(self, settings: Mapping[str, str]) -> None:
        command = [self.installation.program("initdb"), "-D", str(self.data), "-U", "postgres"]
        command += ["-A", "trust", "-E", "UTF8", "--locale", "C", "--no-sync"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=START_S_MAX, check=False, **self._identity()
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb of {self} failed:\n{done.stdout}{done.stderr}")
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        lines += [f"port = {self.port}", f"unix_socket_directories = '{self.socket_folder}'"]
        if self.installation.restricts_plugins and "output_plugin_libraries" not in settings:
            lines.append("output_plugin_libraries = 'pgoutput, test_decoding, wal2json'")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")

    def _identity(self) -> dict[str, Any]:
        """Return the arguments that make a child process run as the server's user, in a folder it may see."""
        arguments: dict[str, Any] = {"cwd": "/", "env": {**os.environ, "LC_ALL": "C"}}
        if self._user is not None:
            group = pwd.getpwnam(self._user).pw_gid
            arguments |= {"user": self._user, "group": group, "extra_groups": []}
        return arguments

    def _answers(self) -> bool:
        if not self.running:
            raise RuntimeError(f"{self} did not start:\n{self.log_text()[-2000:]}")
        try:
            self.connect(connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _roll_back_prepared(self, name: str) -> None:
        with self.connect() as connection:
            query = "select gid from pg_prepared_xacts where database = %s"
            prepared = connection.execute(query, [name]).fetchall()
        if not prepared:
            return
        with self.connect() as connection:
            connection.execute(
                sql.SQL("alter database {} allow_connections true").format(sql.Identifier(name))
            )
        with self.connect(name) as connection:
            for (gid,) in prepared:
                connection.execute(sql.SQL("rollback prepared {}").format(sql.Literal(gid)))


def _drop_slots(connection: psycopg.Connection[TupleRow], name: str) -> bool:
    """Drop the free slots of a database and cut off the readers of the others; True when none is left."""
    query = "select slot_name, active_pid from pg_replication_slots where database = %s"
    slots = connection.execute(query, [name]).fetchall()
    for slot, active_pid in slots:
        if active_pid is not None:
            connection.execute("select pg_terminate_backend(%s)", [active_pid])
            continue
        # Between the two statements a reader may have come or gone: the next round sees it.
        with contextlib.suppress(psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
            connection.execute("select pg_drop_replication_slot(%s)", [slot])
    return not slots


def _unprivileged_user() -> str:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise RuntimeError("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _reachable(installation: Installation, base: Path, user: str | None) -> Installation:
    """Return `installation`, or a copy of it in `base` when `user` may not enter its folder (below /root)."""
    if user is None:
        return installation
    account = pwd.getpwnam(user)
    command = [installation.program("postgres"), "--version"]
    with contextlib.suppress(PermissionError):
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            cwd="/",
            user=user,
            group=account.pw_gid,
            extra_groups=[],
        )
        return installation
    if not installation.relocatable:
        raise RuntimeError(f"the user {user} may not run {command[0]}")
    # The programs of a wheel find the libraries that came with it by this relative place.
    module = installation.root.parent
    root = base / "wheel" / module.name / installation.root.name
    shutil.copytree(installation.root, root, symlinks=True)
    libraries = module.with_name(f"{module.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, base / "wheel" / libraries.name, symlinks=True)
    for folder, _, _ in os.walk(base / "wheel"):
        shutil.chown(folder, user, account.pw_gid)  # the guard removes them as this user
    return replace(installation, root=root)


def listens(port: int) -> bool:
    """Tell whether somebody listens on a TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free now, outside the ranges clients take theirs from."""
    ports: Iterator[int] = iter(random.sample(_PORTS, k=100))
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise RuntimeError("no free port among 100 tried")


def _wait_until_gone(family: list[psutil.Process]) -> None:
    eventually(lambda: not any(map(_alive, family)), within_s=STOP_S_MAX, what="the end of the server")


def _alive(process: psutil.Process) -> bool:
    # A zombie is gone: without an init that reaps them, orphans stay zombies for ever.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
