"""Outcomes from the stream alone, against a simulation that knows what it did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder.encode import TABLE, Change, Message, Streams, Transaction
from decoder.test_plugins import CUTS, plain
from flux.decoder import Decoder, spill
from flux.model.batch import Batch
from flux.model.lsn import lsn_text


@pytest.fixture(autouse=True, scope="module")
def pieces() -> Iterator[None]:
    """Hand even a few attempts over in pieces, as capture gets millions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "PIECE_ROWS", 8)
        # And let them wait as millions do: some on disk, the newest in memory.
        patch.setattr(spill, "MEMORY_BYTES_MAX", 2000)
        patch.setattr(spill, "TABLES_MAX", 2)
        yield


def whole(batch: Batch) -> pa.Table:
    """Return the changes of a batch with those that come late."""
    return pa.concat_tables([batch.changes, *batch.late])


@dataclass(slots=True)
class Session:
    """One open transaction: a stack of savepoints, each with its attempts and its marks."""

    xid: int
    context: int
    attempts: list[list[int]] = field(default_factory=lambda: [[]])
    marks: list[list[int]] = field(default_factory=lambda: [[]])
    count: int = 0


STEP = st.tuples(st.integers(0, 1), st.sampled_from("aaaassrxxcb"))
"""A session, and what it does: attempt, savepoint, release, roll back to savepoint, commit, abort."""

# Short lists, which hypothesis likes best, hardly ever open a savepoint, use it and end it.
STEPS = st.lists(STEP, min_size=20, max_size=40)


@dataclass(slots=True)
class Simulation:
    """Sessions side by side, the log they write, and what became of every attempt."""

    streams: Streams = field(default_factory=Streams)
    sessions: dict[int, Session] = field(default_factory=dict)
    lost: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    """Attempt → outcome, transaction, ordinal; those that were committed are not in it."""
    ordinal: dict[int, int] = field(default_factory=dict)
    next_xid: int = 700
    committed: list[int] = field(default_factory=list)
    aborted: list[int] = field(default_factory=list)

    def step(self, who: int, action: str) -> None:
        session = self.sessions.get(who) or self._begin(who)
        nested = len(session.attempts) > 1
        if action == "a":
            self._attempt(session)
        elif action == "s":
            session.attempts.append([])
            session.marks.append([])
        elif action == "r" and nested:
            session.attempts[-2].extend(session.attempts.pop())
            session.marks[-2].extend(session.marks.pop())
        elif action == "x" and nested:
            session.marks.pop()
            for each in session.attempts.pop():
                self.lost[each] = ("savepoint_rolled_back", session.xid, self.ordinal[each])
        elif action == "c":
            del self.sessions[who]
            self.committed.append(session.xid)
            if any(session.attempts):
                end_transaction(self.streams, session, [mark for level in session.marks for mark in level])
            # Else nothing is left of it, and pgoutput does not show its commit.
        elif action == "b":
            del self.sessions[who]
            self.aborted.append(session.xid)
            alive = [each for level in session.attempts for each in level]
            # What a savepoint took back before is lost with the whole transaction.
            taken_back = [each for each, (_, xid, _) in self.lost.items() if xid == session.xid]
            for each in [*alive, *taken_back]:
                self.lost[each] = ("rolled_back", session.xid, self.ordinal[each])

    def _begin(self, who: int) -> Session:
        body = json.dumps({"request_id": f"r{self.next_xid}", "xid": str(self.next_xid)})
        context = self.streams.message(Message("flux.context", body, transactional=False), 0, 0)
        session = self.sessions[who] = Session(self.next_xid, context)
        self.next_xid += 10
        return session

    def _attempt(self, session: Session) -> None:
        mark = None
        if len(session.attempts) > 1:
            # The mark is decoded at the commit, if its savepoint lives; its place is taken now.
            _, mark = self.streams.advance(8)
            session.marks[-1].append(mark)
        number = len(self.ordinal) + 1
        self.ordinal[number] = session.count
        session.count += 1
        session.attempts[-1].append(number)
        self.streams.message(attempt(session, mark, number), 0, 0)

    def heartbeat(self, doubtful: Sequence[int] = ()) -> None:
        running = ",".join(str(session.xid) for session in self.sessions.values())
        beat = {
            "snapshot": f"1:{self.next_xid}:{running}",
            "nonce": "n",
            "committed": [str(xid) for xid in self.committed if xid in doubtful] or None,
            "aborted": [str(xid) for xid in self.aborted if xid in doubtful] or None,
        }
        message = Message("flux.heartbeat", json.dumps(beat))
        self.streams.transaction(Transaction(self.next_xid, 1_700_000_000_000_000, (message,)), [])

    def told(self) -> dict[int, tuple[str, int, int]]:
        """Return what the log tells: everything of transactions that are over."""
        running = {session.xid for session in self.sessions.values()}
        return {number: each for number, each in self.lost.items() if each[1] not in running}


