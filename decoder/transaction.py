"""Which transaction each event belongs to, across runs that end inside one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from flux.decoder.events import BEGIN, COMMIT, MESSAGE, Events
from flux.decoder.frames import Ints, Lsns
from flux.decoder.outcome import Heartbeat
from flux.model.errors import DecodeError


@dataclass(frozen=True, slots=True)
class Open:
    """The transaction that a run ended inside of."""

    xid: int
    commit_lsn: int
    at_us: int
    change_count: int
    context: pa.Table | None
    """The tag in force, one row of `CONTEXTS`."""
    context_used: bool
    """A change of this transaction carries it, so the ledger has been given it."""
    marks: Lsns
    """Positions of the marks decoded so far."""
    beats: tuple[Heartbeat, ...]
    request_ids: tuple[str, ...]
    origin: str | None


@dataclass(frozen=True, slots=True)
class Spans:
    """Transactions over `n` events. Number 0 is the one open before; the first begin here makes 1."""

    number: Ints
    """[n] -1 outside of any transaction: messages that do not wait for a commit."""
    xid: Ints
    """[n] 32 bits, 0 outside."""
    commit_lsn: Lsns
    at_us: Ints
    origins: tuple[str | None, ...]
    """By transaction number."""
    ends_open: bool


def spans(events: Events, before: Open | None) -> Spans:
    """Return the transactions of a run; raise `DecodeError` when begins and commits do not pair."""
    begin, commit = events.kind == BEGIN, events.kind == COMMIT
    begun = np.cumsum(begin)
    ended = np.cumsum(commit) - commit
    depth = begun - ended + (before is not None)
    if (depth > 1).any() or (depth[commit] != 1).any():
        bad = int(np.argmax((depth > 1) | (commit & (depth != 1))))
        raise DecodeError("begin and commit do not pair", offset=0, lsn=int(events.lsn[bad]))
    direct = (events.kind == MESSAGE) & ~events.transactional
    inside = (depth == 1) & ~direct
    number = np.where(inside, begun, -1)
    if (~inside & ~direct).any():
        bad = int(np.argmax(~inside & ~direct))
        raise DecodeError("a change outside of a transaction", offset=0, lsn=int(events.lsn[bad]))
    first = [0, 0, 0] if before is None else [before.xid, before.commit_lsn, before.at_us]
    starts = np.flatnonzero(begin)
    xid = np.concatenate([[first[0]], events.xid[starts].astype(np.int64), [0]])
    commit_lsn = np.concatenate(
        [np.array([first[1]], np.uint64), events.commit_lsn[starts], np.zeros(1, np.uint64)]
    )
    at_us = np.concatenate([[first[2]], events.at_us[starts], [0]])
    told = events.commit_lsn[commit]
    if (told != commit_lsn[number[commit]]).any():
        raise DecodeError("a commit that is not its transaction's", offset=0, lsn=int(told[0]))
    ends_open = bool(begin.sum() - commit.sum() + (before is not None))
    return Spans(
        number=number,
        xid=xid[number],
        commit_lsn=commit_lsn[number],
        at_us=at_us[number],
        origins=(
            before.origin if before else None,
            *(events.origin.get(event) for event in starts.tolist()),
        ),
        ends_open=ends_open,
    )
