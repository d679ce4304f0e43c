"""pgoutput messages (protocol 1, text values) as events, decoded as vectors.

Source: PostgreSQL documentation, "Logical Replication Message Formats". The only loops are over the
columns of the widest row and over messages that are rare (relations, DDL); none is over rows.
An unknown tag, a length that runs past its message or bytes left over are a `DecodeError`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flux.decoder.catalog import Catalog, WireColumn, from_wire
from flux.decoder.events import (
    ABSENT,
    BEGIN,
    COMMIT,
    DDL,
    DELETE,
    INSERT,
    MESSAGE,
    NULL,
    PREFIXES,
    TEXT,
    TRACK,
    TRUNCATE,
    UNCHANGED,
    UPDATE,
    Events,
    Tuples,
)
from flux.decoder.forged import leave_out_forged
from flux.decoder.frames import HEADER_BYTES, Bools, Bytes, Frames, Ints, big_endian
from flux.decoder.schema import learn_messages
from flux.model.errors import DecodeError

EPOCH_OFFSET_US = 946_684_800_000_000
"""PostgreSQL counts microseconds from 2000-01-01; this is that day since 1970."""

BEGIN_OPENING, COMMIT_OPENING = b"B", b"C"
"""What these messages begin with."""

_PREFIX_ROUNDS = 32
"""Bytes of a message's prefix that are looked at one by one."""

_TAGS = np.zeros(256, np.bool_)
_TAGS[[ord(tag) for tag in "BCORYIUDTM"]] = True

_STATE = np.full(256, 255, np.uint8)
_STATE[ord("n")] = NULL
_STATE[ord("t")] = TEXT
_STATE[ord("u")] = UNCHANGED


@dataclass(frozen=True, slots=True)
class _Rows:
    """Tuples as they lie in the buffer, before their relation version is known."""

    offset: Ints
    state: npt.NDArray[np.uint8]
    start: Ints
    length: Ints
    end: Ints
    """[m] First byte behind each tuple."""


def complete(messages: list[bytes]) -> int:
    """Return how many of `messages` can be decoded: relation messages at the end wait for their row.

    Raises `DecodeError` for one that is malformed.
    """
    count = len(messages)
    while count and messages[count - 1][HEADER_BYTES : HEADER_BYTES + 1] in (b"R", b"Y"):
        count -= 1
        if messages[count][HEADER_BYTES : HEADER_BYTES + 1] == b"R":
            _read_relation(messages[count][HEADER_BYTES:], 0)
    return count


