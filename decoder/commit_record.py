"""Does a piece of the log still hold the commit that a ledger stands at? Pure.

A server put back from a copy keeps its system identifier, its timeline and its slot, and once it has written
enough it is past the ledger's position too. But its log there is another one: the commit record that the
ledger knows, with its time in microseconds, is not in it.

Source: PostgreSQL, access/xlog_internal.h (XLogPageHeaderData, XLogLongPageHeaderData), access/xact.h
(xl_xact_commit, xl_xact_origin), the same in every major so far.
"""

from __future__ import annotations

import struct

from flux.model.batch import Position

PAGE_BYTES = 8192
"""XLOG_BLCKSZ, unless a server was built with another one: such a log is not judged."""

_PAGE_HEADER = struct.Struct("=HHIQ")
_SHORT_HEADER_BYTES = 24
_LONG_HEADER_BYTES = 40
_IS_LONG = 0x0002

_RECORD_BYTES_MIN = 34
"""Header, length, time. What is shorter is a baseline's position, not a commit's."""
_RECORD_BYTES_MAX = 1 << 20
"""Longer ones name hundreds of thousands of subtransactions; they are not judged."""

_TIME = struct.Struct("=q")
_POSTGRES_EPOCH_US = 946_684_800_000_000


def span(commit: Position) -> tuple[int, int] | None:
    """Return where to read, from the start of a page; None when `commit` cannot be judged."""
    size = commit.end_lsn - commit.commit_lsn
    if not _RECORD_BYTES_MIN <= size <= _RECORD_BYTES_MAX:
        return None
    return commit.commit_lsn - commit.commit_lsn % PAGE_BYTES, commit.end_lsn


def holds(log: bytes, commit: Position) -> bool | None:
    """Return whether `log`, read at `span(commit)`, has that commit; None when it is not to be understood.

    The time is looked for anywhere in the record: a commit with a replication origin carries its own and the
    origin's, and the decoder was told the latter.
    """
    where = span(commit)
    if where is None or len(log) < where[1] - where[0]:
        return None
    record = b""
    for offset in range(0, len(log), PAGE_BYTES):
        page = log[offset : offset + PAGE_BYTES]
        start = where[0] + offset
        if len(page) < _PAGE_HEADER.size:
            return None
        _, flags, _, address = _PAGE_HEADER.unpack_from(page)
        if address != start:
            return None
        header = _LONG_HEADER_BYTES if flags & _IS_LONG else _SHORT_HEADER_BYTES
        record += page[max(header, commit.commit_lsn - start) : commit.end_lsn - start]
    return _TIME.pack(commit.at_us - _POSTGRES_EPOCH_US) in record
