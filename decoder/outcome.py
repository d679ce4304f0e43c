"""What became of attempts, from the stream alone (ARCHITECTURE.md, "What was rolled back").

- The commit of a transaction is decoded: its attempts were committed, and the decoded changes are the truth;
  except those whose mark was not decoded with it: their savepoint was rolled back.
- A heartbeat is decoded whose snapshot says that a transaction has ended, and no commit of it was decoded
  before: it was aborted. With one exception: a transaction whose changes all ran in savepoints may have
  committed with nothing left of it, and then pgoutput does not show its commit. Such a transaction is
  doubtful until a heartbeat says of it by name whether it committed.

Both facts have a position, the commit that told them; the same log gives the same positions. What was told
at or before the ledger's position is stored already.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from flux.decoder.attempt import SCHEMA
from flux.decoder.catalog import XID_BITS, number
from flux.decoder.frames import Bools, Ints, Lsns
from flux.decoder.json_tokens import positions
from flux.model.lsn import LSN_MAX
from flux.model.outcome import Outcome

DOUBTFUL_MAX = 1000
"""Transactions that one heartbeat is asked about."""

SEGMENTS_MAX = 64
"""Pending runs kept apart before they are joined: joining copies, walking many of them is slow."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A decoded heartbeat: which transactions were over when it was written."""

    commit_lsn: int
    xmax: int
    running: tuple[int, ...]
    nonce: str
    committed: tuple[int, ...] = ()
    """Doubtful transactions that it was asked about, and that committed."""
    aborted: tuple[int, ...] = ()

    def over(self, xid: Ints) -> Bools:
        """Return which of these transactions had ended."""
        ended: Bools = (xid < self.xmax) & ~np.isin(xid, np.array(self.running, np.int64))
        return ended


def parse_heartbeat(content: bytes, commit_lsn: int) -> Heartbeat | None:
    """Read the content of a `flux.heartbeat` message; None if it is malformed."""
    try:
        value = orjson.loads(content)
        xmin, xmax, running = value["snapshot"].split(":")
        xids = tuple(number(xid, XID_BITS) for xid in running.split(",") if xid)
        if not 0 < int(xmin) <= number(xmax, XID_BITS):
            return None
        named = [
            tuple(number(xid, XID_BITS) for xid in value.get(name) or ()) for name in ("committed", "aborted")
        ]
        return Heartbeat(commit_lsn, int(xmax), xids, str(value.get("nonce") or ""), *named)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Commits:
    """The commits decoded in one run, and the marks that came with them."""

    xid: npt.NDArray[np.uint32]
    commit_lsn: Lsns
    marks: Lsns


@dataclass(frozen=True, slots=True)
class Resolved:
    """Attempts that were rolled back, in the order of what told so, with their contexts."""

    attempts: pa.Table
    """Columns of `attempt.SCHEMA`, and `outcome`, `seq` (ordinal among its transaction's attempts), `told`
    (position of the commit that told) and `context_row` (row in `contexts`, null if none)."""
    contexts: pa.Table


@dataclass(slots=True)
class _Segment:
    table: pa.Table
    xid: Ints
    hold: int
    at_top: Ints
    """Transactions with an attempt outside of any savepoint: their commit cannot go unseen."""


@dataclass(slots=True)
class Pending:
    """Attempts and contexts of transactions that are not over, in stream order."""

    contexts: pa.Table
    """Columns of the context fields, and `lsn`, `place` (lsn as text), `top_xid`, `hold`."""
    _segments: list[_Segment] = field(default_factory=list)
    doubtful: tuple[int, ...] = ()
    """Transactions that are over, but whose end only a heartbeat that names them can tell."""

    def add(self, attempts: pa.Table, contexts: pa.Table) -> None:
        """Take in what one run brought."""
        if attempts.num_rows:
            self._segments.append(_segment(attempts))
        if contexts.num_rows:
            self.contexts = pa.concat_tables([self.contexts, contexts])
        if len(self._segments) > SEGMENTS_MAX:
            whole = pa.concat_tables([segment.table for segment in self._segments])
            self._segments = [_segment(whole.combine_chunks())]

    @property
    def attempt_count(self) -> int:
        """Attempts whose outcome is not known yet."""
        return sum(segment.table.num_rows for segment in self._segments)

    def _doubt(self, open_xids: Ints, heartbeats: list[Heartbeat]) -> None:
        """Note which transactions are over, by the newest heartbeat, and not told."""
        if heartbeats:
            over = open_xids[heartbeats[-1].over(open_xids)]
            self.doubtful = tuple(over[:DOUBTFUL_MAX].tolist())

    def open_xids(self) -> set[int]:
        """Transactions that are not over."""
        return {
            *self.contexts.column("top_xid").to_pylist(),
            *(xid for segment in self._segments for xid in np.unique(segment.xid).tolist()),
        }

    @property
    def hold(self) -> int:
        """What may be confirmed while these are open; `LSN_MAX` when nothing is."""
        holds = [segment.hold for segment in self._segments]
        if self.contexts.num_rows:
            holds.append(pc.min(self.contexts.column("hold")).as_py())
        return min(holds, default=LSN_MAX)

    def resolve(self, commits: Commits, heartbeats: list[Heartbeat]) -> Resolved:
        """Settle what these commits and heartbeats settle; what stays open stays pending."""
        context_xid: Ints = self.contexts.column("top_xid").to_numpy()
        xids = np.unique(np.concatenate([context_xid, *(segment.xid for segment in self._segments)]))
        in_savepoints = np.setdiff1d(
            np.concatenate([np.zeros(0, np.int64), *(segment.xid for segment in self._segments)]),
            np.concatenate([np.zeros(0, np.int64), *(segment.at_top for segment in self._segments)]),
        )
        told, committed = _tell(xids, in_savepoints, commits, heartbeats)
        self._doubt(xids[told == 0], heartbeats)
        if not (told > 0).any():
            return Resolved(_empty_resolved(), self.contexts.slice(0, 0))
        over = told > 0
        parts, rest = [], []
        for segment in self._segments:
            place = np.searchsorted(xids, segment.xid)
            done = over[place]
            if done.all():
                parts.append(segment.table)
            elif done.any():
                parts.append(segment.table.filter(pa.array(done)))
                rest.append(_segment(segment.table.filter(pa.array(~done))))
            else:
                rest.append(segment)
        self._segments = rest
        context_done = over[np.searchsorted(xids, context_xid)]
        contexts = self.contexts.filter(pa.array(context_done)).combine_chunks()
        self.contexts = self.contexts.filter(pa.array(~context_done)).combine_chunks()
        if not parts:
            return Resolved(_empty_resolved(), contexts)
        attempts = pa.concat_tables(parts)
        return _rolled_back(attempts, contexts, xids, told, committed, commits.marks)


