"""Literals and parameters of SQL text, and the column that each belongs to. Pure; PostgreSQL's own parser.

Reads what an application sent: statements cut at a bound, several in one text, placeholders of any driver
(`$1`, `%s`, `%(name)s`, `:name`, `?`). What it cannot tell it says so: whoever redacts then redacts.
Positions are bytes of the text as UTF-8.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pglast
from pglast.parser import parse_sql_json

DOUBT = -1
"""The verdict on a literal of which it cannot be told whose value it is."""
STATEMENT_BYTES_MAX = 64 << 10
"""Of a longer text everything is in doubt: its tree would take many times as much memory."""


@dataclass(frozen=True, slots=True)
class Table:
    """What is known of a table that a statement may name."""

    columns: tuple[str, ...]
    """In the order of the table, as an INSERT without names fills them."""
    verdicts: Mapping[str, int]
    """Columns with a verdict of their own: any number from 0 on."""


Find = Callable[[str, str], Table | None]
"""The table of a schema (empty: of any) and a name; None when it is not known."""
Verdict = Callable[[str], int | None]
"""The verdict on a column of that name of a table that is not known."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal, or the place of a parameter."""

    start: int
    end: int
    verdict: int | None
    """Of its column; `DOUBT`; None when it belongs to none that has a verdict."""
    parameter: str = ""
    """The name by which its value is given: from 0 for `%s`, `?` and `$1`. Empty for a literal."""


def literals(text: bytes, find: Find, unknown: Verdict) -> list[Literal]:
    """Return the literals and parameters of `text`, in order."""
    tokens = list(_scan(text))
    if not tokens:
        return []
    if len(text) <= STATEMENT_BYTES_MAX:
        for style in _styles(tokens):
            try:
                found = _Reading(text, tokens, style, find, unknown).read()
            except (pglast.parser.ParseError, orjson.JSONDecodeError, UnicodeError, RecursionError):
                continue
            return found
    return [_doubtful(token) for token in tokens]


def value(token: bytes) -> str:
    """Return what a literal says, as far as its form is a simple one; else the literal itself."""
    text = token.decode("utf-8", "replace")
    if text.startswith("'"):
        return text[1:].removesuffix("'").replace("''", "'")
    if text[:2] in {"e'", "E'"}:
        return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[1]), text[2:].removesuffix("'"))
    if dollar := _DOLLAR.match(text):
        return text[dollar.end() :].removesuffix(dollar[0])
    return text


