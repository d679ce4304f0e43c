"""The ledger's Arrow answers as the documents of the command contract.

Field names and shapes are frozen (docs/CLI.md, tests/cli): log positions are text, times stay
datetimes until they are written. What the ledger does not know for certain is said, never hidden:
`unknown` (columns whose old value it never saw), `mismatch` (columns of which the server sent
another old value) and `lossy` (NULLs that may have been NaN) appear where there are any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flux.cli.render import Rows
from flux.model.lsn import lsn_text

if TYPE_CHECKING:
    import pyarrow as pa

Document = dict[str, Any]

_DOUBTS = ("unknown", "mismatch", "lossy")
_CONTEXT = ("application_name", "db_user", "client_addr", "backend_pid", "statement", "attributes")


def rows_of(table: pa.Table) -> Iterator[Document]:
    """Yield the rows of an Arrow table; maps become dicts."""
    for batch in table.to_batches(max_chunksize=4096):
        yield from batch.to_pylist(maps_as_pydicts="lossy")


def timeline(table: pa.Table, *, with_key: bool) -> list[Document]:
    """Return mutations and gaps in their order; a gap is `{"gap": {…}}`."""
    return [
        {"gap": gap_document(row["gap"])} if row["op"] == "gap" else mutation_document(row, with_key=with_key)
        for row in rows_of(table)
    ]


def history_document(relation: str, key: str | None, lines: list[Document]) -> Document:
    """Return `{"relation","key","mutations":[…],"gaps":[…]}`."""
    return {
        "relation": relation,
        "key": key,
        "mutations": [line for line in lines if "gap" not in line],
        "gaps": [line["gap"] for line in lines if "gap" in line],
    }


def mutation_document(row: Document, *, with_key: bool) -> Document:
    """Return one change or attempt."""
    document = {
        "at": row["at"],
        "op": row["op"],
        "outcome": row["outcome"],
        "request_id": row["request_id"],
        "actor": row["actor"],
        "context": _context(row["context"]),
        "lsn": position(row["lsn"]),
        "commit_lsn": position(row["commit_lsn"]),
        "seq": row["seq"],
        "xid": row["xid"],
        "changed": row["changed"] or {},
    }
    if with_key:
        document["key"] = row["key"]
    return document | {doubt: row[doubt] for doubt in _DOUBTS if row.get(doubt)}


def gap_document(gap: Document) -> Document:
    """Return one gap: between which positions and times the log is not in the ledger, and why."""
    return {
        "from_lsn": position(gap["from_lsn"]),
        "to_lsn": position(gap["to_lsn"]),
        "from_at": gap["from_at"],
        "to_at": gap["to_at"],
        "reason": gap["reason"],
    }


def blame_document(relation: str, key: str, table: pa.Table) -> Document:
    """Return `{"relation","key","exists","columns":[…],"gaps":[…]}`; the gaps are those of all columns."""
    columns = []
    gaps: list[Document] = []
    for row in rows_of(table):
        gaps += [gap for gap in map(gap_document, row["gaps"] or ()) if gap not in gaps]
        document = {
            "column": row["column"],
            "value": row["value"],
            "at": row["at"],
            "op": row["op"],
            "request_id": row["request_id"],
            "actor": row["actor"],
            "context": _context(row["context"]),
            "lsn": position(row["lsn"]),
            "commit_lsn": position(row["commit_lsn"]),
            "seq": row["seq"],
            "rolled_back": [
                {
                    "value": attempt["value"],
                    "at": attempt["at"],
                    "request_id": attempt["request_id"],
                    "outcome": attempt["outcome"],
                    "lsn": position(attempt["lsn"]),
                }
                for attempt in row["rolled_back"] or ()
            ],
        }
        if row.get("lossy"):
            document["lossy"] = True
        columns.append(document)
    return {"relation": relation, "key": key, "exists": bool(columns), "columns": columns, "gaps": gaps}


def position(lsn: int | None) -> str | None:
    """Return a log position as text."""
    return None if lsn is None else lsn_text(lsn)


def _context(context: Document | None) -> Document:
    """Return who a change came from; every field is there, null where it is not known."""
    return {name: (context or {}).get(name) for name in _CONTEXT}


def row_document(row: Document) -> Document:
    """Return `{"key","row":{column: text|null}}`, with `lossy` where a null may have been NaN."""
    document = {"key": row["key"], "row": row["row"] or {}}
    return document | ({"lossy": row["lossy"]} if row.get("lossy") else {})


def difference_document(row: Document, columns: Sequence[str]) -> Document:
    """Return `{"key","op","changed":{column: {"from","to"}}}`, in the order of the table's `columns`."""
    changed = row["changed"] or {}
    order = [name for name in columns if name in changed] + [name for name in changed if name not in columns]
    document = {"key": row["key"], "op": row["op"], "changed": {name: changed[name] for name in order}}
    return document | ({"lossy": row["lossy"]} if row.get("lossy") else {})


_FLAT = ("at", "op", "outcome", "request_id", "actor")
_PEOPLE = ("application_name", "db_user", "client_addr")
_PLACE = ("lsn", "commit_lsn", "seq", "xid")


def flat_history(lines: list[Document]) -> Rows:
    """Return a history for CSV: one line a mutation or gap, what changed as JSON."""
    names = ("key", *_FLAT, *_PEOPLE, *_PLACE, "changed", "gap")
    with_key = any("key" in line for line in lines)
    records = []
    for line in lines:
        if "gap" in line:
            gap = line["gap"]
            values = {"at": gap["from_at"], "op": "gap", "lsn": gap["from_lsn"], "gap": gap}
        else:
            values = {**line, **line["context"]}
        records.append([values.get(name) for name in names if with_key or name != "key"])
    return Rows(names if with_key else names[1:], records)


def flat_blame(columns: list[Document]) -> Rows:
    """Return a blame for CSV: one line a column, later attempts as JSON."""
    names = ("column", "value", "at", "op", "request_id", "actor", *_PEOPLE, *_PLACE[:3], "rolled_back")
    return Rows(names, [[{**column, **column["context"]}[name] for name in names] for column in columns])


def flat_differences(differences: list[Document]) -> Rows:
    """Return differences for CSV: one line a changed column."""
    records = [
        (difference["key"], difference["op"], column, pair["from"], pair["to"])
        for difference in differences
        for column, pair in difference["changed"].items()
    ]
    return Rows(("key", "op", "column", "from", "to"), records)
