"""Outcomes are exact: what sessions noted about their own writing is what the stream says."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from flux.capture import install, tracking
from oracle import check
from oracle.attempts import SETUP, TABLES, Driver, Transaction, hold_against
from oracle.recording import Recording
from servers import Database, on

LONG = os.environ.get("FLUX_ORACLE") == "long"
SESSIONS = 6
TRANSACTIONS = 600 if LONG else 60


def prepare(database: Database) -> list[Recording]:
    plugins: tuple[str, ...] = ("pgoutput", "wal2json") if database.major == 15 else ("pgoutput",)
    with database.connect() as connection:
        install.init(connection, plugin="pgoutput")
        connection.execute(SETUP)
        tracking.track(connection, TABLES, rollbacks=True)
    return [Recording(database, plugin, f"outcomes_{plugin}") for plugin in plugins]  # type: ignore[arg-type]


@on((15, "pgoutput"), (17, "pgoutput"), (18, "pgoutput"))
def test_every_attempt_has_its_outcome_and_request(database: Database) -> None:
    recordings = prepare(database)
    driver = Driver(database, SESSIONS, seed=database.major)
    driver.run(TRANSACTIONS)
    outcomes = Counter((attempt.op, attempt.outcome) for attempt in driver.attempts)
    # A driver that does little proves little.
    for op in ("insert", "update", "delete"):
        for outcome in ("committed", "rolled_back", "savepoint_rolled_back"):
            assert outcomes[op, outcome] >= TRANSACTIONS // 20, outcomes
    for recording in recordings:
        recording.catch_up()
        told = recording.decode()
        recording.close()
        assert told.open_attempts == 0
        hold_against(driver, told.changes)
        check.check_whole(told.changes, told.contexts, told.transactions)


@pytest.mark.crash
@on((15, "pgoutput"), (18, "pgoutput"))
def test_a_killed_server_rolls_back_what_was_open(database: Database) -> None:
    recordings = prepare(database)
    driver = Driver(database, SESSIONS, seed=f"crash {database.major}")
    for _ in range(3):
        driver.run(6)
        left: list[Transaction] = [session.begin() for session in driver.sessions]
        for session, txn in zip(driver.sessions[:2], left[:2], strict=True):
            assert session._connection is not None
            session._connection.execute(f"prepare transaction 'p{txn.name}'")
        with database.connect() as connection:
            # Its commit flushes everything that was written before, the attempts of others included.
            connection.execute("select flux.heartbeat('before the crash')")
        database.server.kill9()
        database.server.start()
        with database.connect() as connection:
            connection.execute(f"commit prepared 'p{left[0].name}'")
            connection.execute(f"rollback prepared 'p{left[1].name}'")
        for session, txn in zip(driver.sessions, left, strict=True):
            txn.end(session.record, committed=txn is left[0])
            session.close()
    driver.run(4)
    for recording in recordings:
        recording.reopen()
        recording.catch_up()
        told = recording.decode()
        recording.close()
        assert told.open_attempts == 0
        hold_against(driver, told.changes)
        check.check_whole(told.changes, told.contexts, told.transactions)
