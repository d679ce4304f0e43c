"""A driver that knows what it did: sessions that write at once, each noting what became of every row.

What it notes comes from the server's answers alone (RETURNING, SQLSTATE, what a commit left behind), never
from Flux. What a client cannot know is noted as `maybe`, and nothing else is: the statement failed while it
waited for a lock, before or after the AFTER ROW trigger; or its transaction died with the server, and the
log that was not flushed with it.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from servers import Database

SETUP = """
    create table t (id bigint primary key, token text, pad text);
    create table child (id bigint primary key, t_id bigint references t, token text);
    create table log (txn text primary key);
    insert into t select i, 'begin', (select string_agg(md5(i::text || j), '') from generate_series(1, 100) j)
    from generate_series(1, 40) i;
    create function block(p_id bigint, p_new bigint, p_token text, p_fail boolean) returns int language plpgsql as $$
    declare
        n int := 0;
    begin
        begin
            update t set token = p_token || '/in' where id = p_id;
            get diagnostics n = row_count;
            insert into t (id, token) values (p_new, p_token || '/in');
            if p_fail then
                raise exception 'no';
            end if;
        exception when raise_exception then
            insert into t (id, token) values (p_new, p_token || '/handler');
        end;
        return n;
    end $$;
"""
TABLES = ("t", "child")

SHARED_KEYS = 40
"""Rows that every session writes to."""
_WAITED = ("55P03", "40P01", "57014")
"""Lock timeout, deadlock, cancelled: the statement failed while it waited."""


class GivenUp(Exception):
    """A statement outside of any savepoint failed: its transaction is over."""


@dataclass(slots=True)
class Attempt:
    """One row that a statement inserted, updated or deleted."""

    relation: str
    op: str
    key: str
    token: str | None
    """What the new row's token is; None for a delete."""
    request: str | None
    actor: str | None
    maybe: bool = False
    """It may not be in the log at all; it certainly did not commit."""
    outcome: str = "open"


@dataclass(frozen=True, slots=True)
class InFlight:
    """A statement that the server did not answer: it may have written, and nobody knows what."""

    session: str
    tag: tuple[str | None, str | None]
    began: int
    """Its tokens have serials above this …"""
    ended: int
    """… and not above this."""
    deleted: int | None
    """The key of the row that it was to delete."""


@dataclass(slots=True)
class Record:
    """What a driver did."""

    attempts: list[Attempt] = field(default_factory=list)
    transactions: int = 0
    uncertain: list[tuple[str, list[Attempt], list[Attempt]]] = field(default_factory=list)
    """Transactions that died with the server, perhaps in their commit: name, what they keep, what not."""
    unflushed: list[Attempt] = field(default_factory=list)
    """Attempts that were rolled back since the last commit: a crash may take them out of the log."""
    in_flight: list[InFlight] = field(default_factory=list)
    """Statements that the server did not answer."""


