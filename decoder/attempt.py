"""Attempts: changes as the attempt trigger saw them, before their outcome is known.

The content of a `flux.attempt` message (docs/FORMAT.md, "Messages in the log"):
`1 xid subxid relation context mark clock op<old length> <old row><new row>`, the secret before it left out.
A role may set its own `context` and `mark`: what does not read as an attempt is counted and left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flux.decoder.frames import Bools, Bytes, Ints, Lsns, texts

_PLACE = r"([0-9A-F]{1,8}/[0-9A-F]{1,8}|-)"
_SHAPE = rf"(?s)^1 \d{{1,18}} \d{{1,10}} \d{{1,10}} {_PLACE} {_PLACE} \d{{1,18}} [iudt]\d{{1,10}} "

SCHEMA = pa.schema(
    [
        ("lsn", pa.uint64()),  # end of the message
        ("hold", pa.uint64()),  # what may be confirmed while this attempt is open
        ("xid", pa.int64()),
        ("subxid", pa.int64()),
        ("relation_id", pa.int64()),
        ("context", pa.string()),  # position of its context's message, as text; null if none
        ("mark", pa.string()),  # position of the mark that shares its savepoint's fate; null at top level
        ("clock_us", pa.int64()),
        ("op", pa.string()),
        ("old_length", pa.int64()),
        ("rows", pa.large_binary()),  # old row's text, then new row's text
    ]
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The attempts of one run of messages, and how many messages were none."""

    table: pa.Table
    ignored: int


def parse_attempts(buffer: Bytes, start: Ints, length: Ints, lsn: Lsns, hold: Lsns) -> Parsed:
    """Read the contents at `start`; `hold` is what may be confirmed as long as each is open."""
    if not start.size:
        return Parsed(SCHEMA.empty_table(), 0)
    content = texts(buffer, start, length)
    shaped: Bools = _is_text(content)
    shaped &= pc.match_substring_regex(content, _SHAPE).to_numpy(zero_copy_only=False)
    if not shaped.all():
        kept = np.flatnonzero(shaped)
        rest = parse_attempts(buffer, start[kept], length[kept], lsn[kept], hold[kept])
        return Parsed(rest.table, rest.ignored + int((~shaped).sum()))
    parts = pc.split_pattern(content, " ", max_splits=8)
    field = [pc.list_element(parts, place) for place in range(9)]
    old_length = pc.utf8_slice_codeunits(field[7], 1).cast(pa.int64())
    size = pc.binary_length(field[8]).cast(pa.int64())
    fits: Bools = pc.less_equal(old_length, size).to_numpy(zero_copy_only=False)
    table = pa.table(
        [
            pa.array(lsn),
            pa.array(hold),
            field[1].cast(pa.int64()),
            field[2].cast(pa.int64()),
            field[3].cast(pa.int64()),
            _absent(field[4]),
            _absent(field[5]),
            field[6].cast(pa.int64()),
            pc.utf8_slice_codeunits(field[7], 0, 1),
            old_length,
            field[8].cast(pa.large_binary()),
        ],
        schema=SCHEMA,
    )
    if not fits.all():
        table = table.filter(pa.array(fits))
    return Parsed(table, int((~fits).sum()))


def _is_text(content: pa.Array) -> Bools:
    """Return which contents are UTF-8: a message may hold any bytes."""
    try:
        content.validate(full=True)
    except pa.ArrowInvalid:
        return np.array([_decodes(each) for each in content.cast(pa.binary()).to_pylist()], np.bool_)
    return np.ones(len(content), np.bool_)


def _decodes(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _absent(array: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(array, "-"), pa.scalar(None, pa.string()), array)


def row_texts(table: pa.Table) -> tuple[Bytes, Ints, Ints, Ints, Ints]:
    """Return the buffer of the rows' texts, and start and length of the old and of the new ones."""
    rows = table.column("rows").combine_chunks()
    if isinstance(rows, pa.ChunkedArray):
        rows = rows.chunk(0) if rows.num_chunks else pa.array([], pa.large_binary())
    count = len(rows)
    offsets = (
        np.frombuffer(rows.buffers()[1], np.int64, count + 1, rows.offset * 8)
        if count
        else np.zeros(1, np.int64)
    )
    data = rows.buffers()[2] if count else None
    buffer = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    old_length: Ints = table.column("old_length").to_numpy()
    begin = offsets[:-1]
    return buffer, begin, old_length, begin + old_length, np.diff(offsets) - old_length
