"""Why a request failed: its root cause, and what it has to do with the rows, each claim with its evidence.

Nothing is guessed. What follows from a rule names the rule; what the ledger does not know is in `unknown`.

Evidence is `{"table", …}` with what finds the rows in that table: `request_id` (requests), `trace_id` and
`span_id` (spans), `source`, `lsn`, `commit_lsn`, `seq` (changes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from flux.ledger import suggestion
from flux.ledger.spans import Failure, Span, cause, tree
from flux.model.errors import UsageError
from flux.sql.attempted import Attempted, attempted

if TYPE_CHECKING:
    from flux.ledger.reader import Ledger

Document = dict[str, Any]

ROWS_MAX = 20
"""Rows of which the changes are told with their values: each is a question of its own."""
ALIKE_MAX = 10
"""Similar requests that are named."""
MESSAGE_MAX = 2_000
"""Letters of an exception's message."""


def why(ledger: Ledger, request_id: str) -> Document:
    """Return the answer, as docs/REQUESTS.md has it; log positions are numbers and times datetimes."""
    found = ledger.request_rows(request_id).to_pylist(maps_as_pydicts="lossy")
    unknown: list[str] = []
    request = entry_of(found)
    rows = ledger.spans_of(request_id).to_pylist(maps_as_pydicts="lossy")
    tops = tree([row for row in rows if row["request_id"] == request_id] or rows)
    way = _way(tops)
    mutations, left_out = mutations_of(ledger, request_id)
    failed_sql = _failed_sql(way, tops)
    if request is None:
        unknown.append(
            "nothing is recorded of the request itself: only its tag and what it changed are known"
        )
    elif not rows:
        unknown.append("no span of it is recorded: which step failed is not known")
    if left_out:
        unknown.append(f"the changes of {left_out:,} more rows: see flux trace {request_id}")
    document: Document = {
        "request": about(request, request_id),
        "root_cause": _root_cause(request, way),
        "location": _location(request, way),
        "failed_sql": failed_sql,
        "outbound": _outbound(tops),
        "changes": mutations,
        "previous": _previous(ledger, request, request_id, mutations, failed_sql),
        "similar": _similar(ledger, request),
        "unknown": unknown,
    }
    return document | {"suggestions": suggestion.suggestions(document)}


def entry_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return of the services that took part the one that was asked first; None if nothing is recorded."""
    return dict(rows[0]) if rows else None


def about(request: Mapping[str, Any] | None, request_id: str) -> Document:
    """Return what is known of a request; every field is there, null where it is not recorded."""
    names = ("trace_id", "service", "method", "route", "path", "status", "duration_ms", "code_version")
    known = request or {}
    document = {"request_id": request_id, "recorded": request is not None}
    document |= {name: known.get(name) for name in names}
    return document | {"at": known.get("started_at"), "failed": known.get("failed")}


def _way(tops: Sequence[Span]) -> list[Span]:
    """Return the way from the request's own span to the call that failed it; empty if nothing failed."""
    failed = [span for span in tops if span.has_failed or span.children]
    for span in failed:
        way = cause(span)
        if way[-1].has_failed or len(way) > 1:
            return way
    return []


def _root_cause(request: Mapping[str, Any] | None, way: Sequence[Span]) -> Document | None:
    """Return what failed the request; None if nothing did, as far as is known."""
    if request is None and not way:
        return None
    own = _own_error(request)
    if not way:
        if own is None:
            return None
        evidence = [{"table": "requests", "request_id": request["request_id"]}] if request else []
        return own | {"step": None, "certain": True, "evidence": evidence}
    deepest = way[-1]
    failure = deepest.failure() or Failure(None, None, None, None, None)
    told = {"error_type": failure.kind, "message": _bounded(failure.message), "sqlstate": failure.sqlstate}
    if len(way) == 1:
        told = own or told
    if own is None and request is not None and not request["failed"]:
        return None
    return {
        "error_type": told["error_type"],
        "message": told["message"],
        "sqlstate": told.get("sqlstate"),
        "step": _step(deepest) if len(way) > 1 else None,
        "symptom": own if own is not None and len(way) > 1 and own["message"] != told["message"] else None,
        "certain": len(way) == 1 or _is_told_by(request, failure),
        "evidence": [span_evidence(deepest)],
    }


def _own_error(request: Mapping[str, Any] | None) -> Document | None:
    if request is None or not request["failed"]:
        return None
    kind = request["error_type"] or (str(request["status"]) if request["status"] else None)
    return {"error_type": kind, "message": _bounded(request["error_message"]), "sqlstate": None}


def _is_told_by(request: Mapping[str, Any] | None, failure: Failure) -> bool:
    """Whether the request's own exception names that of the step: it was raised by it, and not beside it."""
    if request is None:
        return False
    told = f"{request['error_type']}\n{request['error_message']}\n{request['error_stack']}"
    names = [(failure.kind or "").rpartition(".")[2], (failure.message or "").partition("\n")[0]]
    return any(len(name) > 3 and name in told for name in names)