class Transaction:
    """Attempts by the savepoint they were made in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.levels: list[tuple[list[Attempt], tuple[str | None, str | None]]] = [([], (None, None))]
        self.lost: list[Attempt] = []
        self.tag: tuple[str | None, str | None] = (None, None)

    def note(self, relation: str, op: str, key: object, token: str | None, *, maybe: bool = False) -> None:
        """Note an attempt at the innermost savepoint."""
        attempt = Attempt(relation, op, str(key), token, *self.tag, maybe=maybe)
        (self.lost if maybe else self.levels[-1][0]).append(attempt)

    def savepoint(self) -> None:
        self.levels.append(([], self.tag))

    def release(self) -> None:
        inner, _ = self.levels.pop()
        self.levels[-1][0].extend(inner)

    def back(self) -> None:
        """Roll back to the innermost savepoint, which stays."""
        inner, self.tag = self.levels[-1]
        self.lost.extend(inner)
        self.levels[-1] = ([], self.tag)

    @property
    def kept(self) -> list[Attempt]:
        return [attempt for level, _ in self.levels for attempt in level]

    def end(self, record: Record, *, committed: bool) -> None:
        """Give every attempt its outcome."""
        kept = self.kept
        for attempt in kept:
            attempt.outcome = "committed" if committed else "rolled_back"
        for attempt in self.lost:
            attempt.outcome = "savepoint_rolled_back" if committed else "rolled_back"
        record.attempts += kept + self.lost
        record.transactions += 1
        if committed:
            record.unflushed.clear()
        else:
            record.unflushed += kept + self.lost

    def crash(self, record: Record) -> None:
        """The server died before it was asked to commit."""
        for attempt in self.kept + self.lost:
            attempt.maybe = True
            attempt.outcome = "rolled_back"
            record.attempts.append(attempt)


class Session:
    """One connection's writing, decided by a seed."""

    def __init__(self, database: Database, number: int, seed: object) -> None:
        self.record = Record()
        self._database = database
        self._number = number
        self._rng = random.Random(f"{seed} {number}")
        self._serial = 0
        self._began = 0
        """The serial at which the statement at hand began."""
        self._deleting: int | None = None
        """The key of the row that it deletes."""
        self._connection: psycopg.Connection[Any] | None = None

    def run(self, transactions: int, stop: threading.Event | None = None) -> None:
        """Run so many transactions, or until told to stop; survives the server."""
        for _ in range(transactions):
            if stop is not None and stop.is_set():
                break
            try:
                self.transact()
            except psycopg.OperationalError:
                self._connection = None
                if stop is not None:
                    stop.wait(0.05)
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def transact(self) -> None:
        """Run one transaction. Raises `psycopg.OperationalError` when the server is gone."""
        txn = self.begin()
        connection = self._connect()
        committed = self._rng.random() < 0.75
        verb = "commit" if committed else "rollback"
        try:
            if self._rng.random() < 0.15:
                connection.execute(f"prepare transaction 'p{txn.name}'")
                connection.execute(f"{verb} prepared 'p{txn.name}'")
            else:
                connection.execute(verb)
        except psycopg.OperationalError:
            self._abandon(txn)
            raise
        txn.end(self.record, committed=committed)

    def begin(self) -> Transaction:
        """Begin a transaction, write, and leave it open."""
        while True:
            connection = self._connect()
            self._serial += 1
            txn = Transaction(f"{self._number}-{self._serial}")
            try:
                connection.execute("begin")
                connection.execute("insert into log values (%s)", [txn.name])
                if self._rng.random() < 0.8:
                    self._tag(txn)
                try:
                    for _ in range(self._rng.randint(1, 9)):
                        self._act(txn)
                except GivenUp:
                    connection.execute("rollback")
                else:
                    return txn
            except psycopg.OperationalError:
                self._abandon(txn)
                raise
            txn.end(self.record, committed=False)

    def _abandon(self, txn: Transaction) -> None:
        """The server went away: whether it committed is asked later."""
        self.record.uncertain.append((txn.name, txn.kept, txn.lost))
        self.record.in_flight.append(
            InFlight(str(self._number), txn.tag, self._began, self._serial, self._deleting)
        )
        for attempt in self.record.unflushed:
            attempt.maybe = True
        self.record.unflushed.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect(
                application_name=f"session {self._number}", prepare_threshold=None, connect_timeout=5
            )
            self._connection.execute("set lock_timeout = '40ms'; set deadlock_timeout = '20ms'")
        return self._connection

    def _tag(self, txn: Transaction) -> None:
        self._serial += 1
        request = None if self._rng.random() < 0.1 else f"r{self._number}-{self._serial}"
        actor = self._rng.choice([None, "ann", "bob"])
        self._connect().execute("select flux.tag(%s, %s)", [request, actor])
        txn.tag = (request, actor)

    def _act(self, txn: Transaction) -> None:
        choice = self._rng.random()
        if choice < 0.2 and len(txn.levels) < 4:
            self._connect().execute(f"savepoint s{len(txn.levels)}")
            txn.savepoint()
        elif choice < 0.32 and len(txn.levels) > 1:
            self._connect().execute(f"release s{len(txn.levels) - 1}")
            txn.release()
        elif choice < 0.42 and len(txn.levels) > 1:
            self._back(txn)
        elif choice < 0.48:
            self._tag(txn)
        else:
            self._write(txn)

    def _back(self, txn: Transaction) -> None:
        name = f"s{len(txn.levels) - 1}"
        self._connect().execute(f"rollback to {name}")
        txn.back()
        if self._rng.random() < 0.5:
            self._connect().execute(f"release {name}")
            txn.release()

    def _write(self, txn: Transaction) -> None:
        """Run one statement inside a savepoint of its own if it may fail."""
        kinds = ("insert", "update", "many", "delete", "key", "child", "lock", "block", "copy")
        kind = self._rng.choices(kinds, (2, 3, 1, 3, 1, 1, 1, 1, 1))[0]
        connection = self._connect()
        self._began, self._deleting = self._serial, None
        # Without a savepoint of its own it is seen what a transaction's top level does.
        guard = self._rng.random() < 0.5
        if guard:
            connection.execute("savepoint guard")
            txn.savepoint()
        try:
            getattr(self, f"_{kind}")(connection, txn)
        except psycopg.Error as error:
            if error.sqlstate is None or error.sqlstate not in (*_WAITED, "23503", "23505"):
                raise
            if not guard:
                raise GivenUp from error
            connection.execute("rollback to guard")
            txn.back()
        if guard:
            connection.execute("release guard")
            txn.release()

    def _token(self) -> str:
        self._serial += 1
        return f"{self._number}:{self._serial}"

    def _fresh(self) -> int:
        self._serial += 1
        return 1_000_000 * (self._number + 1) + self._serial

    def _any(self) -> int:
        return self._rng.randint(1, SHARED_KEYS)

    def _insert(self, connection: psycopg.Connection[Any], txn: Transaction) -> None:
        key, token = self._fresh(), self._token()
        connection.execute("insert into t (id, token) values (%s, %s)", [key, token])
        txn.note("t", "insert", key, token)

    def _copy(self, connection: psycopg.Connection[Any], txn: Transaction) -> None:
        token = self._token()
        keys = [self._fresh(), self._fresh()]
        with connection.cursor().copy("copy t (id, token) from stdin") as copy:
            for key in keys:
                copy.write_row((key, token))
        for key in keys:
            txn.note("t", "insert", key, token)

    def _update(self, connection: psycopg.Connection[Any], txn: Transaction) -> None:
        self._updated(connection, txn, [self._any()])

    def _many(self, connection: psycopg.Connection[Any], txn: Transaction) -> None:
        self._updated(connection, txn, [self._any() for _ in range(4)])

    def _updated(self, connection: psycopg.Connection[Any], txn: Transaction, keys: list[int]) -> None:
        token = self._token()
        rows = connection.execute("update t set token = %s where id = any(%s) returning id", [token, keys])
        for (key,) in rows.fetchall():
            txn.note("t", "update", key, token)

    def _delete(self, connection: psycopg.Connection[Any], txn: Transaction) -> None:
        key = self._any()
        if self._rng.random() < 0.5:
            # Our own lock makes xmax a MultiXact when others hold one too.
            connection.execute("select 1 from t where id = %s for key share", [key])
        self._deleting = key
        try:
            rows = connection.execute("delete from t where id = %s returning id", [key]).fetchall()
        except psycopg.Error as error:
            if error.sqlstate == "23503":
                txn.note("t", "delete", key, None)
            elif error.sqlstate in _WAITED:
                txn.note("t", "delete", key, None, maybe=True)
            raise
        for _ in rows:
            txn.note("t", "delete", key, None)
            if self._rng.random() < 0.7:
                token = self._token()
                connection.execute("insert into t (id, token) values (%s, %s)", [key, token])
                txn.note("t", "insert", key, token)

    def _key(self, connection: psycopg.Connection[Any], txn: Transaction) -> None:
        key, fresh, token = self._any(), self._fresh(), self._token()
        back = self._token()
        try:
            rows = connection.execute(
                "update t set id = %s, token = %s where id = %s returning id", [fresh, token, key]
            ).fetchall()
        except psycopg.Error as error:
            if error.sqlstate == "23503":
                txn.note("t", "update", fresh, token)
            elif error.sqlstate in _WAITED:
                txn.note("t", "update", fresh, token, maybe=True)
            raise
        for _ in rows:
            txn.note("t", "update", fresh, token)
            connection.execute("update t set id = %s, token = %s where id = %s", [key, back, fresh])
            txn.note("t", "update", key, back)

    def _child(self, connection: psycopg.Connection[Any], txn: Transaction) -> None:
        key, token = self._fresh(), self._token()
        parent = self._any() if self._rng.random() < 0.8 else -1
        try:
            connection.execute("insert into child values (%s, %s, %s)", [key, parent, token])
        except psycopg.Error as error:
            # The row is in, and its attempt with it, before the foreign key is looked at.
            if error.sqlstate == "23503" or error.sqlstate in _WAITED:
                txn.note("child", "insert", key, token, maybe=error.sqlstate != "23503")
            raise
        txn.note("child", "insert", key, token)

    def _lock(self, connection: psycopg.Connection[Any], _: Transaction) -> None:
        keys = [self._any() for _ in range(3)]
        connection.execute("select 1 from t where id = any(%s) order by id for key share", [keys])

    def _block(self, connection: psycopg.Connection[Any], txn: Transaction) -> None:
        key, fresh, token = self._any(), self._fresh(), self._token()
        fail = self._rng.random() < 0.5
        try:
            row = connection.execute("select block(%s, %s, %s, %s)", [key, fresh, token, fail]).fetchone()
        except psycopg.Error as error:
            # The block gave back its lock on the table, and an ALTER TABLE was before the handler.
            if error.sqlstate in _WAITED:
                txn.note("t", "update", key, token + "/in", maybe=True)
                txn.note("t", "insert", fresh, token + "/in", maybe=True)
            raise
        assert row is not None
        txn.savepoint()
        for _ in range(row[0]):
            txn.note("t", "update", key, token + "/in")
        txn.note("t", "insert", fresh, token + "/in")
        if fail:
            txn.back()
        txn.release()
        if fail:
            txn.note("t", "insert", fresh, token + "/handler")


