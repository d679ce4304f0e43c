"""Composite text (`record::text`) split into its fields, as vectors.

Source: PostgreSQL documentation, "Composite Types: Composite Type Input and Output Syntax", as `record_out`
prints it: fields between commas, NULL as nothing, a field with special characters in double quotes, in
which quotes and backslashes are doubled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flux.decoder.events import NULL, TEXT
from flux.decoder.frames import PADDING_BYTES, Bools, Bytes, Ints


@dataclass(frozen=True, slots=True)
class Records:
    """`n` composite texts as runs of fields in a buffer of their own."""

    buffer: Bytes
    offset: Ints
    """[n+1] Fields of record i are `offset[i]:offset[i+1]`."""
    state: npt.NDArray[np.uint8]
    start: Ints
    length: Ints
    good: Bools
    """[n] The text was well-formed."""


def split_records(source: Bytes, start: Ints, length: Ints) -> Records:
    """Split the composite texts at these places of a buffer; a malformed one has no field."""
    buffer, start = _packed(source, start, length)
    end = start + length
    good = (length >= 2) & (buffer[start] == ord("(")) & (buffer[np.maximum(end - 1, 0)] == ord(")"))

    quotes = np.flatnonzero(buffer == ord('"'))
    owner = np.searchsorted(start, quotes, side="right") - 1
    per_record = np.bincount(owner, minlength=start.size) if start.size else np.zeros(0, np.int64)
    good &= per_record % 2 == 0
    # A comma separates where the number of quotes before it, within its record, is even: a doubled quote
    # counts twice and changes nothing.
    commas = np.flatnonzero(buffer == ord(","))
    before = np.searchsorted(quotes, commas)
    record = np.searchsorted(start, commas, side="right") - 1
    first_quote = np.searchsorted(quotes, start)
    outside = (
        ((before - first_quote[record]) % 2 == 0) & good[record] if commas.size else np.zeros(0, np.bool_)
    )
    separators, record = commas[outside], record[outside]

    count = np.where(good, np.bincount(record, minlength=start.size) + 1, 0)
    offset = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    opens = np.sort(np.concatenate([start[good], separators])) + 1
    closes = np.sort(np.concatenate([separators, end[good] - 1]))
    # `()` prints a row without columns: no field at all, but it is told from one NULL by its relation.
    return _unquoted(buffer, offset, opens, closes, good)


def _packed(source: Bytes, start: Ints, length: Ints) -> tuple[Bytes, Ints]:
    """Copy the texts into a buffer of their own, one behind the other."""
    padding = np.zeros(PADDING_BYTES, np.uint8)
    if start.size and (start[1:] == start[:-1] + length[:-1]).all():  # they are, and an index a byte is dear
        first = int(start[0])
        text = source[first : int(start[-1] + length[-1])]
        return np.concatenate([text, padding]), start - first
    fresh = np.cumsum(length) - length
    take = np.arange(int(length.sum())) + np.repeat(start - fresh, length)
    return np.concatenate([source[take], padding]), fresh


def _unquoted(buffer: Bytes, offset: Ints, opens: Ints, closes: Ints, good: Bools) -> Records:
    """Take the quotes off quoted fields and undouble what is inside them."""
    state = np.where(closes == opens, np.uint8(NULL), np.uint8(TEXT))
    quoted = (buffer[opens] == ord('"')) & (closes > opens)
    start, stop = np.where(quoted, opens + 1, opens), np.where(quoted, closes - 1, closes)
    drop = np.zeros(buffer.size, np.bool_)
    for letter in (ord('"'), ord("\\")):
        places = np.flatnonzero(buffer == letter)
        field = np.searchsorted(start, places, side="right") - 1
        inside = (field >= 0) & (places < stop[np.maximum(field, 0)]) if start.size else places < 0
        places = places[inside]
        if places.size:
            fresh = np.concatenate([[True], np.diff(places) != 1])
            run = np.maximum.accumulate(np.where(fresh, np.arange(places.size), 0))
            drop[places[(np.arange(places.size) - run) % 2 == 1]] = True
    dropped = np.flatnonzero(drop)
    start = start - np.searchsorted(dropped, start)
    stop = stop - np.searchsorted(dropped, stop)
    return Records(buffer[~drop], offset, state, start, stop - start, good)
