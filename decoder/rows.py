"""Tuples as Arrow columns: row images (MAP), unchanged columns, key texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flux.decoder.events import NULL, TEXT, UNCHANGED, Tuples
from flux.decoder.frames import Bools, Bytes, Ints, text_views, texts
from flux.model.key import composite_key_texts
from flux.model.relation import Relation

ROW_VIEW = pa.map_(pa.string(), pa.string_view())
"""A row image whose values point into the stream's buffer."""


@dataclass(frozen=True, slots=True)
class Names:
    """The column names of all relation versions as one array, and where each version begins."""

    text: pa.Array
    base: Ints

    @classmethod
    def of(cls, versions: Sequence[Relation]) -> Names:
        """Lay out the names of `versions`."""
        names = [column.name for version in versions for column in version.columns]
        width = [len(version.columns) for version in versions]
        return cls(pa.array(names, pa.string()), np.concatenate([[0], np.cumsum(width)]).astype(np.int64))


def images(buffer: Bytes, tuples: Tuples, rows: Ints, names: Names) -> pa.Array:
    """Return the sent columns of each tuple in `rows` as a MAP; a row of -1 gives a null."""
    there = rows >= 0
    wanted = rows[there]
    flat, width = _values_of(tuples, wanted)
    kept = (tuples.state[flat] == NULL) | (tuples.state[flat] == TEXT)
    owner = np.repeat(np.arange(wanted.size), width)
    count = np.bincount(owner[kept], minlength=wanted.size)
    per_row = np.zeros(rows.size, np.int64)
    per_row[there] = count
    offsets = np.concatenate([[0], np.cumsum(per_row)]).astype(np.int32)
    label = (names.base[tuples.version[wanted]][owner] + tuples.position[flat])[kept]
    flat = flat[kept]
    values = text_views(buffer, tuples.start[flat], tuples.length[flat], tuples.state[flat] == NULL)
    # Text that is not UTF-8 must not reach the ledger; the server was asked for UTF-8.
    values.validate(full=True)
    keys = names.text.take(pa.array(label))
    validity = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    entries = pa.StructArray.from_arrays(
        [keys, values],
        fields=[pa.field("key", pa.string(), nullable=False), pa.field("value", pa.string_view())],
    )
    return pa.MapArray.from_buffers(
        ROW_VIEW, rows.size, [validity, pa.py_buffer(offsets)], children=[entries]
    )


def unchanged(tuples: Tuples, rows: Ints, names: Names) -> pa.Array:
    """Return for each tuple in `rows` the names of the columns that were not sent; null if none."""
    there = rows >= 0
    wanted = rows[there]
    flat, width = _values_of(tuples, wanted)
    owner = np.flatnonzero(there)[np.repeat(np.arange(wanted.size), width)]
    missing = tuples.state[flat] == UNCHANGED
    if not missing.any():
        return pa.nulls(rows.size, pa.list_(pa.string()))
    count = np.bincount(owner[missing], minlength=rows.size)
    offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int32)
    label = (names.base[np.repeat(tuples.version[wanted], width)] + tuples.position[flat])[missing]
    lists = pa.ListArray.from_arrays(offsets, names.text.take(pa.array(label)), mask=pa.array(count == 0))
    return lists


def _values_of(tuples: Tuples, rows: Ints) -> tuple[Ints, Ints]:
    """Return the flat value numbers of `rows`, and how many each row has."""
    begin = tuples.offset[rows]
    width = tuples.offset[rows + 1] - begin
    first = np.cumsum(width) - width
    return np.arange(int(width.sum())) + np.repeat(begin - first, width), width


@dataclass(frozen=True, slots=True)
class KeyPlaces:
    """Where the key's values lie: one row a key column, one column an event; -1 when not sent."""

    flat: npt.NDArray[np.int64]
    width: Ints
    """Key columns of each event's relation; 0 when it has no key."""


def key_places(
    tuples: Tuples, version: npt.NDArray[np.int32], new: Ints, old: Ints, versions: Sequence[Relation]
) -> KeyPlaces:
    """Find the key values of events: in the new image where sent there, else in the old one."""
    width_of = np.array([len(each.key) for each in versions] + [0], np.int64)
    widest = int(width_of.max(initial=0))
    place_of = np.full((len(versions) + 1, max(widest, 1)), -1, np.int64)
    for number, each in enumerate(versions):
        where = {column.name: place for place, column in enumerate(each.columns)}
        place_of[number, : len(each.key)] = [where.get(name, -1) for name in each.key]
    found = np.full((max(widest, 1), version.size), -1, np.int64)
    for column in range(widest):
        place = place_of[version, column]
        for rows in (old, new):  # the new image has the last word
            there = np.flatnonzero((rows >= 0) & (place >= 0))
            flat = tuples.offset[rows[there]] + place[there]
            sent = tuples.state[flat] == TEXT
            found[column, there[sent]] = flat[sent]
    return KeyPlaces(found, width_of[version])


def key_texts(buffer: Bytes, tuples: Tuples, places: KeyPlaces) -> pa.Array:
    """Return the canonical key text of each event; null without a key or when a part is missing."""
    whole = places.width > 0
    for column in range(places.flat.shape[0]):
        whole &= (places.flat[column] >= 0) | (places.width <= column)
    one = whole & (places.width == 1)
    first = np.where(one, places.flat[0], 0)
    if not tuples.state.size:
        return pa.nulls(places.width.size, pa.string())
    result = text_views(buffer, tuples.start[first], tuples.length[first], ~one).cast(pa.string())
    several = np.flatnonzero(whole & (places.width > 1))
    if not several.size:
        return result
    composite = pa.nulls(0, pa.string())
    order: list[Ints] = []
    for width in np.unique(places.width[several]).tolist():
        mine = several[places.width[several] == width]
        parts = [
            texts(buffer, tuples.start[places.flat[column, mine]], tuples.length[places.flat[column, mine]])
            for column in range(width)
        ]
        composite = pa.concat_arrays([composite, composite_key_texts(parts)])
        order.append(mine)
    where = np.full(places.width.size, -1, np.int64)
    where[np.concatenate(order)] = np.arange(several.size)
    taken = composite.take(pa.array(np.maximum(where, 0)))
    return pc.if_else(pa.array(where >= 0), taken, result)


def same_texts(one: pa.Array, other: pa.Array) -> Bools:
    """Return where two text arrays are equal, null being equal to null."""
    equal = pc.fill_null(pc.equal(one, other), False)
    both_null = pc.and_(pc.is_null(one), pc.is_null(other))
    result: Bools = pc.or_(equal, both_null).to_numpy(zero_copy_only=False)
    return result
