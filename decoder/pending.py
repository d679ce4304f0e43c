"""Attempts and contexts of transactions that are not over, and those that were rolled back.

Attempts are settled by the run: neighbours in the stream with one transaction, context and mark have one
outcome. Their rows wait in `spill.Rows` and are looked at when they were rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flux.decoder.attempt import SCHEMA
from flux.decoder.frames import Bools, Ints, Lsns
from flux.decoder.outcome import Commits, Heartbeat, tell
from flux.decoder.spill import Piece, Rows
from flux.model.lsn import LSN_MAX
from flux.model.outcome import Outcome

DOUBTFUL_MAX = 1000
"""Transactions that one heartbeat is asked about."""

_OUTCOMES = np.array([Outcome.ROLLED_BACK.value, Outcome.SAVEPOINT_ROLLED_BACK.value])


class Runs(NamedTuple):
    """`n` runs of neighbouring attempts in stream order; a column of each."""

    xid: Ints
    context: Lsns
    """Position of their context's message; 0 if they have none."""
    mark: Lsns
    """Position of the mark of their savepoint; 0 outside of any."""
    hold: Lsns
    """What may be confirmed while they are open."""
    clock_us: Ints
    """Of the last one."""
    first: Ints
    """Number of the first row."""
    size: Ints

    @classmethod
    def of(cls, attempts: pa.Table, first: int) -> Runs:
        """Find the runs of attempts whose rows are numbered from `first` on."""
        count = attempts.num_rows
        xid, context, mark, hold, clock = (
            attempts.column(name).to_numpy() for name in ("xid", "context", "mark", "hold", "clock_us")
        )
        starts = np.ones(count, np.bool_)
        starts[1:] = (np.diff(xid) != 0) | (np.diff(context) != 0) | (np.diff(mark) != 0)
        at = np.flatnonzero(starts)
        size = np.diff(np.append(at, count))
        clock = np.maximum.reduceat(clock, at)
        return cls(xid[at], context[at], mark[at], hold[at], clock, first + at, size)

    def pick(self, which: Bools) -> Runs:
        """Return the runs where `which`."""
        return Runs._make(column[which] for column in self)

    def joined(self, later: Runs) -> Runs:
        """Return these runs and later ones."""
        return Runs._make(np.concatenate(pair) for pair in zip(self, later, strict=True))


@dataclass(frozen=True, slots=True)
class Resolved:
    """Attempts that were rolled back, in stream order, with their contexts."""

    runs: Runs
    outcome: npt.NDArray[np.str_]
    """[n] Of each run."""
    seq: Ints
    """[n] Ordinal of each run's first attempt among its transaction's attempts."""
    context_row: pa.Array
    """[n] Row in `contexts`, or null."""
    contexts: pa.Table
    """Of the transactions that are over; columns as in `Pending.contexts`."""
    pieces: list[Piece]
    """Their rows, in the order of the runs."""

    def attempts(self) -> Iterator[pa.Table]:
        """Return the attempts, piece by piece: `attempt.SCHEMA` with `outcome`, `seq` and `context_row`."""
        ends, outcome = np.cumsum(self.runs.size), pa.array(self.outcome, pa.string())
        done = 0
        for load in self.pieces:
            run, rows = load()
            place = np.arange(done, done + run.size)
            done += run.size
            seq = (self.seq + self.runs.size - ends)[run] + place
            which = pa.array(run)
            yield (
                rows.append_column("outcome", outcome.take(which))
                .append_column("seq", pa.array(seq.astype(np.uint64)))
                .append_column("context_row", self.context_row.take(which))
            )