class Driver:
    """Several sessions that write at once."""

    def __init__(self, database: Database, sessions: int, seed: object) -> None:
        self.sessions = [Session(database, number, seed) for number in range(sessions)]
        self._database = database
        self._failures: list[BaseException] = []

    def run(self, transactions: int, stop: threading.Event | None = None) -> None:
        """Run all sessions until each did so many transactions (or `stop`)."""
        threads = self.start(transactions, stop)
        self.join(threads)

    def start(self, transactions: int, stop: threading.Event | None = None) -> list[threading.Thread]:
        def work(session: Session) -> None:
            try:
                session.run(transactions, stop)
            except BaseException as error:  # noqa: BLE001 (told to the test by `join`)
                self._failures.append(error)

        threads = [threading.Thread(target=work, args=(session,)) for session in self.sessions]
        for thread in threads:
            thread.start()
        return threads

    def join(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def settle(self) -> None:
        """Ask which of the transactions that died in their commit were committed."""
        with self._database.connect() as connection:
            for session in self.sessions:
                for name, kept, lost in session.record.uncertain:
                    prepared = connection.execute(
                        "select 1 from pg_prepared_xacts where gid = %s", [f"p{name}"]
                    )
                    if prepared.fetchone():
                        connection.execute(f"rollback prepared 'p{name}'")
                    row = connection.execute("select 1 from log where txn = %s", [name]).fetchone()
                    txn = Transaction(name)
                    txn.levels[0][0].extend(kept)
                    txn.lost = lost
                    if row is None:
                        txn.crash(session.record)
                    else:
                        # All of it was flushed with the commit, the attempts included.
                        txn.end(session.record, committed=True)
                session.record.uncertain.clear()

    @property
    def attempts(self) -> list[Attempt]:
        return [attempt for session in self.sessions for attempt in session.record.attempts]

    @property
    def in_flight(self) -> list[InFlight]:
        return [each for session in self.sessions for each in session.record.in_flight]

    @property
    def transactions(self) -> int:
        return sum(session.record.transactions for session in self.sessions)


Identity = tuple[str, str, str, str | None, str | None, str | None]


def hold_against(driver: Driver, changes: Iterable[Mapping[str, Any]]) -> None:
    """Fail unless `changes` holds every attempt once, with its outcome, request and actor, and no other."""
    found: Counter[tuple[Identity, str]] = Counter()
    for change in changes:
        after = dict(change["after"] or ())
        identity = (
            change["relation"].partition(".")[2],
            change["op"],
            change["key"],
            after.get("token"),
            change["request_id"],
            change["actor"],
        )
        found[identity, change["outcome"]] += 1
    lacking = []
    for attempt in sorted(driver.attempts, key=lambda attempt: attempt.maybe):
        assert attempt.outcome != "open", attempt
        identity = (attempt.relation, attempt.op, attempt.key, attempt.token, attempt.request, attempt.actor)
        if found[identity, attempt.outcome]:
            found[identity, attempt.outcome] -= 1
        elif not attempt.maybe:
            lacking.append(attempt)
    surplus = +Counter({each: count - _unanswered(driver, *each) for each, count in found.items()})
    assert not lacking and not surplus, (
        f"{len(lacking)} attempts are missing, {surplus.total()} are not mine:\n"
        + "\n".join(f"  missing {attempt}" for attempt in lacking[:8])
        + "\n"
        + "\n".join(f"  found   {entry}" for entry in list(surplus)[:8])
    )


def _unanswered(driver: Driver, identity: Identity, outcome: str) -> int:
    """Return how many of these may be of statements that died with the server before they were answered."""
    _, op, key, token, request, actor = identity
    if outcome != "rolled_back":
        return 0
    if op == "delete":
        return sum(each.tag == (request, actor) and str(each.deleted) == key for each in driver.in_flight)
    session, _, serial = (token or "").partition("/")[0].partition(":")
    return sum(
        session == each.session and each.began < int(serial) <= each.ended for each in driver.in_flight
    )