def _step(span: Span) -> Document:
    return {
        "name": span.label,
        "kind": "sql" if span.is_sql else "http" if span.is_outbound else span.row["kind"],
        "service": span.row["service"],
        "duration_ms": span.row["duration_ms"],
        "status": span.status,
    }


def span_evidence(span: Span) -> Document:
    """Return what finds a span."""
    return {"table": "spans", "trace_id": span.row["trace_id"], "span_id": span.row["span_id"]}


def _location(request: Mapping[str, Any] | None, way: Sequence[Span]) -> Document | None:
    """Return where in the application's code it failed."""
    for span in reversed(way):
        failure = span.failure()
        if failure is not None and failure.location:
            return _place(failure.location, request) | {"evidence": [span_evidence(span)]}
    if request is not None and request["error_location"]:
        evidence = [{"table": "requests", "request_id": request["request_id"]}]
        return _place(request["error_location"], request) | {"evidence": evidence}
    return None


_PLACE = re.compile(r"(?P<file>.+?):(?P<line>\d+)(?::\d+)?(?:,\s*(?P<function>.+))?")


def _place(text: str, request: Mapping[str, Any] | None) -> Document:
    found = _PLACE.fullmatch(text)
    return {
        "text": text,
        "file": found["file"] if found else None,
        "line": int(found["line"]) if found else None,
        "function": found["function"] if found else None,
        "code_version": request["code_version"] if request else None,
    }


def _failed_sql(way: Sequence[Span], tops: Sequence[Span]) -> list[Document]:
    """Return the statements that failed, the one of the root cause first, with what they attempted."""
    from flux.ledger.spans import walk

    failed = [span for _, span in walk(tops) if span.is_sql and span.has_failed]
    if way and way[-1] in failed:
        failed.remove(way[-1])
        failed.insert(0, way[-1])
    documents = []
    for span in failed:
        failure = span.failure()
        text = span.statement
        found = attempted(text, parameters_of(span)) if text else None
        documents.append(
            {
                "statement": text,
                "sqlstate": failure.sqlstate if failure else None,
                "message": _bounded(failure.message) if failure else None,
                "attempted": None if found is None else _attempted(found),
                "evidence": [span_evidence(span)],
            }
        )
    return documents


def parameters_of(span: Span) -> dict[str, str | None]:
    """Return the parameters of a span's statement by name, or by number from 0 as a text."""
    prefix = "db.query.parameter."
    found: dict[str, str | None] = {
        name.removeprefix(prefix): value for name, value in span.attributes.items() if name.startswith(prefix)
    }
    nulls = span.attributes.get("flux.db.null_parameters")
    if nulls:
        try:
            listed = orjson.loads(nulls)
        except orjson.JSONDecodeError:
            listed = nulls.split(",")
        found |= {str(name).strip(): None for name in (listed if isinstance(listed, list) else [listed])}
    return found


def _attempted(found: Attempted) -> Document:
    def values(row: Mapping[str, Any]) -> Document:
        return {name: {"value": value.text, "known": value.is_known} for name, value in row.items()}

    return {
        "op": found.op,
        "relation": found.relation,
        "rows": [values(row) for row in found.rows],
        "where": values(found.where),
    }


def _outbound(tops: Sequence[Span]) -> list[Document]:
    """Return the calls of other services, in their order."""
    from flux.ledger.spans import walk

    calls = []
    for _, span in walk(tops):
        if span.is_outbound:
            failure = span.failure()
            calls.append(
                _step(span)
                | {
                    "at": span.start,
                    "error_type": failure.kind if failure else None,
                    "message": _bounded(failure.message) if failure else None,
                    "evidence": [span_evidence(span)],
                }
            )
    return calls


def mutations_of(ledger: Ledger, request_id: str) -> tuple[list[Document], int]:
    """Return the changes of a request with their values, and of how many rows they are left out."""
    found = ledger.changes_of([request_id]).to_pylist()
    rows = list(dict.fromkeys((one["source"], one["relation"], one["key"]) for one in found))
    told: list[Document] = []
    for source, relation, key in rows[:ROWS_MAX]:
        own = [
            one for one in found if (one["source"], one["relation"], one["key"]) == (source, relation, key)
        ]
        told += _row_mutations(ledger, source, relation, key, request_id, own)
    order = {(one["source"], one["lsn"], one["seq"]): place for place, one in enumerate(found)}
    told.sort(key=lambda one: order.get((one["source"], one["lsn"], one["seq"]), len(order)))
    return told, max(0, len(rows) - ROWS_MAX)