class Pending:
    """What waits for its outcome, in stream order."""

    def __init__(self, contexts: pa.Table, folder: Path | None = None, *, conceal: bool = False) -> None:
        """Begin with `contexts`, none, for their columns; rows that memory cannot hold go into `folder`."""
        self.contexts = contexts
        """Columns of the context fields, and `lsn`, `top_xid`, `hold`."""
        self.doubtful: tuple[int, ...] = ()
        """Transactions that are over, but whose end only a heartbeat that names them can tell."""
        self._runs = Runs.of(SCHEMA.empty_table(), 0)
        self._rows = Rows(folder, conceal=conceal)

    def add(self, attempts: pa.Table, contexts: pa.Table) -> None:
        """Take in what one piece of the stream brought."""
        if attempts.num_rows:
            self._runs = self._runs.joined(Runs.of(attempts, self._rows.append(attempts)))
        if contexts.num_rows:
            self.contexts = pa.concat_tables([self.contexts, contexts])

    @property
    def attempt_count(self) -> int:
        """Attempts whose outcome is not known yet."""
        return int(self._runs.size.sum())

    def open_xids(self) -> set[int]:
        """Transactions that are not over."""
        return {*self.contexts.column("top_xid").to_pylist(), *np.unique(self._runs.xid).tolist()}

    @property
    def hold(self) -> int:
        """What may be confirmed while these are open; `LSN_MAX` when nothing is."""
        holds = [int(hold) for hold in self._runs.hold[:1]]
        if self.contexts.num_rows:
            holds.append(pc.min(self.contexts.column("hold")).as_py())
        return min(holds, default=LSN_MAX)

    def resolve(self, commits: Commits, heartbeats: list[Heartbeat], *, after_lsn: int) -> Resolved:
        """Settle what these commits and heartbeats settle; what stays open stays pending.

        What was told at `after_lsn` or before is stored already, and left out.
        Raises `LedgerError` when the disk does not take what has to wait.
        """
        runs, contexts = self._runs, self.contexts
        context_xid: Ints = contexts.column("top_xid").to_numpy()
        xids = np.unique(np.concatenate([context_xid, runs.xid]))
        in_savepoints = np.setdiff1d(runs.xid, runs.xid[runs.mark == 0])
        told, committed = tell(xids, in_savepoints, commits, heartbeats)
        over = told > 0
        if heartbeats:
            ended = xids[~over][heartbeats[-1].over(xids[~over])]
            self.doubtful = tuple(ended[:DOUBTFUL_MAX].tolist())
        place = np.searchsorted(xids, runs.xid)
        done = over[place]
        survived = committed[place]
        marked = survived & (runs.mark > 0)
        survived[marked] = np.isin(runs.mark[marked], commits.marks)
        is_lost = done & ~survived & (told[place] > after_lsn)
        lost = runs.pick(is_lost)
        context_done = over[np.searchsorted(xids, context_xid)]
        settled = contexts.filter(pa.array(context_done)).combine_chunks()
        resolved = Resolved(
            runs=lost,
            outcome=_OUTCOMES[committed[place[is_lost]].astype(np.int64)],
            seq=_ordinals(runs)[is_lost],
            context_row=_context_rows(lost, settled),
            contexts=settled,
            pieces=self._rows.pieces(lost.first, lost.size),
        )
        self._runs = runs.pick(~done)
        self._runs = self._runs._replace(first=self._rows.keep(self._runs.first, self._runs.size))
        self.contexts = contexts.filter(pa.array(~context_done)).combine_chunks()
        return resolved


def _ordinals(runs: Runs) -> Ints:
    """Return for each run how many attempts of its transaction came before it."""
    order = np.argsort(runs.xid, kind="stable")
    before = np.cumsum(runs.size[order]) - runs.size[order]
    fresh = np.ones(order.size, np.bool_)
    fresh[1:] = np.diff(runs.xid[order]) != 0
    ordinal = np.empty(order.size, np.int64)
    ordinal[order] = before - np.maximum.accumulate(np.where(fresh, before, 0))
    return ordinal


def _context_rows(runs: Runs, contexts: pa.Table) -> pa.Array:
    """Return the row of each run's context, null if there is none.

    The position comes from a setting, which a role may set: a context of another's transaction is none.
    """
    lsn: Lsns = contexts.column("lsn").to_numpy()
    top_xid: Ints = contexts.column("top_xid").to_numpy()
    row = np.searchsorted(lsn, runs.context)
    near = np.minimum(row, max(lsn.size - 1, 0))
    own = (lsn[near] == runs.context) & (top_xid[near] == runs.xid) if lsn.size else np.zeros(row.size, bool)
    return pa.array(near, mask=~own)
