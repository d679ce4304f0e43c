"""Committed row changes: events with their transaction, ordinal, key, images and tag, as `CHANGES` rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flux.decoder.events import DELETE, INSERT, TRUNCATE, UPDATE, Events
from flux.decoder.frames import Ints, Lsns
from flux.decoder.rows import Names, images, key_places, key_texts, same_texts, unchanged
from flux.model.outcome import Outcome
from flux.model.relation import Relation

OPS = {INSERT: "insert", UPDATE: "update", DELETE: "delete", TRUNCATE: "truncate"}


@dataclass(frozen=True, slots=True)
class Tagged:
    """What each chosen event's transaction and tag are, one entry an event."""

    event: Ints
    """Numbers of the row events, in stream order."""
    commit_lsn: Lsns
    xid: npt.NDArray[np.uint64]
    at_us: Ints
    seq: npt.NDArray[np.uint64]
    context_row: Ints
    """Row in `contexts`; -1 when the change has no tag."""
    contexts: pa.Table


def committed_changes(
    events: Events, tagged: Tagged, versions: Sequence[Relation], schema: pa.Schema
) -> pa.Table:
    """Return the rows of `CHANGES` for `tagged.event`."""
    which = tagged.event
    kind = events.kind[which]
    version = events.version[which]
    old, new = events.old[which].astype(np.int64), events.new[which].astype(np.int64)
    none = np.full(which.size, -1, np.int64)
    tuples, buffer = events.tuples, events.buffer

    key = key_texts(buffer, tuples, key_places(tuples, version, new, old, versions))
    old_key = key_texts(buffer, tuples, key_places(tuples, version, none, old, versions))
    updated = (kind == UPDATE) & (old >= 0)
    moved = updated & ~same_texts(key, old_key) & pc.is_valid(old_key).to_numpy(zero_copy_only=False)
    # Without FULL the old image of an update is its key, and says nothing new unless the key changed.
    full = np.array([each.replica_identity == "f" for each in versions] + [False], np.bool_)[version]
    before_rows = np.where(updated & ~full & ~moved, -1, old)
    names = Names.of(versions)
    relation = pa.array([each.root for each in versions], pa.string())
    relation_id = np.array([each.root_id for each in versions], np.uint32)
    ops = pa.array([OPS.get(number) for number in range(256)], pa.string())
    context = pa.array(np.maximum(tagged.context_row, 0), mask=tagged.context_row < 0)

    def of_context(name: str) -> pa.Array:
        column = tagged.contexts.column(name)
        return column.combine_chunks().take(context) if len(column) else pa.nulls(which.size, column.type)

    return pa.table(
        {
            "commit_lsn": pa.array(tagged.commit_lsn),
            "lsn": pa.array(events.lsn[which]),
            "seq": pa.array(tagged.seq),
            "xid": pa.array(tagged.xid),
            "subxid": pa.nulls(which.size, pa.uint64()),
            "at": pa.array(tagged.at_us).cast(schema.field("at").type),
            "relation": relation.take(pa.array(version)) if which.size else pa.array([], pa.string()),
            "relation_id": pa.array(relation_id[version]) if which.size else pa.array([], pa.uint32()),
            "key": key,
            "old_key": pc.if_else(pa.array(moved), old_key, pa.scalar(None, pa.string())),
            "op": ops.take(pa.array(kind)),
            "before": images(buffer, tuples, before_rows, names),
            "after": images(buffer, tuples, new, names),
            "unchanged": unchanged(tuples, new, names),
            "outcome": pa.repeat(pa.scalar(Outcome.COMMITTED.value), which.size),
            "request_id": of_context("request_id"),
            "actor": of_context("actor"),
            "context_id": of_context("context_id"),
        }
    )
