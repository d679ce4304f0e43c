"""What a statement was about to write, read from its text with PostgreSQL's own parser.

Nothing is guessed: a value that is no literal and no parameter is given as the expression it is, and what
cannot be parsed (cut, or another dialect) gives None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STATEMENT_LENGTH_MAX = 100_000
"""Letters of a statement that are read: the parser's time grows with them."""

_MARKS = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/     # what holds no placeholder
      | %\((?P<name>[^)]*)\)[sbt] | %(?P<nth>[sbt]) | %(?P<percent>%)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Value:
    """A value in a statement."""

    text: str | None
    """As PostgreSQL prints it; None for NULL. An expression as it was written."""
    is_known: bool
    """Whether it is the value itself, and not an expression or a parameter that was not recorded."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """What a statement was about to do."""

    op: str
    """`insert`, `update` or `delete`."""
    relation: str
    """As it is written in the statement."""
    rows: tuple[dict[str, Value], ...]
    """What it would have written, by column: one of an update, one a row of VALUES, none of a delete."""
    where: dict[str, Value]
    """Columns that had to equal a value, of the conditions that all must hold."""


def attempted(
    statement: str, parameters: Sequence[str | None] | Mapping[str, str | None] = ()
) -> Attempted | None:
    """Return what the first writing statement in `statement` was about to do; None if that cannot be read.

    `parameters` are texts by position, or by name (`%(name)s`), or by number from 0 as a text.
    """
    import pglast

    if len(statement) > STATEMENT_LENGTH_MAX:
        return None
    text, named = _numbered(statement)
    try:
        parsed = pglast.parse_sql(text)
    except pglast.parser.ParseError:
        return None
    reading = _Reading(named, parameters)
    for one in parsed:
        for node in _writing(one.stmt):
            if _is(node, "InsertStmt"):
                return reading.insert(node)
            if _is(node, "UpdateStmt"):
                rows = ({target.name: reading.value(target.val) for target in node.targetList or ()},)
                return Attempted("update", _name(node.relation), rows, reading.where(node.whereClause))
            if _is(node, "DeleteStmt"):
                return Attempted("delete", _name(node.relation), (), reading.where(node.whereClause))
    return None


def _is(node: Any, kind: str) -> bool:
    """Tell whether a node of the parsed statement is of that kind (PostgreSQL's `nodes/parsenodes.h`)."""
    return type(node).__name__ == kind


def _writing(node: Any) -> list[Any]:
    """Return a statement and those of its WITH clauses, these first."""
    within = getattr(node, "withClause", None)
    found = [part.ctequery for part in (within.ctes if within is not None else ())]
    return [*found, node]


def _name(relation: Any) -> str:
    return f"{relation.schemaname}.{relation.relname}" if relation.schemaname else str(relation.relname)


def _numbered(statement: str) -> tuple[str, dict[int, str]]:
    """Return a statement with `$1` for the placeholders of Python's drivers, and which parameter each is."""
    named: dict[int, str] = {}
    count = 0

    def numbered(found: re.Match[str]) -> str:
        nonlocal count
        if found["percent"]:
            return "%"
        if found["name"] is None and found["nth"] is None:
            return found[0]
        number = len(named) + 1
        if found["name"] is not None:
            named[number] = found["name"]
        else:
            named[number] = str(count)
            count += 1
        return f"${number}"

    return _MARKS.sub(numbered, statement), named


class _Reading:
    """Values of a statement, with its parameters at hand."""

    def __init__(
        self, named: dict[int, str], parameters: Sequence[str | None] | Mapping[str, str | None]
    ) -> None:
        self._named = named
        if isinstance(parameters, Mapping):
            self._parameters = dict(parameters)
        else:
            self._parameters = {str(number): value for number, value in enumerate(parameters)}

    def insert(self, node: Any) -> Attempted:
        columns = [target.name for target in node.cols or ()]
        rows = []
        lists = getattr(node.selectStmt, "valuesLists", None) or ()
        for values in lists:
            names = columns or [f"column {number}" for number in range(1, len(values) + 1)]
            rows.append({name: self.value(value) for name, value in zip(names, values, strict=False)})
        if not lists and _is(node.selectStmt, "SelectStmt"):
            targets = [target.val for target in node.selectStmt.targetList or ()]
            rows.append({name: self.value(value) for name, value in zip(columns, targets, strict=False)})
        return Attempted("insert", _name(node.relation), tuple(row for row in rows if row), {})

    def where(self, node: Any) -> dict[str, Value]:
        """Return the columns that must equal a value."""
        from pglast import enums

        if _is(node, "BoolExpr") and node.boolop == enums.BoolExprType.AND_EXPR:
            found: dict[str, Value] = {}
            for part in node.args:
                found |= self.where(part)
            return found
        is_equality = (
            _is(node, "A_Expr")
            and node.kind == enums.A_Expr_Kind.AEXPR_OP
            and [part.sval for part in node.name] == ["="]
        )
        if not is_equality:
            return {}
        left, right = node.lexpr, node.rexpr
        if not _is(left, "ColumnRef"):
            left, right = right, left
        if not _is(left, "ColumnRef") or _is(right, "ColumnRef"):
            return {}
        last = left.fields[-1]
        return {last.sval: self.value(right)} if _is(last, "String") else {}

    def value(self, node: Any) -> Value:
        """Return a value: of a literal, a parameter, or the text of an expression."""
        from pglast.stream import RawStream

        if _is(node, "TypeCast"):
            return self.value(node.arg)
        if _is(node, "A_Const"):
            return _constant(node)
        if _is(node, "ParamRef"):
            name = self._named.get(node.number, str(node.number - 1))
            if name in self._parameters:
                return Value(self._parameters[name], is_known=True)
            return Value(f"${node.number}", is_known=False)
        if _is(node, "SetToDefault"):
            return Value("default", is_known=False)
        return Value(str(RawStream()(node)), is_known=False)


def _constant(node: Any) -> Value:
    if node.isnull:
        return Value(None, is_known=True)
    value = node.val
    if _is(value, "Boolean"):
        return Value("true" if value.boolval else "false", is_known=True)
    if _is(value, "Integer"):
        return Value(str(value.ival), is_known=True)
    if _is(value, "Float"):
        return Value(str(value.fval), is_known=True)
    if _is(value, "String"):
        return Value(str(value.sval), is_known=True)
    return Value(str(value), is_known=False)