def attempt(session: Session, mark: int | None, number: int) -> Message:
    fields = (
        f"1 {session.xid} {session.xid + 1} {TABLE.relation_id} {lsn_text(session.context)}",
        f"{lsn_text(mark) if mark else '-'} 1700000000000000 i0 ({number},free,,,)",
    )
    return Message("flux.attempt", " ".join(fields), transactional=False)


@pytest.mark.property
@settings(max_examples=100, deadline=None)
@given(STEPS, CUTS, st.integers(0, 30))
def test_every_attempt_gets_its_outcome_once(
    steps: list[tuple[int, str]], cuts: list[int], restart: int
) -> None:
    simulation = Simulation()
    for who, action in steps:
        simulation.step(who, action)
    simulation.heartbeat()
    doubtful = Decoder("pgoutput", relations=[TABLE]).decode(simulation.streams.pgoutput).doubtful
    simulation.heartbeat(doubtful)
    messages = simulation.streams.pgoutput
    assert decoded(messages, cuts) == simulation.told()
    # Once more from what was confirmed when a process died, with the position it had stored.
    first = Decoder("pgoutput", relations=[TABLE])
    got: dict[int, tuple[str, int, int]] = {}
    position, confirmed = None, 0
    for message in messages[:restart]:
        batch = first.decode([message])
        if not batch.open_transaction:
            position, confirmed = batch.position, batch.confirm_lsn
        got.update(outcomes(plain(whole(batch))))
    again = Decoder("pgoutput", relations=[TABLE], position=position, start_lsn=confirmed)
    later = outcomes(plain(whole(again.decode(sent_again(messages, confirmed)))))
    assert not set(got) & set(later), "an attempt is stored twice"
    assert got | later == simulation.told()


def sent_again(messages: list[bytes], confirmed: int) -> list[bytes]:
    """Return what a server sends after a restart: no transaction and no message before `confirmed`."""
    found: list[bytes] = []
    skipping = False
    for message in messages:
        lsn = int.from_bytes(message[1:9], "big")
        kind = message[25:26]
        if kind == b"B":
            skipping = lsn < confirmed
        direct = kind == b"M" and not message[26] & 1
        if not (lsn <= confirmed if direct else skipping):
            found.append(message)
    return found


def end_transaction(streams: Streams, session: Session, marks: list[int]) -> None:
    """Commit: the marks that live are decoded now, at the places they were given before."""
    begin = len(streams.pgoutput)
    change = Change("insert", TABLE, new={"id": "1"})
    streams.transaction(Transaction(session.xid, 1_700_000_000_000_000, (change,)), [])
    written = streams.pgoutput[begin + 1 :]
    saved = streams.lsn
    for mark in marks:
        streams.lsn = mark - 32  # the size of such a record
        streams.message(Message("flux.mark", "1"), session.xid, 0)
        lsn = streams.pgoutput[-1]
        assert int.from_bytes(lsn[27:35], "big") == mark
    streams.lsn = saved
    added = streams.pgoutput[begin + 1 + len(written) :]
    streams.pgoutput[begin + 1 :] = [*written[:-1], *added, written[-1]]


def outcomes(rows: list[dict[str, Any]]) -> dict[int, tuple[str, int, int]]:
    found: dict[int, tuple[str, int, int]] = {}
    for row in rows:
        if row["outcome"] == "committed":
            continue
        assert row["request_id"] == f"r{row['xid']}"
        number = int(dict(row["after"])["id"])
        assert number not in found
        found[number] = (row["outcome"], row["xid"], row["seq"])
    return found


def decoded(messages: list[bytes], cuts: list[int]) -> dict[int, tuple[str, int, int]]:
    decoder = Decoder("pgoutput", relations=[TABLE])
    found: dict[int, tuple[str, int, int]] = {}
    place = 0
    for size in [*cuts, len(messages)]:
        if messages[place : place + size]:
            batch = decoder.decode(messages[place : place + size])
            more = outcomes(plain(whole(batch)))
            assert not set(found) & set(more)
            found |= more
        place += size
    return found
