"""How a connection's life begins: compare ledger and slot, make what is missing, start the stream.

Three ways lead to a stream: the slot is where the ledger left it; there is neither slot nor
position (a new source); or the log is lost and the user said `--resnapshot`, which records the gap.
Anything else is refused by `position.check`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from flux import sql
from flux.capture import confirmed as durable
from flux.capture import lossy, position, source
from flux.capture.baseline import Snapshot, adopt_snapshot, running_transactions
from flux.capture.confirmed import Confirmed
from flux.capture.meter import now_us
from flux.capture.run import Run
from flux.decoder import Decoder, commit_record
from flux.decoder.slot import (
    SlotState,
    System,
    connect_replication,
    create_slot,
    drop_slot,
    identify,
    read_slot,
    translate,
)
from flux.decoder.wire import Stream, open_stream, read_log
from flux.ledger.shapes import relations_table
from flux.model.batch import CHANGES, CONTEXTS, DDL, TRANSACTIONS, Batch, Position
from flux.model.errors import SlotError, SlotLost
from flux.model.lsn import lsn_text
from flux.model.relation import Relation


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream that runs, and what goes with it."""

    connection: psycopg.Connection[Any]
    """An ordinary connection, for questions about relations."""
    system: System
    confirmed: Confirmed
    stream: Stream
    decoder: Decoder
    snapshot: Snapshot | None
    """Of a slot just made: the tables can be copied at once."""
    roots: tuple[int, ...]
    """OIDs of the tables that need a baseline."""

    def close(self) -> None:
        """End the stream and the connections."""
        if self.snapshot is not None:
            self.snapshot.close()
        self.stream.close()
        self.connection.close()


def open_source(run: Run, *, busy_wait_s: float, resnapshot: bool) -> Opened:
    """Connect, compare, and start streaming.

    Raises `SlotLost` when the log between ledger and slot is lost (unless `resnapshot`), `SlotBusy` when the
    slot stays in use for `busy_wait_s`, `Unreachable`, `SourceError`, `LedgerError`.
    """
    settings = run.settings
    connection = source.connect(
        settings.dsn, application_name="flux", answer_timeout_s=settings.bounds.answer_timeout_s
    )
    snapshot: Snapshot | None = None
    try:
        system = identify_system(settings.dsn)
        slot = _free_slot(run, connection, busy_wait_s)
        stored = stored_position(run)
        known = durable.read(settings.ledger, settings.source)
        anew, every, reason = slot is None and stored is None and known is None, resnapshot, ""
        try:
            position.check(settings.slot, settings.plugin, system, slot, stored, known)
            _check_log(settings.dsn, position.last_commit(stored, known))
        except SlotLost as lost:
            if not resnapshot:
                raise
            anew, reason = True, f"{lost.what}: {lost.why}"
            before = known or stored
            if before is not None and before.system_identifier != system.system_identifier:
                relations = run.writer.relations(stored.end_lsn if stored else 0)
                position.check_relations(relations, _described(connection))
        if anew:
            known, snapshot = _make_slot(run, connection, system, slot, stored, reason)
        elif known is None:
            known = _adopt(run, system, slot, stored)
        if every and not anew:
            known = replace(known, pending=_tracked(connection))
            durable.write(settings.ledger, settings.source, known)
        return _start(run, connection, system, known, snapshot)
    except BaseException:
        if snapshot is not None:
            snapshot.close()
        connection.close()
        raise


def identify_system(dsn: str | None) -> System:
    """Return the system behind `dsn`."""
    connection = connect_replication(dsn)
    try:
        return identify(connection)
    finally:
        connection.close()


def stored_position(run: Run) -> position.Stored | None:
    """Return what the ledger says, in the words of `position`."""
    at = run.writer.position()
    if at is None:
        return None
    return position.Stored(at.system_identifier, at.timeline, at.commit_lsn, at.end_lsn, at.at_us)


def relations_batch(relations: list[Relation], at: Position) -> Batch:
    """Return a batch that brings relation versions alone."""
    return Batch(
        changes=CHANGES.empty_table(),
        contexts=CONTEXTS.empty_table(),
        transactions=TRANSACTIONS.empty_table(),
        relations=relations_table(relations),
        ddl=DDL.empty_table(),
        position=at,
        confirm_lsn=0,
    )


def _check_log(dsn: str | None, last: Position | None) -> None:
    """Refuse a server whose log took another way before the ledger's position."""
    where = None if last is None else commit_record.span(last)
    if last is None or where is None:
        return
    log = read_log(dsn, *where)
    position.check_log(last, None if log is None else commit_record.holds(log, last))


def _free_slot(run: Run, connection: psycopg.Connection[Any], busy_wait_s: float) -> SlotState | None:
    """Return the slot's state, after waiting a while for another reader to leave it.

    A reader that was killed is noticed by the server within moments; one that lost its network, only
    after wal_sender_timeout. If it stays, START_REPLICATION tells who it is.
    """
    deadline = time.monotonic() + busy_wait_s
    told = False
    while True:
        slot = read_slot(connection, run.settings.slot)
        if slot is None or slot.active_pid is None or run.stop() or time.monotonic() > deadline:
            return slot
        if not told:
            told = True
            run.say(f"waiting for process {slot.active_pid} of the server to leave the slot {slot.slot}")
        run.wait(0.1)