def decode(frames: Frames, catalog: Catalog, secret: str) -> Events:
    """Turn one run of messages into events; relation versions are taken from and added to `catalog`."""
    buffer, start, end = frames.buffer, frames.start, frames.end
    tag = buffer[start]
    if not _TAGS[tag].all():
        bad = int(np.argmin(_TAGS[tag]))
        raise DecodeError(f"unknown message tag {int(tag[bad]):#04x}", offset=0, lsn=int(frames.lsn[bad]))
    _require(frames, tag == BEGIN, 21, exact=True)
    _require(frames, tag == COMMIT, 26, exact=True)
    _require(frames, (tag == INSERT) | (tag == UPDATE) | (tag == DELETE), 8)
    _require(frames, (tag == TRUNCATE) | (tag == MESSAGE), 6)
    message, transactional, content_start, content_length, lsn = _messages(frames, tag)
    forged = leave_out_forged(buffer, message, content_start, content_length, secret)
    told = np.flatnonzero(((message == DDL) | (message == TRACK)) & transactional)
    schema = learn_messages(catalog, buffer, told, content_start, content_length, lsn)
    # A relation message has no position of its own (its header says 0): it belongs to the row after it.
    placed = np.append(np.flatnonzero(lsn), tag.size - 1)
    for index in np.flatnonzero(tag == ord("R")).tolist():
        owner = int(lsn[placed[np.searchsorted(placed, index)]])
        relation_id, name, identity, columns = _read_relation(
            buffer[start[index] : end[index]].tobytes(), owner
        )
        from_wire(catalog, relation_id, name, identity, columns, owner)

    is_row = (tag == INSERT) | (tag == UPDATE) | (tag == DELETE)
    row = np.flatnonzero(is_row)
    tuples, old, new, version = _rows(frames, tag, row, catalog)

    events = np.flatnonzero((tag != ord("R")) & (tag != ord("Y")) & (tag != ord("O")))
    place = np.full(tag.size, -1, np.int32)
    place[row] = np.arange(row.size, dtype=np.int32)
    number = place[events]

    def of_row(values: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        padded = np.append(values, np.int32(-1))
        return padded[number]  # number -1 takes the padding

    begin, commit = events[tag[events] == BEGIN], events[tag[events] == COMMIT]
    size = tag.size
    xid, commit_lsn = np.zeros(size, np.uint32), np.zeros(size, np.uint64)
    end_lsn, at_us = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    commit_lsn[begin] = big_endian(buffer, start[begin] + 1, 8)
    at_us[begin] = big_endian(buffer, start[begin] + 9, 8).astype(np.int64) + EPOCH_OFFSET_US
    xid[begin] = big_endian(buffer, start[begin] + 17, 4)
    commit_lsn[commit] = big_endian(buffer, start[commit] + 2, 8)
    end_lsn[commit] = big_endian(buffer, start[commit] + 10, 8)
    at_us[commit] = big_endian(buffer, start[commit] + 18, 8).astype(np.int64) + EPOCH_OFFSET_US
    lsn[begin], lsn[commit] = commit_lsn[begin], commit_lsn[commit]
    result = Events(
        buffer=buffer,
        kind=tag[events],
        lsn=lsn[events],
        xid=xid[events],
        commit_lsn=commit_lsn[events],
        end_lsn=end_lsn[events],
        at_us=at_us[events],
        version=of_row(version),
        old=of_row(old),
        new=of_row(new),
        message=message[events],
        transactional=transactional[events],
        content_start=content_start[events],
        content_length=content_length[events],
        tuples=tuples,
        origin=_origins(frames, tag, events),
        forged=forged,
        schema=schema,
    )
    return _spread_truncates(frames, events, result, catalog)


def _require(frames: Frames, which: Bools, least: int, *, exact: bool = False) -> None:
    size = (frames.end - frames.start)[which]
    wrong = size != least if exact else size < least
    if wrong.any():
        index = int(np.flatnonzero(which)[np.argmax(wrong)])
        raise DecodeError(
            f"message {chr(frames.buffer[frames.start[index]])} has the wrong length",
            offset=int(frames.end[index] - frames.start[index]),
            lsn=int(frames.lsn[index]),
        )


def _messages(
    frames: Frames, tag: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.uint8], Bools, Ints, Ints, npt.NDArray[np.uint64]]:
    """Return kind, transactional flag, content and position of logical messages (M)."""
    buffer, size = frames.buffer, tag.size
    kind = np.zeros(size, np.uint8)
    transactional = np.zeros(size, np.bool_)
    content, length = np.zeros(size, np.int64), np.zeros(size, np.int64)
    lsn = frames.lsn.copy()
    which = np.flatnonzero(tag == MESSAGE)
    if not which.size:
        return kind, transactional, content, length, lsn
    start, end = frames.start[which], frames.end[which]
    transactional[which] = (buffer[start + 1] & 1).astype(np.bool_)
    lsn[which] = big_endian(buffer, start + 2, 8)
    prefix = start + 10
    stop = _zero_behind(buffer, prefix)
    if (stop + 5 > end).any():
        bad = int(np.argmax(stop + 5 > end))
        raise DecodeError("a message ends inside its prefix", offset=int(end[bad] - start[bad]))
    content[which] = stop + 5
    length[which] = big_endian(buffer, stop + 1, 4).astype(np.int64)
    if (content[which] + length[which] != end).any():
        bad = int(np.argmax(content[which] + length[which] != end))
        raise DecodeError(
            "a message's content does not fill it",
            offset=int(end[bad] - start[bad]),
            lsn=int(lsn[which[bad]]),
        )
    for text, number in PREFIXES.items():
        same = (stop - prefix) == len(text)
        for place, letter in enumerate(text):
            same &= buffer[np.minimum(prefix + place, buffer.size - 1)] == letter
        kind[which[same]] = number
    return kind, transactional, content, length, lsn


def _zero_behind(buffer: Bytes, place: Ints) -> Ints:
    """Return where the first zero byte at or behind each place is."""
    stop = place.copy()
    going = np.arange(place.size)
    for _ in range(_PREFIX_ROUNDS):  # ours are short: cheaper than to look at all of the buffer
        going = going[buffer[stop[going]] != 0]
        if not going.size:
            return stop
        stop[going] += 1
    zeros = np.flatnonzero(buffer == 0)
    stop[going] = zeros[np.searchsorted(zeros, stop[going])]
    return stop