def _row_mutations(
    ledger: Ledger, source: str, relation: str, key: str | None, request_id: str, own: Sequence[Document]
) -> list[Document]:
    lines: Sequence[Document] = ()
    if key is not None:
        try:
            history = ledger.history(relation, key, request=request_id, source=source)
            lines = [line for line in history.to_pylist(maps_as_pydicts="lossy") if line["op"] != "gap"]
        except UsageError:  # a table that is known no longer
            lines = ()
    if not lines:
        lines = [dict(one, changed={}) for one in own]
    columns = _key_columns(ledger, relation, source)
    return [
        {
            "source": source,
            "relation": relation,
            "key": key,
            "key_columns": columns,
            "op": line["op"],
            "outcome": line["outcome"],
            "at": line["at"],
            "changed": line["changed"] or {},
            "lsn": line["lsn"],
            "commit_lsn": line["commit_lsn"],
            "seq": line["seq"],
            "evidence": [change_evidence(line | {"source": source})],
        }
        for line in lines
    ]


def _key_columns(ledger: Ledger, relation: str, source: str | None) -> list[str]:
    try:
        return list(ledger.relation(relation, source=source).key)
    except UsageError:  # a table that is known no longer
        return []


def change_evidence(change: Mapping[str, Any]) -> Document:
    """Return what finds a change."""
    return {"table": "changes"} | {name: change[name] for name in ("source", "lsn", "commit_lsn", "seq")}


def _previous(
    ledger: Ledger,
    request: Mapping[str, Any] | None,
    request_id: str,
    mutations: Sequence[Document],
    failed_sql: Sequence[Document],
) -> list[Document]:
    """Return who last set the values that the request found in the columns that it is about."""
    wanted: dict[tuple[str | None, str, str], set[str]] = {}
    for one in mutations:
        if one["key"] is not None and one["op"] != "insert":
            columns = wanted.setdefault((one["source"], one["relation"], one["key"]), set())
            columns |= set(one["changed"])
    for statement in failed_sql:
        row = _row_of(ledger, statement["attempted"])
        if row is not None:
            written = {name for values in statement["attempted"]["rows"] for name in values}
            wanted.setdefault(row, set()).update(written)
    before = request["started_at"] if request is not None else _before(mutations)
    owners: list[Document] = []
    for (source, relation, key), columns in list(wanted.items())[:ROWS_MAX]:
        try:
            blamed = ledger.blame(relation, key, as_of=before, source=source)
        except UsageError:
            continue
        owners += [
            _owner(relation, key, _key_columns(ledger, relation, source), line)
            for line in blamed.to_pylist(maps_as_pydicts="lossy")
            if line["column"] in columns and line["request_id"] != request_id
        ]
    known = ledger.request_titles([one["request_id"] for one in owners if one["request_id"]])
    return [one | {"request": known.get(one["request_id"])} for one in owners]


def _before(mutations: Sequence[Document]) -> int | None:
    """Return the position before the first change of a request that is not recorded."""
    places = [one["commit_lsn"] or one["lsn"] for one in mutations]
    return min(places) - 1 if places else None


def _owner(relation: str, key: str, columns: list[str], line: Mapping[str, Any]) -> Document:
    context = line["context"] or {}
    return {
        "relation": relation,
        "key": key,
        "key_columns": columns,
        "column": line["column"],
        "value": line["value"],
        "at": line["at"],
        "op": line["op"],
        "request_id": line["request_id"],
        "actor": line["actor"],
        "context": {name: context.get(name) for name in ("application_name", "db_user", "client_addr")},
        "evidence": [change_evidence(dict(line))],
    }


def _row_of(ledger: Ledger, found: Mapping[str, Any] | None) -> tuple[str | None, str, str] | None:
    """Return (source, relation, key) of the row that a statement was about, if its conditions name one."""
    if found is None:
        return None
    try:
        relation = ledger.relation(found["relation"])
    except UsageError:
        return None
    values = [found["where"].get(name) for name in relation.key]
    if not values or any(value is None or not value["known"] or value["value"] is None for value in values):
        return None
    texts = [value["value"] for value in values if value is not None]
    key = texts[0] if len(texts) == 1 else orjson.dumps(texts).decode()
    return None, relation.root, key


def _similar(ledger: Ledger, request: Mapping[str, Any] | None) -> Document | None:
    """Return which other requests failed in the same way; None when that is not known."""
    if request is None or not request["failed"]:
        return None
    found = ledger.requests_alike(dict(request)).to_pylist()
    return {
        "count": len(found),
        "first_at": found[-1]["at"] if found else None,
        "last_at": found[0]["at"] if found else None,
        "request_ids": [one["request_id"] for one in found[:ALIKE_MAX]],
        "evidence": [{"table": "requests", "request_id": one["request_id"]} for one in found[:ALIKE_MAX]],
    }


def _bounded(text: str | None) -> str | None:
    return text if text is None or len(text) <= MESSAGE_MAX else text[:MESSAGE_MAX] + "…"
