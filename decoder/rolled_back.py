"""Attempts that were rolled back, as `CHANGES` rows; their row texts are split only here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flux.decoder.attempt import row_texts
from flux.decoder.catalog import NO_VERSION, Catalog, Timeline
from flux.decoder.events import ABSENT, TEXT, Tuples
from flux.decoder.frames import PADDING_BYTES, Bytes, Ints, Lsns
from flux.decoder.record import Records, split_records
from flux.decoder.rows import Names, images, key_places, key_texts, same_texts
from flux.model.batch import CHANGES
from flux.model.relation import ROW_TEXT, Column, Relation

OwnDdl = dict[tuple[int, int], Timeline]
"""As `Catalog.own_ddl`."""

_OPS = {"i": "insert", "u": "update", "d": "delete", "t": "truncate"}


def rolled_back_changes(
    attempts: Iterator[pa.Table], contexts: pa.Table, catalog: Catalog
) -> Iterator[pa.Table]:
    """Return `CHANGES` rows for `pending.Resolved.attempts`, piece by piece as they are asked for.

    Attempts of unknown relations are left out. `contexts` are rows of `CONTEXTS` that `context_row` points
    into. Of later pieces the catalog must still know what it knows now, but for the shapes of `own_ddl`.
    """
    own_ddl = dict(catalog.own_ddl)

    def pieces() -> Iterator[pa.Table]:
        for some in attempts:
            version = _versions(catalog, own_ddl, some)
            known = np.flatnonzero(version != NO_VERSION)
            if known.size:
                yield _piece(some.take(pa.array(known)), contexts, version[known], own_ddl, catalog)

    return pieces()


def _piece(
    attempts: pa.Table,
    contexts: pa.Table,
    version: npt.NDArray[np.int32],
    own_ddl: OwnDdl,
    catalog: Catalog,
) -> pa.Table:
    lsn: Lsns = attempts.column("lsn").to_numpy()
    xid: Ints = attempts.column("xid").to_numpy()
    count = attempts.num_rows
    rows = _rows(attempts, version, catalog.versions)
    versions, tuples, shaped, old, new = rows.versions, rows.tuples, rows.version, rows.old, rows.new
    names = Names.of(versions)
    none = np.full(count, -1, np.int64)
    text = rows.buffer
    key = key_texts(text, tuples, key_places(tuples, shaped, new, old, versions))
    old_key = key_texts(text, tuples, key_places(tuples, shaped, none, old, versions))
    moved = (new >= 0) & (old >= 0) & ~same_texts(key, old_key)
    root_id = np.array([each.root_id for each in versions], np.uint32)
    context = attempts.column("context_row").combine_chunks()

    def of_context(name: str) -> pa.Array:
        column = contexts.column(name).combine_chunks()
        return column.take(context) if len(column) else pa.nulls(count, column.type)

    return pa.table(
        {
            "commit_lsn": pa.nulls(count, pa.uint64()),
            "lsn": pa.array(lsn),
            "seq": attempts.column("seq"),
            "xid": pa.array(xid.astype(np.uint64)),
            "subxid": _subxids(xid, attempts.column("subxid").to_numpy()),
            "at": attempts.column("clock_us").cast(CHANGES.field("at").type),
            "relation": _names(catalog, own_ddl, version, lsn),
            "relation_id": pa.array(root_id[shaped]),
            "key": key,
            "old_key": pa.compute.if_else(pa.array(moved), old_key, pa.scalar(None, pa.string())),
            "op": pa.array([_OPS[op] for op in "iudt"], pa.string()).take(
                pa.compute.index_in(attempts.column("op"), value_set=pa.array(list("iudt"))).combine_chunks()
            ),
            "before": images(text, tuples, old, names),
            "after": images(text, tuples, new, names),
            "unchanged": pa.nulls(count, pa.list_(pa.string())),
            "outcome": attempts.column("outcome"),
            "request_id": of_context("request_id"),
            "actor": of_context("actor"),
            "context_id": of_context("context_id"),
        }
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of attempts, split."""

    buffer: Bytes
    tuples: Tuples
    versions: list[Relation]
    """The catalog's, and those made for rows of unknown shape."""
    version: npt.NDArray[np.int32]
    """[n] Version of each attempt's rows."""
    old: Ints
    """[n] Row of `tuples`, or -1."""
    new: Ints


def _rows(attempts: pa.Table, version: npt.NDArray[np.int32], catalog: list[Relation]) -> _Rows:
    count = attempts.num_rows
    buffer, start, length = row_texts(attempts)
    present = np.flatnonzero(length > 0)
    records = split_records(buffer, start[present], length[present])
    of_record = np.repeat(version, 2)[present]
    whole = _Texts(buffer, start[present], length[present])
    text, tuples, versions = _tuples(records, of_record, catalog, whole)
    row = np.full(2 * count, -1, np.int64)
    row[present] = np.arange(present.size)
    old, new = row[::2], row[1::2]
    # A row of unknown shape has a version made for it. Row -1 takes the padding: there may be no row.
    own = np.append(tuples.version, np.int32(NO_VERSION))
    shaped = np.where(new >= 0, own[new], np.where(old >= 0, own[old], version))
    return _Rows(text, tuples, versions, shaped, old, new)


