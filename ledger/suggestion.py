"""What to do about a failed request: rules, each named, each with the evidence that made it fire.

A rule that does not fire says nothing; where none does there is no suggestion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Document = dict[str, Any]
Rule = Callable[[Mapping[str, Any]], Iterator[tuple[str, list[Document]]]]

WAITED_MS = 1_000.0
"""A call of another service that took longer held its transaction open for long."""

_COLUMN = re.compile(r'column "([^"]+)"')
_CONSTRAINT = re.compile(r'constraint "([^"]+)"')
_IS_NULL_ERROR = re.compile(r"NoneType|is None|null|undefined", re.IGNORECASE)


def suggestions(document: Mapping[str, Any]) -> list[Document]:
    """Return `{"rule","text","evidence"}` for every rule that fires on the answer of `why`."""
    return [
        {"rule": name, "text": text, "evidence": evidence}
        for name, rule in RULES.items()
        for text, evidence in rule(document)
    ]


def _failed(document: Mapping[str, Any], sqlstate: str) -> Iterator[Mapping[str, Any]]:
    return (one for one in document["failed_sql"] if one["sqlstate"] == sqlstate)


def _named(pattern: re.Pattern[str], one: Mapping[str, Any]) -> str | None:
    found = pattern.search(one["message"] or "")
    return found[1] if found else None


def _table(one: Mapping[str, Any]) -> str:
    return str(one["attempted"]["relation"]).removeprefix("public.") if one["attempted"] else "the table"


def _not_null(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Document]]]:
    for one in _failed(document, "23502"):
        column = _named(_COLUMN, one) or "a column"
        rows = one["attempted"]["rows"] if one["attempted"] else []
        passed = any(row.get(column, {"value": ""})["value"] is None for row in rows)
        how = "the statement passes null for it" if passed else "the statement leaves it out or passes null"
        where = document["location"]
        place = f" at {where['text']}" if where else ""
        text = f"{_table(one)}.{column} must not be null, and {how}: give it a value{place}"
        yield text, one["evidence"]


def _unique(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Document]]]:
    for one in _failed(document, "23505"):
        name = _named(_CONSTRAINT, one)
        text = (
            f"such a row is in {_table(one)} already ({name or 'a unique key'}): if the request was sent"
            " twice, make it idempotent (insert … on conflict); who made the row: flux state blame"
        )
        yield text, one["evidence"]


def _foreign_key(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Document]]]:
    for one in _failed(document, "23503"):
        name = _named(_CONSTRAINT, one) or "a foreign key"
        text = f"the row that {_table(one)} refers to ({name}) is not there, or is still referred to"
        yield text, one["evidence"]


def _conflict(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Document]]]:
    for sqlstate, what in (("40001", "a serialization failure"), ("40P01", "a deadlock")):
        for one in _failed(document, sqlstate):
            text = f"{what} is for the application to repeat: run the whole transaction again"
            yield text, one["evidence"]


def _lock_timeout(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Document]]]:
    for sqlstate, setting in (("55P03", "lock_timeout"), ("57014", "statement_timeout")):
        for one in _failed(document, sqlstate):
            text = f"it waited until {setting} ended it: look for the transaction that held {_table(one)}"
            yield text, one["evidence"]


def _waited_inside(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Document]]]:
    undone = [one for one in document["changes"] if one["outcome"] != "committed" and one["at"] is not None]
    for call in document["outbound"]:
        failed = call["error_type"] is not None or (call["status"] or "") >= "500"
        before = [one for one in undone if one["at"] <= call["at"]]
        if failed and (call["duration_ms"] or 0.0) >= WAITED_MS and before:
            seconds = (call["duration_ms"] or 0.0) / 1000
            text = (
                f"{call['name']} was called inside a transaction that had written already, and held its"
                f" locks for {seconds:.1f} s before all was rolled back: call it before the first write,"
                " or after the commit"
            )
            yield text, [*call["evidence"], *before[0]["evidence"]]


def _outbound(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Document]]]:
    cause = document["root_cause"]
    if cause is None or cause["step"] is None or cause["step"]["kind"] != "http":
        return
    status = cause["step"]["status"]
    how = f"answered {status}" if status else "did not answer"
    name = cause["step"]["name"]
    text = f"{name} {how}: see that service first; a retry with an idempotency key would bridge it"
    yield text, cause["evidence"]


def _planted_null(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Document]]]:
    cause = document["root_cause"]
    told = f"{cause['error_type']} {cause['message']}" if cause else ""
    if not _IS_NULL_ERROR.search(told):
        return
    for one in document["previous"]:
        if one["value"] is None and one["op"] == "update":
            who = f"req:{one['request_id']}" if one["request_id"] else "someone"
            table = one["relation"].removeprefix("public.")
            text = f"{table}.{one['column']} of row {one['key']} was null when it came: {who} had set it"
            yield text, one["evidence"]


RULES: dict[str, Rule] = {
    "not-null": _not_null,
    "unique": _unique,
    "foreign-key": _foreign_key,
    "conflict": _conflict,
    "timeout": _lock_timeout,
    "call-inside-transaction": _waited_inside,
    "outbound-failure": _outbound,
    "planted-null": _planted_null,
}
"""Every rule by its name; docs/REQUESTS.md describes them."""
