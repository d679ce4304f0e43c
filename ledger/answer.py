"""The answers as Arrow tables: their columns, and how lines of history become rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from flux.ledger.fold import Event, Line
from flux.ledger.shape import Known
from flux.model.batch import LSN, ROW, TEXT, TIME

TEXTS = pa.list_(TEXT)
CHANGE = pa.struct([("from", TEXT), ("to", TEXT)])
CHANGED = pa.map_(TEXT, CHANGE)
CONTEXT = pa.struct(
    [
        ("attributes", ROW),
        ("application_name", TEXT),
        ("db_user", TEXT),
        ("client_addr", TEXT),
        ("backend_pid", pa.int32()),
        ("statement", TEXT),
    ]
)
GAP = pa.struct([("from_lsn", LSN), ("to_lsn", LSN), ("from_at", TIME), ("to_at", TIME), ("reason", TEXT)])

HISTORY = pa.schema(
    [
        ("source", TEXT),
        ("relation", TEXT),  # as it was called then
        ("relation_id", pa.uint32()),
        ("key", TEXT),
        ("old_key", TEXT),
        ("at", TIME),
        ("op", TEXT),  # of a change, or `gap`
        ("outcome", TEXT),
        ("request_id", TEXT),
        ("actor", TEXT),
        ("context", CONTEXT),
        ("lsn", LSN),
        ("commit_lsn", LSN),
        ("seq", pa.uint64()),
        ("xid", pa.uint64()),
        ("subxid", pa.uint64()),
        ("context_id", pa.uint64()),
        ("changed", CHANGED),
        ("unknown", TEXTS),  # columns of `changed` whose `from` the ledger does not know
        ("mismatch", TEXTS),  # columns of which the server sent another old value: a broken ledger
        ("lossy", TEXTS),  # columns of `changed` whose nulls may have been NaN or infinite
        ("gap", GAP),
    ]
)
ATTEMPT = pa.struct([("value", TEXT), ("at", TIME), ("request_id", TEXT), ("outcome", TEXT), ("lsn", LSN)])
BLAME = pa.schema(
    [
        ("column", TEXT),
        ("value", TEXT),
        ("at", TIME),
        ("op", TEXT),  # of the change that gave the value; `ddl` if ADD COLUMN … DEFAULT did
        ("request_id", TEXT),
        ("actor", TEXT),
        ("context", CONTEXT),
        ("lsn", LSN),
        ("commit_lsn", LSN),
        ("seq", pa.uint64()),
        ("rolled_back", pa.list_(ATTEMPT)),
        ("lossy", pa.bool_()),  # the null may have been NaN or infinite
        ("gaps", pa.list_(GAP)),  # that end after that change: another one may be missing
        ("source", TEXT),
        ("relation_id", pa.uint32()),
    ]
)
AT = pa.schema(
    [("source", TEXT), ("relation_id", pa.uint32()), ("key", TEXT), ("row", ROW), ("lossy", TEXTS)]
)
DIFF = pa.schema(
    [
        ("source", TEXT),
        ("relation_id", pa.uint32()),
        ("key", TEXT),
        ("op", TEXT),  # insert: only at the second moment; delete: only at the first; else update
        ("changed", CHANGED),
        ("lossy", TEXTS),
    ]
)


Contexts = Mapping[tuple[str, int], dict[str, Any]]
"""(source, context id) → a value of `CONTEXT`."""


def owner_row(event: Event, contexts: Contexts) -> dict[str, Any]:
    """Return what answers say of the change that did something."""
    return {
        "at": event.at_us,
        "op": event.op,
        "request_id": event.request_id,
        "actor": event.actor,
        "context": contexts.get((event.source, event.context_id)) if event.context_id is not None else None,
        "lsn": event.lsn,
        "commit_lsn": event.commit_lsn,
        "seq": event.seq,
    }


def history_row(line: Line, contexts: Contexts) -> dict[str, Any]:
    """Return a line as a row of `HISTORY`."""
    event = line.event
    changed = sorted(line.changed, key=lambda change: change[0].order())
    return owner_row(event, contexts) | {
        "source": event.source,
        "relation": event.relation,
        "relation_id": event.relation_id,
        "key": event.key,
        "old_key": event.old_key,
        "outcome": event.outcome,
        "xid": event.xid,
        "subxid": event.subxid,
        "context_id": event.context_id,
        "changed": [(column.label, {"from": old, "to": new}) for column, old, new in changed],
        "unknown": labels(line.unknown),
        "mismatch": labels(line.mismatch),
        "lossy": labels(column for column, _, _ in changed if column.is_lossy),
    }


def gap_row(source: str, gap: Mapping[str, Any]) -> dict[str, Any]:
    """Return a gap as a row of `HISTORY`."""
    told = gap_value(gap)
    return {"source": source, "op": "gap", "at": gap["from_us"], "lsn": gap["from_lsn"], "gap": told}


def gap_value(gap: Mapping[str, Any]) -> dict[str, Any]:
    """Return a gap as a value of `GAP`."""
    return {
        "from_lsn": gap["from_lsn"],
        "to_lsn": gap["to_lsn"],
        "from_at": gap["from_us"],
        "to_at": gap["to_us"],
        "reason": gap["reason"],
    }


def labels(columns: Iterable[Known]) -> list[str]:
    """Return the names of `columns` in their order."""
    return [column.label for column in sorted(columns, key=Known.order)]
