"""A commit record in a piece of the log; tests/endurance/test_lineage.py has those of real servers."""

from __future__ import annotations

import struct
from dataclasses import replace

from flux.decoder.commit_record import PAGE_BYTES, holds, span
from flux.model.batch import Position

AT_US = 1_700_000_000_123_456
FIRST = 4 * PAGE_BYTES


def log(commit: Position) -> bytearray:
    """Two pages with headers, the first one a segment's, and that commit's time in its record."""
    pages = bytearray()
    for number, header in ((0, 40), (1, 24)):
        words = struct.pack("=HHIQ", 0xD110, 2 if header == 40 else 0, 1, FIRST + number * PAGE_BYTES)
        pages += words.ljust(header, b"h").ljust(PAGE_BYTES, b"x")
    first = commit.commit_lsn - FIRST + 26
    for place, byte in enumerate(struct.pack("=q", commit.at_us - 946_684_800_000_000), first):
        pages[place + 24 if place >= PAGE_BYTES else place] = byte
    return pages[: commit.end_lsn - FIRST]


def test_it_is_found_also_across_pages() -> None:
    for start in (FIRST + 40, FIRST + 1000, *range(FIRST + PAGE_BYTES - 40, FIRST + PAGE_BYTES, 8)):
        commit = Position(start, start + 48 + 24, AT_US)
        assert span(commit) == (FIRST, commit.end_lsn)
        found = bytes(log(commit))
        assert holds(found, commit) is True
        assert holds(found, replace(commit, at_us=AT_US + 1)) is False


def test_what_cannot_be_judged() -> None:
    commit = Position(FIRST + 1000, FIRST + 1048, AT_US)
    found = log(commit)
    assert holds(bytes(found[:-1]), commit) is None
    struct.pack_into("=Q", found, 8, FIRST + 1)  # not the page that was asked for, or another byte order
    assert holds(bytes(found), commit) is None
    assert span(Position(999, 1000, AT_US)) is None  # where a baseline was taken
    assert span(Position(1000, 9_000_000, AT_US)) is None