_ESCAPE = re.compile(r"(?:\\|')(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][\w]*)?\$")


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of the text that may hold a value."""

    start: int
    end: int
    kind: str
    """literal, comment, or a style of placeholder."""
    name: str = ""


_TOKEN = re.compile(
    rb"""
      (?P<comment>--[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/)?)
    | (?P<identifier>[uU]&"(?:[^"]|"")*"?|"(?:[^"]|"")*"?)
    | (?P<literal>[eE]'(?:[^'\\]|\\.|'')*(?:'|\\?$)|(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*'?
        |(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$).*?(?:(?P=dollar)|$))
    | (?P<dollars>\$\d+)
    | (?P<percent>%s|%\((?P<percent_name>[^)]*)\)s)
    | (?P<colon>(?<!:):(?P<colon_name>[A-Za-z_][A-Za-z0-9_]*))
    | (?P<question>\?(?![|&]))
    | (?P<number>(?<![A-Za-z0-9_$\x80-\xff.])(?:\d|\.\d)[0-9a-zA-Z_.]*(?:(?<=[eE])[+-]\d+)?)
    | (?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)
    | (?P<cast>::)
    """,
    re.VERBOSE | re.DOTALL,
)
_PLACEHOLDERS = ("percent", "colon", "question")


def _scan(text: bytes) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or ""
        group = found.group
        if group("literal") is not None or group("number") is not None:
            yield _Token(found.start(), found.end(), "literal")
        elif group("comment") is not None:
            yield from _in_comment(found)
        elif group("dollars") is not None:
            yield _Token(found.start(), found.end(), "dollars", str(int(group("dollars")[1:]) - 1))
        elif group("percent") is not None:
            yield _Token(found.start(), found.end(), "percent", (group("percent_name") or b"").decode())
        elif group("colon") is not None:
            yield _Token(found.start(), found.end(), "colon", group("colon_name").decode())
        elif kind == "question":
            yield _Token(found.start(), found.end(), "question")


def _in_comment(comment: re.Match[bytes]) -> Iterator[_Token]:
    """What is quoted in a comment may be a value as well: a statement that was commented out."""
    for quoted in re.finditer(rb"'(?:[^'])*'?|\"[^\"]*\"?", comment[0]):
        yield _Token(comment.start() + quoted.start(), comment.start() + quoted.end(), "comment")


def _styles(tokens: list[_Token]) -> list[str]:
    """Return the styles of placeholders that the text may have, the likeliest first; `` for `$1` alone.

    `%s` parses as an operator, so it is never tried without; `:` and `?` have other meanings as well.
    """
    kinds = {token.kind for token in tokens}
    if "percent" in kinds:
        return ["percent"]
    return ["", *(kind for kind in ("colon", "question") if kind in kinds)]


def _doubtful(token: _Token) -> Literal:
    is_parameter = token.kind in {"dollars", *_PLACEHOLDERS}
    return Literal(token.start, token.end, DOUBT, (token.name or "?") if is_parameter else "")


_FUNCTION_NAMES = """
abs age array_agg array_append array_cat array_length array_position array_remove array_to_string avg
btrim ceil ceiling char_length clock_timestamp concat concat_ws count current_setting currval date_part
date_trunc exp extract floor format generate_series gen_random_uuid greatest initcap json_agg
json_build_array json_build_object jsonb_agg jsonb_build_array jsonb_build_object jsonb_set lastval least
left length lower lpad ltrim make_interval max md5 min mod nextval now nullif overlay pg_advisory_lock
pg_advisory_xact_lock pg_sleep position power random regexp_replace repeat replace reverse right round
row_number rpad rtrim set_config setval sign split_part sqrt statement_timestamp string_agg strpos substr
substring sum timezone to_char to_date to_json to_jsonb to_number to_timestamp transaction_timestamp
translate trim trunc unnest upper
"""
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
"""Functions of PostgreSQL that store nothing: what they are given belongs where their result goes."""
_OURS = frozenset({("flux", "tag")})
_SEALED = frozenset({"DoStmt", "CreateFunctionStmt", "CallStmt", "ExecuteStmt", "NotifyStmt"})
"""Statements whose literals go where no parser sees."""
_FUSED = frozenset(
    {"A_Expr", "CaseExpr", "CoalesceExpr", "MinMaxExpr", "FuncCall", "NullTest", "BooleanTest"}
)
"""Expressions in which a column and a literal meet."""


@dataclass(slots=True)
class _Reading:
    """One try to read a text, with one style of placeholders."""

    text: bytes
    tokens: list[_Token]
    style: str
    find: Find
    unknown: Verdict
    _starts: list[int] = field(default_factory=list)
    """Of each literal and parameter in the text that is parsed."""
    _known: list[int] = field(default_factory=list)
    """Number of the token of each."""
    _verdicts: dict[int, int | None] = field(default_factory=dict)
    """By number of the token."""
    _forced: set[int] = field(default_factory=set)
    """Numbers of tokens that are some column's with a verdict."""
    _tables: list[Table] = field(default_factory=list)
    _has_unknown: bool = False
    _default: int | None = None

    def read(self) -> list[Literal]:
        """Return what was found; raise what the parser raises."""
        parsed, names = self._parsable()
        tree = orjson.loads(parse_sql_json(parsed.decode("utf-8", "surrogateescape")))
        for statement in tree["stmts"]:
            begin = statement.get("stmt_location", 0)
            end = begin + (statement.get("stmt_len", 0) or len(parsed))
            self._statement(statement["stmt"], begin, end)
        found = []
        for number, token in enumerate(self.tokens):
            is_parameter = number in names
            if not is_parameter and token.kind not in {"literal", "comment"}:
                continue  # a colon or question mark that is none
            verdict = self._verdicts.get(number, None)
            found.append(Literal(token.start, token.end, verdict, names.get(number, "")))
        return found

    def _parsable(self) -> tuple[bytes, dict[int, str]]:
        """Return the text with placeholders as `$n`, and the parameter's name by the token's number."""
        pieces: list[bytes] = []
        names: dict[int, str] = {}
        numbers: dict[str, int] = {}
        at = size = 0
        for number, token in enumerate(self.tokens):
            is_placeholder = bool(self.style) and token.kind == self.style
            if token.kind in _PLACEHOLDERS and not is_placeholder:
                continue
            between = self.text[at : token.start]
            piece = self.text[token.start : token.end]
            if is_placeholder:
                name = token.name or str(len(names))
                names[number] = name
                piece = b"$%d" % numbers.setdefault(name, len(numbers) + 1)
            elif token.kind == "dollars":
                names[number] = token.name
            if self.style == "percent":
                between = between.replace(b"%%", b"%")
                if token.kind == "literal":
                    piece = piece.replace(b"%%", b"%")
            if token.kind != "comment":
                self._starts.append(size + len(between))
                self._known.append(number)
            pieces += [between, piece]
            size += len(between) + len(piece)
            at = token.end
        rest = self.text[at:]
        pieces.append(rest.replace(b"%%", b"%") if self.style == "percent" else rest)
        return b"".join(pieces), names

    def _statement(self, statement: dict[str, Any], begin: int, end: int) -> None:
        aliases = {cte["ctename"] for cte in _nodes(statement, "CommonTableExpr")}
        self._tables, self._has_unknown = [], False
        for name in _nodes(statement, "RangeVar"):
            table = self._table(name, aliases)
            if table is None:
                self._has_unknown = True
            else:
                self._tables.append(table)
        is_sealed = any(kind in statement for kind in _SEALED) and self._has_rules()
        is_ruled = any(table.verdicts for table in self._tables)
        self._default = DOUBT if is_ruled or is_sealed else None
        low, high = bisect_left(self._starts, begin), bisect_left(self._starts, end)
        first = self._known[low - 1] + 1 if low else 0
        last = self._known[high] if high < len(self._known) else len(self.tokens)
        for number in range(first, last):
            self._verdicts[number] = self._default
        self._walk(statement, None, spared=False)

    def _has_rules(self) -> bool:
        return self.unknown("*") is not None

    def _table(self, name: dict[str, Any], aliases: set[str]) -> Table | None:
        if not name.get("schemaname") and name["relname"] in aliases:
            return None
        return self.find(name.get("schemaname", ""), name["relname"])

    def _column(self, name: str) -> int | None:
        """Return the verdict on a column that the statement names, of whichever of its tables."""
        for table in self._tables:
            if (verdict := table.verdicts.get(name)) is not None:
                return verdict
        return self.unknown(name) if self._has_unknown or not self._tables else None

    def _walk(self, node: Any, forced: int | None, *, spared: bool) -> None:
        """Go through a tree. `forced`: the verdict of the expression around; `spared`: it has none."""
        if isinstance(node, list):
            for each in node:
                self._walk(each, forced, spared=spared)
            return
        if not isinstance(node, dict):
            return
        for kind, content in node.items():
            if isinstance(content, dict):
                self._node(kind, content, forced, spared=spared)
            elif kind != "typmods":
                self._walk(content, forced, spared=spared)
            else:
                self._walk(content, None, spared=True)

    def _node(self, kind: str, node: dict[str, Any], forced: int | None, *, spared: bool) -> None:
        if kind in {"A_Const", "ParamRef"}:
            self._judge(node, forced, spared=spared)
        elif kind == "InsertStmt":
            self._insert(node)
        elif kind in {"UpdateStmt", "OnConflictClause", "onConflictClause"}:
            self._assign(node)
        elif kind in {"limitCount", "limitOffset"}:
            self._walk({kind: [node]}, None, spared=True)
        elif kind in {"ColumnDef", "AlterTableCmd"}:
            name = node.get("colname") or node.get("name") or ""
            verdict = forced if forced is not None else self._column(name) if name else None
            self._walk(node, verdict, spared=spared)
        elif kind in _FUSED and forced is None:
            self._fused(kind, node, spared=spared)
        else:
            self._walk(node, forced, spared=spared)

    def _judge(self, node: dict[str, Any], forced: int | None, *, spared: bool) -> None:
        """Note the verdict on the token of a constant; a sign may stand before it."""
        at = node.get("location", 0)
        place = bisect_left(self._starts, at)
        if place == len(self._starts):
            return
        number = self._known[place]
        if forced is not None:
            self._verdicts[number] = forced
            self._forced.add(number)
        elif spared and number not in self._forced:  # `set (a, b) = (…)` holds its values twice
            self._verdicts[number] = None

    def _fused(self, kind: str, node: dict[str, Any], *, spared: bool) -> None:
        """An expression with a column in it: what else is in it is of that column's kind."""
        named = list(_column_names(node))
        verdicts = [verdict for name in named if (verdict := self._column(name)) is not None]
        if verdicts:
            self._walk(node, verdicts[0], spared=False)
        elif kind == "FuncCall" and not _is_builtin(node) and self._has_rules():
            self._walk(node, DOUBT, spared=False)
        else:
            self._walk(node, None, spared=spared or (bool(named) and kind == "A_Expr"))

    def _assign(self, node: dict[str, Any]) -> None:
        """`set column = …`, of UPDATE and of ON CONFLICT."""
        for target in node.get("targetList", ()):
            content = target.get("ResTarget", {})
            verdict = self._column(content.get("name", ""))
            self._walk(content, verdict, spared=verdict is None)
        self._walk({name: each for name, each in node.items() if name != "targetList"}, None, spared=False)

    def _insert(self, node: dict[str, Any]) -> None:
        """Rows of an INSERT: by position among its columns."""
        table = self._table(node["relation"], set())
        named = [each["ResTarget"]["name"] for each in node.get("cols", ())]
        columns = named or (list(table.columns) if table is not None else [])
        verdicts: list[int | None] = []
        for name in columns:
            known = None if table is None else table.verdicts.get(name)
            verdicts.append(self.unknown(name) if table is None else known)
        doubt = DOUBT if (table.verdicts if table is not None else self._has_rules()) else None
        self._rows(node.get("selectStmt", {}).get("SelectStmt", {}), verdicts, doubt)
        self._walk({name: each for name, each in node.items() if name != "selectStmt"}, None, spared=False)

    def _rows(self, select: dict[str, Any], verdicts: list[int | None], doubt: int | None) -> None:
        def one(place: int, cell: Any) -> None:
            verdict = verdicts[place] if place < len(verdicts) else doubt
            self._walk(cell, verdict, spared=verdict is None)

        for row in select.get("valuesLists", ()):
            for place, cell in enumerate(row["List"]["items"]):
                one(place, cell)
        targets = select.get("targetList", ())
        # A star takes more than one place: from it on nothing can be told.
        for place, target in enumerate(targets):
            if any("A_Star" in each for each in _nodes_of_fields(target)):
                verdicts = verdicts[:place]
            one(place, target)
        for branch in ("larg", "rarg"):
            if branch in select:
                self._rows(select[branch], verdicts, doubt)
        done = {"valuesLists", "targetList", "larg", "rarg"}
        self._walk({name: each for name, each in select.items() if name not in done}, None, spared=False)


def _is_builtin(node: dict[str, Any]) -> bool:
    names = tuple(part["String"]["sval"] for part in node.get("funcname", ()) if "String" in part)
    if names in _OURS:
        return True
    return (len(names) == 1 or names[0] == "pg_catalog") and names[-1] in _FUNCTIONS


def _nodes(node: Any, kind: str) -> Iterator[dict[str, Any]]:
    """Yield the nodes of one kind, also where the tree names a field by it (`relation`)."""
    if isinstance(node, list):
        for each in node:
            yield from _nodes(each, kind)
    elif isinstance(node, dict):
        for name, content in node.items():
            if isinstance(content, dict) and (name == kind or (kind == "RangeVar" and "relname" in content)):
                yield content
            yield from _nodes(content, kind)


def _column_names(node: Any) -> Iterator[str]:
    for reference in _nodes(node, "ColumnRef"):
        parts = [part["String"]["sval"] for part in reference.get("fields", ()) if "String" in part]
        yield from parts[-1:]


def _nodes_of_fields(target: Any) -> Iterator[dict[str, Any]]:
    for reference in _nodes(target, "ColumnRef"):
        yield from reference.get("fields", ())