def _make_slot(
    run: Run,
    connection: psycopg.Connection[Any],
    system: System,
    old: SlotState | None,
    stored: position.Stored | None,
    reason: str,
) -> tuple[Confirmed, Snapshot]:
    """Make the slot (again), record the gap there is, and begin a generation."""
    settings = run.settings
    if old is not None:
        drop_slot(settings.dsn, settings.slot)
    waiting = running_transactions(connection)
    if waiting:
        run.say(f"making the slot {settings.slot}: waits for {waiting} running transactions to end")
    made = create_slot(settings.dsn, settings.slot, settings.plugin, stop=run.stop)
    try:
        snapshot = adopt_snapshot(settings.dsn, made, timeout_s=settings.bounds.copy_timeout_s)
    finally:
        made.connection.close()
    try:
        try:
            position.check_resnapshot(made.consistent_point, stored)
        except SlotError:
            drop_slot(settings.dsn, settings.slot)
            raise
        at = run.writer.position()
        if reason and at is not None:
            run.writer.add_gap(
                from_lsn=at.end_lsn,
                to_lsn=made.consistent_point,
                from_us=at.at_us,
                to_us=snapshot.at_us or now_us(),
                reason=reason,
            )
            run.say(f"gap from {lsn_text(at.end_lsn)} to {lsn_text(made.consistent_point)}: {reason}")
        known = Confirmed(
            slot=settings.slot,
            system_identifier=system.system_identifier,
            timeline=system.timeline,
            generation_lsn=made.consistent_point,
            confirmed_lsn=made.consistent_point,
            commit_lsn=stored.commit_lsn if stored else 0,
        )
        # From here on a restart goes on from the slot.
        durable.write(settings.ledger, settings.source, known)
    except BaseException:
        snapshot.close()
        raise
    return known, snapshot


def _adopt(run: Run, system: System, slot: SlotState | None, stored: position.Stored | None) -> Confirmed:
    """Begin with a slot that is there (`flux init` made it), or after our own file was lost."""
    at = slot.confirmed_lsn if slot is not None and slot.confirmed_lsn is not None else 0
    known = Confirmed(
        slot=run.settings.slot,
        system_identifier=system.system_identifier,
        timeline=system.timeline,
        generation_lsn=at if stored is None else 0,
        confirmed_lsn=at,
        commit_lsn=stored.commit_lsn if stored else 0,
    )
    durable.write(run.settings.ledger, run.settings.source, known)
    return known


def _start(
    run: Run,
    connection: psycopg.Connection[Any],
    system: System,
    known: Confirmed,
    snapshot: Snapshot | None,
) -> Opened:
    """Start the stream and the decoder at the ledger's position."""
    settings = run.settings
    bounds = settings.bounds
    stream = open_stream(
        settings.dsn,
        slot=settings.slot,
        plugin=settings.plugin,
        start_lsn=known.start_lsn,
        feedback_interval_s=bounds.feedback_interval_s,
        receive_timeout_s=bounds.receive_timeout_s,
        queue_bytes_max=bounds.queue_bytes_max,
    )
    try:
        if snapshot is not None:
            _begin(run, system, snapshot, exact_numbers=stream.exact_numbers)
        relations = run.writer.relations(known.start_lsn)
        if not stream.exact_numbers and (told := lossy.warning(relations)):
            run.say(told)
        at = run.writer.position()
        decoder = Decoder(
            "pgoutput" if settings.plugin == "pgoutput" else "wal2json",
            relations=relations,
            lookup=lambda relation: _look_up(connection, relation, lossy=not stream.exact_numbers),
            position=None if at is None else Position(at.commit_lsn, at.end_lsn, at.at_us),
            start_lsn=known.start_lsn,
            xid_near=_recent_xid(connection),
            secret=_secret(connection),
            spill=run.writer.path,
            conceal=run.redactor is not None,
        )
        done = {each.relation_id for each in run.writer.baselines() if each.lsn >= known.generation_lsn}
        tracked = _tracked(connection)
        if not tracked:
            run.say("no table is tracked yet: flux track TABLE")
        roots = tuple(root for root in tracked if root not in done or root in known.pending)
        return Opened(connection, system, known, stream, decoder, snapshot, roots)
    except BaseException:
        stream.close()
        raise


def _begin(run: Run, system: System, snapshot: Snapshot, *, exact_numbers: bool) -> None:
    """Store the relation versions and the position that a generation begins with."""
    relations = snapshot.describe(lossy=not exact_numbers)
    start = Position(snapshot.lsn - 1, snapshot.lsn, snapshot.at_us)
    run.writer.append(relations_batch(relations, start))
    run.writer.commit(
        slot=run.settings.slot, system_identifier=system.system_identifier, timeline=system.timeline
    )


def _tracked(connection: psycopg.Connection[Any]) -> tuple[int, ...]:
    """Return the OIDs of the tracked tables, roots only."""
    return tuple(sorted({relation.root_id for relation in _described(connection)}))


def _described(connection: psycopg.Connection[Any]) -> list[Relation]:
    try:
        return source.describe(connection)
    except psycopg.Error as error:
        raise translate(error, doing="describe the tracked tables") from None


def _look_up(connection: psycopg.Connection[Any], relation: int | str, *, lossy: bool) -> Relation | None:
    try:
        return source.lookup(connection, relation, lossy=lossy)
    except psycopg.Error as error:
        raise translate(error, doing="look up a relation") from None


def _secret(connection: psycopg.Connection[Any]) -> str:
    try:
        return source.secret(connection)
    except psycopg.Error as error:
        raise translate(error, doing="read the secret of Flux's messages") from None


def _recent_xid(connection: psycopg.Connection[Any]) -> int:
    try:
        row = connection.execute(sql.text("capture/recent_xid.sql")).fetchone()
    except psycopg.Error as error:
        raise translate(error, doing="ask for a recent transaction id") from None
    return int(row[0]) if row else 0
