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

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson

from flux.decoder.catalog import XID_BITS, number
from flux.decoder.frames import Bools, Ints, Lsns


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


def tell(
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
