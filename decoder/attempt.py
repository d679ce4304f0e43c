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
from flux.decoder.json_tokens import positions

_PLACE = r"([0-9A-F]{1,8}/[0-9A-F]{1,8}|-)"
_SHAPE = rf"(?s)^1 \d{{1,18}} \d{{1,10}} \d{{1,10}} {_PLACE} {_PLACE} \d{{1,18}} [iudt]\d{{1,10}} "

SCHEMA = pa.schema(
    [
        ("lsn", pa.uint64()),  # end of the message
        ("hold", pa.uint64()),  # what may be confirmed while this attempt is open
        ("xid", pa.int64()),
        ("subxid", pa.int64()),
        ("relation_id", pa.int64()),
        ("context", pa.uint64()),  # position of its context's message; 0 if none
        ("mark", pa.uint64()),  # position of the mark that shares its savepoint's fate; 0 at top level
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
            _positions(field[4]),
            _positions(field[5]),
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


def _positions(text: pa.Array) -> pa.Array:
    """Return log positions that are written as text, 0 for `-`; many are the same."""
    encoded = pc.if_else(pc.equal(text, "-"), "0/0", text).dictionary_encode()
    known = encoded.dictionary
    offsets = np.frombuffer(known.buffers()[1], np.int32, len(known) + 1, known.offset * 4).astype(np.int64)
    value = positions(np.frombuffer(known.buffers()[2], np.uint8), offsets[:-1], offsets[1:])
    return pa.array(value).take(encoded.indices)


def row_texts(table: pa.Table) -> tuple[Bytes, Ints, Ints]:
    """Return the buffer of `n` attempts' rows, and [2n] start and length of old, new, old, new and so on."""
    rows = table.column("rows").combine_chunks()
    if isinstance(rows, pa.ChunkedArray):
        rows = rows.chunk(0) if rows.num_chunks else pa.array([], pa.large_binary())
    if not len(rows):
        return np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64)
    offsets = np.frombuffer(rows.buffers()[1], np.int64, len(rows) + 1, rows.offset * 8)
    buffer = np.frombuffer(rows.buffers()[2], np.uint8)
    start = np.repeat(offsets[:-1], 2)
    start[1::2] += table.column("old_length").to_numpy()
    length = np.diff(np.append(start, offsets[-1]))
    return buffer, start, length
