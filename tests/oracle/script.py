"""A case of the corpus: SQL in a file of its own kind, run step by step with the truth read in between.

The text of a case is SQL; a line that begins with `@` says how what follows is run::

    @ b                 statements in session b (a without a name), autocommit unless they say BEGIN
    @ b fails 23505     the one statement that follows ends with this SQLSTATE
    @ b copy            the first line is COPY … FROM STDIN, the others are its data
    @ track t [rollbacks] [identity_full] [no_trigger]     what `flux track` does
    @ untrack t
    @ reconnect b       a new connection for session b

After each statement another connection reads all tracked tables of the case: a checkpoint. A table that
a session holds locked against reading leaves its checkpoint out.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pglast
import psycopg
from psycopg import sql

from flux.capture import tracking
from flux.model.lsn import parse_lsn
from oracle import truth
from oracle.truth import Table
from servers import Database


@dataclass(frozen=True, slots=True)
class Case:
    """One phenomenon."""

    name: str
    """Also the name of its schema."""
    setup: str
    """Run before capture begins: what it leaves is the baseline."""
    steps: str
    track: tuple[str, ...] = ("t",)
    """Names as SQL has them."""
    rollbacks: bool = True
    identity_full: bool = False
    tag_trigger: bool = True
    expect: str | None = None
    """Every change of the case, in order, one a line: see `line_of`."""
    unseen: tuple[str, ...] = ()
    """Tables whose updates and deletes the server does not publish (no usable key)."""
    majors: tuple[int, ...] = (15, 16, 17, 18)
    plugins: tuple[str, ...] = ("pgoutput", "wal2json")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the tables of a case held at a position."""

    lsn: int
    """Every transaction that can be seen has its commit record before this."""
    after: str
    """The statement before it."""
    tables: dict[int, Table]


@dataclass(slots=True)
class Played:
    """A case while it is played, and what was seen."""

    case: Case
    checkpoints: list[Checkpoint] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Step:
    """One statement, or one thing that is not SQL."""

    verb: str
    """`sql`, `fails`, `copy`, `track`, `untrack`, `reconnect`."""
    session: str
    text: str
    argument: str = ""


_HEAD = re.compile(r"^[ \t]*@[ ]*(.*)$", re.MULTILINE)


def steps_of(text: str) -> Iterator[Step]:
    """Read the text of a case."""
    parts = _HEAD.split(text)
    heads = ["", *parts[1::2]]
    for head, body in zip(heads, parts[0::2], strict=True):
        words = head.split()
        if words and words[0] in ("track", "untrack", "reconnect"):
            yield Step(words[0], words[1] if words[0] == "reconnect" else "", head.partition(" ")[2])
            yield from _statements("", body)
            continue
        session = words[0] if words else "a"
        if words[1:2] == ["fails"]:
            statement, *more = _split(body)
            yield Step("fails", session, statement, words[2])
            assert not more, f"one statement only after fails: {more}"
        elif words[1:2] == ["copy"]:
            first, _, data = textwrap.dedent(body).strip("\n").partition("\n")
            yield Step("copy", session, first, data.rstrip(" \n"))
        else:
            yield from _statements(session, body)


def _statements(session: str, body: str) -> Iterator[Step]:
    for statement in _split(body):
        yield Step("sql", session or "a", statement)


def _split(body: str) -> list[str]:
    return list(pglast.split(body)) if body.strip() else []


class Stage:
    """A database on which cases are played, one after the other, each in its own schema."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.control = database.connect()
        self._observer = database.connect()
        self._observer.execute(truth.SESSION + "; set lock_timeout = '20ms'")
        self._sessions: dict[str, psycopg.Connection[Any]] = {}

    def set_up(self, case: Case) -> None:
        """Make the tables of a case and track them."""
        schema = sql.Identifier(case.name)
        with self.database.connect() as connection:
            connection.execute(sql.SQL("create schema {}").format(schema))
            connection.execute(sql.SQL("set search_path = {}, public").format(schema))
            for statement in _split(case.setup):
                connection.execute(statement)
            if case.track:
                tracking.track(
                    connection,
                    case.track,
                    rollbacks=case.rollbacks,
                    identity_full=case.identity_full,
                    tag_trigger=case.tag_trigger,
                )

    def play(self, case: Case) -> Played:
        """Run the steps of a case."""
        played = Played(case)
        played.checkpoints.append(self.look(case, "the setup"))
        try:
            for step in steps_of(case.steps):
                self._do(case, step)
                try:
                    played.checkpoints.append(self.look(case, step.text))
                except psycopg.errors.LockNotAvailable:
                    continue
            # What is left open is rolled back here, for certain before the stream is caught up.
            for connection in self._sessions.values():
                if not connection.closed:
                    connection.execute("rollback") if connection.info.transaction_status else None
            played.checkpoints.append(self.look(case, "the end"))
        finally:
            for connection in self._sessions.values():
                connection.close()
            self._sessions.clear()
        return played

    def close(self) -> None:
        """Close every connection."""
        self.control.close()
        self._observer.close()

    def _do(self, case: Case, step: Step) -> None:
        if step.verb in ("track", "untrack"):
            self._track(case, step)
            return
        if step.verb == "reconnect":
            self._session(case, step.session).close()
            del self._sessions[step.session]
            return
        connection = self._session(case, step.session)
        statement = step.text
        if step.verb == "copy":
            with connection.cursor().copy(statement) as copy:
                copy.write(step.argument + "\n")
            return
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            if step.verb != "fails" or error.sqlstate != step.argument:
                raise AssertionError(f"{case.name}: {step.text}: {error.sqlstate} {error}") from error
        else:
            assert step.verb != "fails", f"{case.name}: {step.text} did not fail"

    def _track(self, case: Case, step: Step) -> None:
        name, *options = step.text.split()
        with self.database.connect() as connection:
            connection.execute(sql.SQL("set search_path = {}, public").format(sql.Identifier(case.name)))
            if step.verb == "track":
                tracking.track(
                    connection,
                    [name],
                    rollbacks="rollbacks" in options,
                    identity_full="identity_full" in options,
                    tag_trigger="no_trigger" not in options,
                )
            else:
                tracking.untrack(connection, [name])

    def _session(self, case: Case, name: str) -> psycopg.Connection[Any]:
        connection = self._sessions.get(name)
        if connection is None:
            connection = self.database.connect(application_name=f"session {name}", prepare_threshold=None)
            connection.execute(sql.SQL("set search_path = {}, public").format(sql.Identifier(case.name)))
            self._sessions[name] = connection
        return connection

    def look(self, case: Case, after: str) -> Checkpoint:
        """Read the tables of a case; LockNotAvailable when a session holds one against reading."""
        tables = truth.read(self._observer, case.name)
        row = self._observer.execute("select pg_current_wal_insert_lsn()::text").fetchone()
        assert row is not None
        return Checkpoint(parse_lsn(row[0]), after, tables)
