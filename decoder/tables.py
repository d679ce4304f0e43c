"""The smaller tables of a batch: transactions, relations, DDL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flux.decoder.committed import Tagged
from flux.decoder.events import COMMIT, Events
from flux.decoder.frames import Ints, Lsns
from flux.decoder.pending import Resolved
from flux.decoder.schema import SchemaChange
from flux.decoder.transaction import Open, Spans
from flux.model.batch import DDL, RELATIONS, TRANSACTIONS
from flux.model.outcome import Outcome
from flux.model.relation import Relation


def transactions_table(
    events: Events, span: Spans, tagged: Tagged, changes: pa.Table, xid: Lsns, before: Open | None
) -> pa.Table:
    """Return a row for each transaction that committed here and changed something.

    `xid` gives the 64-bit transaction id of each commit event.
    """
    number = span.number[tagged.event]
    count = np.bincount(number, minlength=len(span.origins))
    request_ids = _distinct(number, changes.column("request_id"), len(span.origins))
    if before is not None:
        count[0] += before.change_count
        own = request_ids[0].as_py()
        merged = [*before.request_ids, *(each for each in own if each not in before.request_ids)]
        request_ids = pa.concat_arrays([pa.array([merged], pa.list_(pa.string())), request_ids.slice(1)])
    commit = np.flatnonzero(events.kind == COMMIT)
    done = count[span.number[commit]] > 0
    commit, xid = commit[done], xid[done]
    numbers = span.number[commit]
    return pa.table(
        [
            pa.array(xid),
            pa.array(span.commit_lsn[commit]),
            pa.array(events.end_lsn[commit]),
            pa.array(span.at_us[commit]).cast(TRANSACTIONS.field("at").type),
            pa.repeat(pa.scalar(Outcome.COMMITTED.value), commit.size),
            pa.array(count[numbers].astype(np.uint64)),
            request_ids.take(pa.array(numbers)),
            pa.array([span.origins[each] for each in numbers.tolist()], pa.string()),
        ],
        schema=TRANSACTIONS,
    )


def open_request_ids(span: Spans, tagged: Tagged, changes: pa.Table, before: Open | None) -> tuple[str, ...]:
    """Return the request ids seen so far in the transaction that this run ends inside of."""
    number = int(span.number.max(initial=0))
    mine = changes.column("request_id").filter(pa.array(span.number[tagged.event] == number))
    seen = list(before.request_ids) if before is not None and number == 0 else []
    seen.extend(each for each in mine.unique().drop_null().to_pylist() if each not in seen)
    return tuple(seen)


def _distinct(group: Ints, values: pa.ChunkedArray, groups: int) -> pa.Array:
    """Return for each group the list of its distinct values in order, nulls left out."""
    encoded = values.combine_chunks().dictionary_encode()
    codes = encoded.indices
    valid = np.flatnonzero(pc.is_valid(codes).to_numpy(zero_copy_only=False))
    code = codes.take(pa.array(valid)).to_numpy(zero_copy_only=False).astype(np.int64)
    width = max(len(encoded.dictionary), 1)
    _, first = np.unique(group[valid] * width + code, return_index=True)
    first = np.sort(first)
    owner = group[valid][first]
    order = np.argsort(owner, kind="stable")
    count = np.bincount(owner, minlength=groups)
    offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, encoded.dictionary.take(pa.array(code[first][order])))


def rolled_back_transactions(resolved: Resolved) -> pa.Table:
    """Return a row for each transaction that was aborted; its time is its last attempt's."""
    aborted = resolved.outcome == Outcome.ROLLED_BACK.value
    runs = resolved.runs.pick(aborted)
    if not runs.xid.size:
        return TRANSACTIONS.empty_table()
    row = resolved.context_row.filter(pa.array(aborted))
    request = resolved.contexts.column("request_id").combine_chunks()
    requests = request.take(row) if len(request) else pa.nulls(len(row), pa.string())
    requests = pc.if_else(pc.equal(requests, ""), pa.scalar(None, pa.string()), requests)
    xids, group = np.unique(runs.xid, return_inverse=True)
    last = np.zeros(xids.size, np.int64)
    np.maximum.at(last, group, runs.clock_us)
    size = np.bincount(group, runs.size)
    nothing = pa.nulls(xids.size, pa.uint64())
    return pa.table(
        [
            pa.array(xids.astype(np.uint64)),
            nothing,
            nothing,
            pa.array(last).cast(TRANSACTIONS.field("at").type),
            pa.repeat(pa.scalar(Outcome.ROLLED_BACK.value), xids.size),
            pa.array(size.astype(np.uint64)),
            _distinct(group, pa.chunked_array([requests]), xids.size),
            pa.nulls(xids.size, pa.string()),
        ],
        schema=TRANSACTIONS,
    )


def relations_table(relations: Sequence[Relation]) -> pa.Table:
    """Return relation versions as rows of `RELATIONS`."""
    return pa.Table.from_pylist(
        [
            {
                "relation_id": each.relation_id,
                "relation": each.relation,
                "lsn": each.lsn,
                "columns": [
                    {
                        "name": column.name,
                        "type": column.type,
                        "attnum": column.attnum,
                        "is_key": column.is_key,
                        "not_null": column.not_null,
                    }
                    for column in each.columns
                ],
                "replica_identity": each.replica_identity,
                "key": list(each.key),
                "missing": [(c.name, c.missing) for c in each.columns if c.missing is not None],
                "lossy": list(each.lossy),
                "root_id": each.root_id,
                "row_columns": list(each.row_columns),
            }
            for each in relations
        ],
        schema=RELATIONS,
    )


def ddl_table(changes: Sequence[tuple[SchemaChange, int, int, int]]) -> pa.Table:
    """Return schema changes, given with position, transaction and commit time, as rows of `DDL`."""
    return pa.Table.from_pylist(
        [
            {
                "lsn": lsn,
                "xid": xid,
                "at": at_us,
                "command": change.command,
                "object": change.object,
                "statement": change.statement,
                "renames": change.renames,
                "request_id": change.request_id,
            }
            for change, lsn, xid, at_us in changes
        ],
        schema=DDL,
    )