def _segment(table: pa.Table) -> _Segment:
    xid: Ints = table.column("xid").to_numpy()
    at_top = np.unique(xid[pc.is_null(table.column("mark")).to_numpy()])
    return _Segment(table, xid, pc.min(table.column("hold")).as_py(), at_top)


def _tell(
    xids: Ints, in_savepoints: Ints, commits: Commits, heartbeats: list[Heartbeat]
) -> tuple[Lsns, Bools]:
    """Return for each transaction the position that told its end (0: still open), and if it committed."""
    told = np.zeros(xids.size, np.uint64)
    committed = np.zeros(xids.size, np.bool_)
    if commits.xid.size and xids.size:
        order = np.argsort(commits.xid, kind="stable")
        low = (xids & 0xFFFFFFFF).astype(np.uint32)
        place = np.minimum(np.searchsorted(commits.xid[order], low), order.size - 1)
        committed = commits.xid[order][place] == low
        told[committed] = commits.commit_lsn[order][place][committed]
    doubted = np.isin(xids, in_savepoints)
    for heartbeat in heartbeats:
        ended = (told == 0) & heartbeat.over(xids)
        unseen = ended & doubted & np.isin(xids, np.array(heartbeat.committed, np.int64))
        committed |= unseen
        named = np.isin(xids, np.array(heartbeat.aborted, np.int64))
        told[unseen | (ended & (~doubted | named))] = heartbeat.commit_lsn
    return told, committed


def _rolled_back(
    attempts: pa.Table, contexts: pa.Table, xids: Ints, told: Lsns, committed: Bools, marks: Lsns
) -> Resolved:
    """Return the attempts that did not survive, numbered within their transactions."""
    xid: Ints = attempts.column("xid").to_numpy()
    lsn: Lsns = attempts.column("lsn").to_numpy()
    order = np.lexsort((lsn, xid))
    fresh = np.concatenate([[True], np.diff(xid[order]) != 0])
    first = np.maximum.accumulate(np.where(fresh, np.arange(order.size), 0))
    seq = np.empty(order.size, np.uint64)
    seq[order] = (np.arange(order.size) - first).astype(np.uint64)

    place = np.searchsorted(xids, xid)
    survived = committed[place]
    marked = np.flatnonzero(survived & pc.is_valid(attempts.column("mark")).to_numpy())
    if marked.size:
        text = attempts.column("mark").combine_chunks().take(pa.array(marked))
        survived[marked] = np.isin(text_positions(text), marks)
    lost = np.flatnonzero(~survived)
    outcome = np.where(committed[place[lost]], Outcome.SAVEPOINT_ROLLED_BACK.value, Outcome.ROLLED_BACK.value)
    rank = np.lexsort((lsn[lost], told[place[lost]]))
    in_order = lost[rank]
    # One transaction's are in order as they came: there may be millions, and a copy is dear.
    is_in_order = in_order.size == xid.size and bool((np.diff(in_order) == 1).all())
    table = attempts if is_in_order else attempts.combine_chunks().take(pa.array(in_order))
    table = table.append_column("outcome", pa.array(outcome[rank].tolist(), pa.string()))
    table = table.append_column("seq", pa.array(seq[in_order]))
    table = table.append_column("told", pa.array(told[place[in_order]]))
    row = pc.index_in(table.column("context"), value_set=contexts.column("place"), skip_nulls=True)
    # The position comes from a setting, which a role may set: not to a context of another's transaction.
    is_own = pc.equal(contexts.column("top_xid").take(row), table.column("xid"))
    row = pc.if_else(is_own, row, pa.scalar(None, pa.int32()))
    return Resolved(table.append_column("context_row", row.cast(pa.int64())), contexts)


def text_positions(text: pa.Array) -> Lsns:
    """Return log positions written as text; none is null."""
    offsets = np.frombuffer(text.buffers()[1], np.int32, len(text) + 1, text.offset * 4).astype(np.int64)
    data = text.buffers()[2]
    buffer = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return positions(buffer, offsets[:-1], offsets[1:])


def _empty_resolved() -> pa.Table:
    schema = SCHEMA
    for name, kind in (
        ("outcome", pa.string()),
        ("seq", pa.uint64()),
        ("told", pa.uint64()),
        ("context_row", pa.int64()),
    ):
        schema = schema.append(pa.field(name, kind))
    return schema.empty_table()
