r"""Rows in COPY's text format → columns of text, as vectors; pure.

Promises: every value's own text, NULL as null; a NULL, the text `\N` and the empty string are three
things. Assumes: whole rows, each ended by a newline, encoded in UTF-8. Raises `DecodeError` when the
number of fields does not fit.

Source: PostgreSQL documentation, COPY, "Text Format". In COPY's output a tab or newline byte is always
a separator: inside values they are written as a backslash and a letter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from flux.decoder.frames import PADDING_BYTES, Bytes, Ints, text_views
from flux.model.errors import DecodeError

_BACKSLASH, _TAB, _NEWLINE = 0x5C, 0x09, 0x0A

_MEANING = np.arange(256, dtype=np.uint8)
for _letter, _byte in {"b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}.items():
    _MEANING[ord(_letter)] = _byte


def parse_rows(rows: bytes, columns: Sequence[str]) -> pa.RecordBatch:
    """Return the rows as one `string_view` column for each of `columns`, which may be none."""
    width = len(columns)
    if width == 0:
        # A row without columns is an empty line; it has nothing to say but that it is there.
        return pa.RecordBatch.from_struct_array(pa.array([{}] * rows.count(b"\n"), pa.struct([])))
    raw = np.frombuffer(rows + bytes(PADDING_BYTES), np.uint8)
    content = raw[: len(rows)]
    end = np.flatnonzero((content == _TAB) | (content == _NEWLINE))
    _check(content, end, width)
    start = np.concatenate((np.zeros(1, np.int64), end[:-1] + 1)) if end.size else end
    null = (end - start == 2) & (raw[start] == _BACKSLASH) & (raw[start + 1] == ord("N"))
    buffer, start, end = _unescape(raw, content, start, end)
    length = end - start
    arrays = [
        text_views(buffer, start[place::width], length[place::width], null[place::width])
        for place in range(width)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _check(content: Bytes, end: Ints, width: int) -> None:
    """Every row must have `width` fields and end in a newline."""
    if content.size and content[-1] != _NEWLINE:
        raise DecodeError("a copied row without an end", offset=content.size)
    if end.size % width:
        raise DecodeError(f"copied rows do not have {width} fields each", offset=content.size)
    newline = (content[end] == _NEWLINE).reshape(-1, width)
    wrong = (newline[:, :-1].any(axis=1)) | ~newline[:, -1]
    if wrong.any():
        row = int(wrong.argmax())
        raise DecodeError(f"a copied row does not have {width} fields", offset=int(end[row * width]))


def _unescape(raw: Bytes, content: Bytes, start: Ints, end: Ints) -> tuple[Bytes, Ints, Ints]:
    """Replace each escape by the byte it means; return the buffer with the fields' new places."""
    slash = np.flatnonzero(content == _BACKSLASH)
    if slash.size == 0:
        return raw, start, end
    # In a run of backslashes the first, third, … lead an escape.
    first = np.concatenate(([True], np.diff(slash) != 1))
    run = np.maximum.accumulate(np.where(first, np.arange(slash.size), 0))
    lead = slash[(np.arange(slash.size) - run) % 2 == 0]
    changed = raw.copy()
    changed[lead + 1] = _MEANING[raw[lead + 1]]
    kept = np.ones(raw.size, np.bool_)
    kept[lead] = False
    return changed[kept], start - np.searchsorted(lead, start), end - np.searchsorted(lead, end)