def _read_relation(body: bytes, lsn: int) -> tuple[int, str, str, list[WireColumn]]:
    """Return OID, `schema.table`, replica identity and columns of a Relation message (R)."""
    try:
        relation_id = struct.unpack_from("!I", body, 1)[0]
        schema_end = body.index(0, 5)
        name_end = body.index(0, schema_end + 1)
        # An empty namespace stands for pg_catalog.
        schema = body[5:schema_end].decode() or "pg_catalog"
        name = body[schema_end + 1 : name_end].decode()
        identity, count = chr(body[name_end + 1]), struct.unpack_from("!H", body, name_end + 2)[0]
        offset, columns = name_end + 4, []
        for _ in range(count):
            stop = body.index(0, offset + 1)
            oid, modifier = struct.unpack_from("!Ii", body, stop + 1)
            columns.append(
                WireColumn(body[offset + 1 : stop].decode(), bool(body[offset] & 1), oid, modifier)
            )
            offset = stop + 9
    except (struct.error, ValueError, IndexError) as error:
        raise DecodeError("a relation message is cut short", offset=len(body), lsn=lsn) from error
    if offset != len(body):
        raise DecodeError("bytes left over in a relation message", offset=offset, lsn=lsn)
    return relation_id, f"{schema}.{name}", identity, columns


