"""A filter of requests as a predicate of DuckDB: its names are ours, every value of the user's is bound."""

from __future__ import annotations

from typing import Any

from flux import sql
from flux.model.filter import FIELDS, Comparison, Either, Every, Filter, Kind, Not

_COLUMNS = {
    "request": "request_id",
    "trace": "trace_id",
    "duration": "duration_ms",
    "error": "error_type",
    "message": "error_message",
    "location": "error_location",
    "version": "code_version",
}
"""Fields of a request that are not called as their column."""
_OF_CHANGES = {"table": "relation", "key": "key", "outcome": "outcome", "actor": "actor"}
"""Fields that any change of the request may answer."""


def expression(name: str, **words: str) -> str:
    """Return an expression of `sql/ledger/requests/`, without the comment above it."""
    return sql.text(f"ledger/requests/{name}.sql").partition("\n")[2].strip().format(**words)


def compiled(tree: Filter, failed: str) -> tuple[str, dict[str, Any]]:
    """Return the predicate of a filter over `requests`, and its values by name.

    `failed` is the expression that says whether a request failed.
    """
    words: dict[str, Any] = {}

    def bound(value: Any) -> str:
        name = f"filter_{len(words)}"
        words[name] = value
        return f"${name}"

    def text(part: Filter) -> str:
        if isinstance(part, Not):
            return f"not coalesce({text(part.part)}, false)"
        if isinstance(part, (Every, Either)):
            joint = " and " if isinstance(part, Every) else " or "
            return "(" + joint.join(text(one) for one in part.parts) + ")"
        if part.field in _OF_CHANGES:
            return _of_changes(part, bound)
        column = f"({failed})" if part.field == "failed" else _COLUMNS.get(part.field, part.field)
        return _compared(column, part, bound)

    return text(tree), words


def _compared(column: str, part: Comparison, bound: Any) -> str:
    if part.operator == "null":
        return f"{column} is null"
    values = [bound(value) for value in part.values]
    match part.operator:
        case "between":
            return f"({column} >= {values[0]} and {column} < {values[1]})"
        case "~":
            return f"regexp_matches({column}, {values[0]})"
        case "!~":
            return f"not coalesce(regexp_matches({column}, {values[0]}), false)"
        case "=" | "!=" if FIELDS[part.field][0] is Kind.TEXT and part.field in {
            "method",
            "table",
            "outcome",
        }:
            same = f"coalesce(lower({column}) = lower({values[0]}), false)"
            return same if part.operator == "=" else f"not {same}"
        case "!=":
            return f"{column} is distinct from {values[0]}"
        case _:
            return f"{column} {part.operator} {values[0]}"


def _of_changes(part: Comparison, bound: Any) -> str:
    """Return whether a request has a change that fits; for `!=` and `!~` whether it has none that does."""
    column = _OF_CHANGES[part.field]
    positive = {"!=": "=", "!~": "~"}.get(part.operator, part.operator)
    one = Comparison(part.field, positive, part.values)
    if part.field == "table" and positive == "=" and "." not in str(part.values[0]):
        column = "regexp_replace(relation, '^public[.]', '')"
    some = expression("touched", filter=_compared(column, one, bound))
    return some if positive == part.operator else f"not {some}"