def _subxids(xid: Ints, subxid: Ints) -> pa.Array:
    """Return 64-bit subtransaction ids, null at top level; 32 bits of each are known.

    A subtransaction's id is younger than its transaction's.
    """
    full = (xid & ~np.int64(0xFFFFFFFF)) | subxid
    full = np.where(full < xid, full + (1 << 32), full)
    return pa.array(full.astype(np.uint64), mask=(subxid == 0) | (full == xid))


def _names(catalog: Catalog, own_ddl: OwnDdl, version: npt.NDArray[np.int32], lsn: Lsns) -> pa.Array:
    """Return the name each attempt's root was known by: not one that only its own transaction gave it."""
    names = [each.root for each in catalog.versions]
    for timeline in own_ddl.values():
        for number in timeline.version:
            mine = lsn[version == number]
            if mine.size:
                known = catalog.newest(catalog.versions[number].root_id, int(mine.max()))
                names[number] = known.root if known is not None else names[number]
    return pa.array(names, pa.string()).take(pa.array(version))


def _versions(catalog: Catalog, own_ddl: OwnDdl, attempts: pa.Table) -> npt.NDArray[np.int32]:
    """Return the shape each attempt's row has; DDL of its own transaction comes first."""
    relation_id, xid, lsn = (attempts.column(name).to_numpy() for name in ("relation_id", "xid", "lsn"))
    version = catalog.by_id(relation_id, lsn)
    for (own_xid, own_relation), timeline in own_ddl.items():
        mine = (xid == own_xid) & (relation_id == own_relation)
        mine &= lsn >= np.uint64(timeline.lsn[0])
        if mine.any():
            version[mine] = timeline.at(lsn[mine])
    return version


@dataclass(frozen=True, slots=True)
class _Texts:
    """Row texts where the messages brought them."""

    buffer: Bytes
    start: Ints
    length: Ints


def _tuples(
    records: Records, version: npt.NDArray[np.int32], versions: list[Relation], whole: _Texts
) -> tuple[Bytes, Tuples, list[Relation]]:
    """Give the fields of records the columns of their relation; generated columns are left out.

    A record that does not fit its relation is kept whole, in a version made for it.
    """
    width = np.array([len(each.row_columns) for each in versions] + [0], np.int64)
    fits = records.good & (np.diff(records.offset) == width[version])
    # From places in the row's text to places in the relation's columns.
    widest = max(int(width.max(initial=0)), 1)
    place = np.full((len(versions) + 1, widest), -1, np.int64)
    for number, each in enumerate(versions):
        where = {column.name: spot for spot, column in enumerate(each.columns)}
        place[number, : len(each.row_columns)] = [
            -1 if name is None else where.get(name, -1) for name in each.row_columns
        ]
    columns = np.array([len(each.columns) for each in versions] + [0], np.int64)
    offset = np.concatenate([[0], np.cumsum(np.where(fits, columns[version], 1))])
    state = np.full(int(offset[-1]), ABSENT, np.uint8)
    start, length = np.zeros(state.size, np.int64), np.zeros(state.size, np.int64)
    owner = np.repeat(np.arange(version.size), np.diff(records.offset))
    spot = np.minimum(np.arange(owner.size) - records.offset[owner], widest - 1)
    column = np.where(fits[owner], place[version[owner], spot], -1)
    kept = np.flatnonzero(column >= 0)
    flat = offset[owner[kept]] + column[kept]
    state[flat], start[flat], length[flat] = records.state[kept], records.start[kept], records.length[kept]
    shape, buffer = version.astype(np.int32), records.buffer
    odd = np.flatnonzero(~fits)
    if odd.size:
        shape = shape.copy()
        shape[odd], versions = _unknown_shapes(version[odd], versions)
        parts = [
            whole.buffer[whole.start[each] : whole.start[each] + whole.length[each]] for each in odd.tolist()
        ]
        state[offset[odd]] = TEXT
        length[offset[odd]] = whole.length[odd]
        start[offset[odd]] = buffer.size + np.cumsum(whole.length[odd]) - whole.length[odd]
        buffer = np.concatenate([buffer, *parts, np.zeros(PADDING_BYTES, np.uint8)])
    return buffer, Tuples(shape, offset, state, start, length), versions


def _unknown_shapes(
    version: npt.NDArray[np.int32], versions: list[Relation]
) -> tuple[npt.NDArray[np.int32], list[Relation]]:
    """Make a version of one column for rows that do not fit theirs."""
    extended, made = list(versions), {}
    column = Column(ROW_TEXT, "text", 0, is_key=False, not_null=False)
    for number in np.unique(version).tolist():
        made[number] = len(extended)
        extended.append(replace(versions[number], columns=(column,), key=(), row_columns=(ROW_TEXT,)))
    return np.array([made[number] for number in version.tolist()], np.int32), extended