def _rows(
    frames: Frames, tag: npt.NDArray[np.uint8], row: Ints, catalog: Catalog
) -> tuple[Tuples, npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return all tuples, and for each row message its old and new tuple and its relation version."""
    buffer, start, end = frames.buffer, frames.start[row], frames.end[row]
    kind, marker = tag[row], buffer[start + 5]
    relation_id = big_endian(buffer, start + 1, 4).astype(np.int64)
    version = catalog.by_id(relation_id, frames.lsn[row])
    has_old = (marker == ord("K")) | (marker == ord("O"))
    wrong = np.where(
        kind == INSERT,
        marker != ord("N"),
        np.where(kind == DELETE, ~has_old, ~has_old & (marker != ord("N"))),
    )
    if wrong.any():
        bad = int(np.argmax(wrong))
        raise DecodeError("unknown tuple kind", offset=5, lsn=int(frames.lsn[row[bad]]))
    first = _parse(buffer, start + 6, end, frames.lsn[row])
    both = np.flatnonzero(has_old & (kind == UPDATE))
    if both.size and not (buffer[np.minimum(first.end[both], end[both] - 1)] == ord("N")).all():
        raise DecodeError("an update without its new row", offset=6, lsn=int(frames.lsn[row[both[0]]]))
    second = _parse(buffer, first.end[both] + 1, end[both], frames.lsn[row[both]])
    last = first.end.copy()
    last[both] = second.end
    if (last != end).any():
        bad = int(np.argmax(last != end))
        raise DecodeError(
            "bytes left over in a row", offset=int(last[bad] - start[bad]), lsn=int(frames.lsn[row[bad]])
        )
    all_versions = np.concatenate([version, version[both]])
    tuples = Tuples(
        version=all_versions,
        offset=np.concatenate([first.offset, second.offset[1:] + first.offset[-1]]),
        state=np.concatenate([first.state, second.state]),
        start=np.concatenate([first.start, second.start]),
        length=np.concatenate([first.length, second.length]),
    )
    _check_widths(tuples, catalog, frames, row)
    key_only = np.concatenate([marker == ord("K"), np.zeros(both.size, np.bool_)])
    _drop_non_key(tuples, key_only, catalog)
    number = np.arange(row.size, dtype=np.int32)
    old = np.where(has_old, number, np.int32(-1))
    new = np.where(has_old, np.int32(-1), number)
    new[both] = row.size + np.arange(both.size, dtype=np.int32)
    return tuples, old, new, version


def _parse(buffer: Bytes, position: Ints, limit: Ints, lsn: npt.NDArray[np.uint64]) -> _Rows:
    """Parse one tuple at each position; none may run past its limit. One round per column."""

    def check(reach: Ints, bound: Ints, which: Ints) -> None:
        if (reach > bound).any():
            bad = int(which[int(np.argmax(reach > bound))])
            raise DecodeError("a row runs past its message", offset=int(limit[bad]), lsn=int(lsn[bad]))

    every = np.arange(position.size)
    check(position + 2, limit, every)
    count = big_endian(buffer, position, 2).astype(np.int64)
    # A value takes a byte at least: what is allocated for them is bounded by what came.
    check(position + 2 + count, limit, every)
    offset = np.zeros(position.size + 1, np.int64)
    np.cumsum(count, out=offset[1:])
    total = int(offset[-1])
    state, start, length = np.empty(total, np.uint8), np.zeros(total, np.int64), np.zeros(total, np.int64)
    here = position + 2
    active = every
    for column in range(int(count.max(initial=0))):
        active = active[count[active] > column]
        at, bound = here[active], limit[active]
        check(at + 1, bound, active)
        found = _STATE[buffer[at]]
        if (found == 255).any():
            bad = int(active[int(np.argmax(found == 255))])
            raise DecodeError(
                "unknown kind of value", offset=int(here[bad] - position[bad]), lsn=int(lsn[bad])
            )
        is_text = found == TEXT
        check(np.where(is_text, at + 5, at), bound, active)
        size = np.where(
            is_text, big_endian(buffer, np.minimum(at + 1, buffer.size - 4), 4).astype(np.int64), 0
        )
        flat = offset[active] + column
        state[flat], length[flat], start[flat] = found, size, at + 5
        following = at + 1 + np.where(is_text, 4 + size, 0)
        check(following, bound, active)
        here[active] = following
    start[state != TEXT] = 0
    return _Rows(offset, state, start, length, here)


def _check_widths(tuples: Tuples, catalog: Catalog, frames: Frames, row: Ints) -> None:
    """Every row must have the columns of its relation version, or values would change names."""
    known = tuples.version >= 0
    width = np.array([len(version.columns) for version in catalog.versions] + [0], np.int64)
    wrong = known & (np.diff(tuples.offset) != width[tuples.version])
    if wrong.any():
        bad = int(np.argmax(wrong)) % max(row.size, 1)
        name = catalog.versions[int(tuples.version[int(np.argmax(wrong))])].relation
        raise DecodeError(
            f"a row of {name} has other columns than its relation", offset=6, lsn=int(frames.lsn[row[bad]])
        )


def _drop_non_key(tuples: Tuples, key_only: Bools, catalog: Catalog) -> None:
    """In a key tuple (K) the other columns come as NULL: they were not sent."""
    if not key_only.any():
        return
    row = np.repeat(key_only, np.diff(tuples.offset))
    widest = max((len(version.columns) for version in catalog.versions), default=1)
    is_key = np.zeros((len(catalog.versions) + 1, widest), np.bool_)
    for number, version in enumerate(catalog.versions):
        is_key[number, : len(version.columns)] = [column.is_key for column in version.columns]
    value_version = np.repeat(tuples.version, np.diff(tuples.offset))
    place = np.minimum(tuples.position, widest - 1)
    tuples.state[row & ~is_key[value_version, place]] = ABSENT


def _origins(frames: Frames, tag: npt.NDArray[np.uint8], events: Ints) -> dict[int, str]:
    """Return the origin names, by the event number of the begin they follow."""
    found: dict[int, str] = {}
    for index in np.flatnonzero(tag == ord("O")).tolist():
        body = frames.buffer[frames.start[index] + 9 : frames.end[index]].tobytes()
        before = int(np.searchsorted(events, index)) - 1
        if before >= 0:
            found[before] = body.rstrip(b"\0").decode()
    return found


def _spread_truncates(frames: Frames, events: Ints, result: Events, catalog: Catalog) -> Events:
    """Give each relation of a TRUNCATE message an event of its own."""
    which = np.flatnonzero(result.kind == TRUNCATE)
    if not which.size:
        return result
    repeat = np.ones(events.size, np.int64)
    relation_ids: list[list[int]] = []
    for number in which.tolist():
        body = frames.buffer[frames.start[events[number]] : frames.end[events[number]]].tobytes()
        count = struct.unpack_from("!I", body, 1)[0]
        if len(body) != 6 + 4 * count:
            raise DecodeError(
                "a truncate message has the wrong length", offset=len(body), lsn=int(result.lsn[number])
            )
        relation_ids.append(list(struct.unpack_from(f"!{count}I", body, 6)))
        repeat[number] = count
    take = np.repeat(np.arange(events.size), repeat)
    version = result.version[take]
    flat = np.array([each for ids in relation_ids for each in ids], np.int64)
    spread = np.isin(take, which)
    version[spread] = catalog.by_id(flat, result.lsn[take][spread])
    first = np.concatenate([[0], np.cumsum(repeat)[:-1]])
    return Events(
        buffer=result.buffer,
        kind=result.kind[take],
        lsn=result.lsn[take],
        xid=result.xid[take],
        commit_lsn=result.commit_lsn[take],
        end_lsn=result.end_lsn[take],
        at_us=result.at_us[take],
        version=version,
        old=result.old[take],
        new=result.new[take],
        message=result.message[take],
        transactional=result.transactional[take],
        content_start=result.content_start[take],
        content_length=result.content_length[take],
        tuples=result.tuples,
        origin={int(first[number]): name for number, name in result.origin.items()},
        forged=result.forged,
        schema=result.schema,
    )
