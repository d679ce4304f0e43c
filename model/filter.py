"""The filter of requests: `status>=500 and path~"^/check"`, read into a tree. No I/O.

    filter      = any
    any         = all ("or" all)*
    all         = one ("and" one)*
    one         = "not" one | "(" any ")" | FIELD operator value | FIELD "is" ["not"] "null"
                | FIELD ["not"] "in" "(" value ("," value)* ")"
    operator    = "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "!~"
    value       = word | number | "text" | 'text'

`~` is a regular expression that matches anywhere. A status may be a class (`5xx`), a duration has a unit
(`250ms`, `1.5s`, `2m`; milliseconds without one). What a request does not have is not equal to any value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flux.model.errors import UsageError


class Kind(StrEnum):
    """What the values of a field are."""

    TEXT = "text"
    NUMBER = "number"
    DURATION = "duration"
    """Milliseconds."""
    FLAG = "flag"
    """true or false."""


FIELDS: dict[str, tuple[Kind, str]] = {
    "request": (Kind.TEXT, "the request's id"),
    "trace": (Kind.TEXT, "the trace's id"),
    "service": (Kind.TEXT, "the service that answered"),
    "method": (Kind.TEXT, "GET, POST, …"),
    "route": (Kind.TEXT, "the route's template, or the name of a job"),
    "path": (Kind.TEXT, "the path that was asked for"),
    "status": (Kind.NUMBER, "the answer's status; 5xx for a class"),
    "duration": (Kind.DURATION, "how long it took: 250ms, 1.5s"),
    "failed": (Kind.FLAG, "whether it failed: true or false"),
    "error": (Kind.TEXT, "the type of the exception"),
    "message": (Kind.TEXT, "the exception's message"),
    "location": (Kind.TEXT, "file:line, function in the application's code"),
    "version": (Kind.TEXT, "the commit that the service ran"),
    "table": (Kind.TEXT, "a table it changed, or tried to"),
    "key": (Kind.TEXT, "the key of a row it changed, or tried to"),
    "outcome": (Kind.TEXT, "the outcome of a change: committed, rolled_back"),
    "actor": (Kind.TEXT, "the actor of a change"),
}
"""Every field: its kind, and what it is."""

OF_CHANGES = frozenset(("table", "key", "outcome", "actor"))
"""Fields that any change of the request may answer."""

_OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "~", "!~")
_ORDERED = frozenset(("<", "<=", ">", ">="))
_CLASS = re.compile(r"([1-5])xx", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?", re.IGNORECASE)
_MILLISECONDS = {"ms": 1.0, "s": 1_000.0, "m": 60_000.0}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<operator><=|>=|!=|<>|!~|==|=|<|>|~)
      | (?P<mark>[(),])
      | (?P<word>[^\s()<>=!~,"']+)
    )""",
    re.VERBOSE,
)
DEPTH_MAX = 50
"""Of nested parentheses and `not`: what people write has three."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field against values."""

    field: str
    operator: str
    """One of `_OPERATORS`, or `null`, or `between`: from the first value, below the second."""
    values: tuple[str | float | bool, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold, or is not known to."""

    part: Filter


@dataclass(frozen=True, slots=True)
class Every:
    """All parts hold."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One part holds at least."""

    parts: tuple[Filter, ...]


Filter = Comparison | Not | Every | Either


def comparisons(tree: Filter) -> Iterator[Comparison]:
    """Yield the comparisons of a filter."""
    if isinstance(tree, Comparison):
        yield tree
    elif isinstance(tree, Not):
        yield from comparisons(tree.part)
    else:
        for part in tree.parts:
            yield from comparisons(part)


def among(tree: Filter | None, request_ids: Sequence[str]) -> Filter:
    """Return the filter for those of some requests that fit `tree`; None fits all."""
    ids = tuple(Comparison("request", "=", (request_id,)) for request_id in dict.fromkeys(request_ids))
    return Either(ids) if tree is None else Every((tree, Either(ids)))


def is_of_changes(tree: Filter | None) -> bool:
    """Whether a filter asks for what a request changed: that comes into the ledger after the request."""
    return tree is not None and not OF_CHANGES.isdisjoint(one.field for one in comparisons(tree))


def parse_filter(text: str) -> Filter:
    """Read a filter. Raises `UsageError` that names the place and what may stand there."""
    reading = _Reading(text)
    tree = reading.either(0)
    if reading.word:
        raise reading.wrong(f"{reading.word!r} is too much", "join conditions with and, or")
    return tree


class _Reading:
    """The words of a filter, one at a time."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0
        self._start = 0
        self.word = ""
        self._kind: str | None = None
        self._next()

    def either(self, depth: int) -> Filter:
        parts = [self._every(depth)]
        while self._taken("or"):
            parts.append(self._every(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _every(self, depth: int) -> Filter:
        parts = [self._one(depth)]
        while self._taken("and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _one(self, depth: int) -> Filter:
        if depth > DEPTH_MAX:
            raise self.wrong("too deep", f"at most {DEPTH_MAX} parentheses")
        if self._taken("not"):
            return Not(self._one(depth + 1))
        if self._taken("("):
            tree = self.either(depth + 1)
            self._need(")")
            return tree
        return self._comparison()

    def _comparison(self) -> Filter:
        field = self.word.lower()
        if self._kind != "word" or field not in FIELDS:
            raise self.wrong(
                f"{self.word!r} is no field" if self.word else "a condition is missing",
                f"fields: {', '.join(FIELDS)}",
            )
        self._next()
        if self._taken("is"):
            is_absent = not self._taken("not")
            self._need("null")
            absent = Comparison(field, "null", ())
            return absent if is_absent else Not(absent)
        if self._taken("not"):
            self._need("in")
            return Not(self._among(field))
        if self._taken("in"):
            return self._among(field)
        operator = {"==": "=", "<>": "!="}.get(self.word, self.word)
        if self._kind != "operator" or operator not in _OPERATORS:
            raise self.wrong(f"no operator after {field}", f"one of: {' '.join(_OPERATORS)} in is")
        self._next()
        return self._compared(field, operator)

    def _among(self, field: str) -> Filter:
        self._need("(")
        parts = [self._compared(field, "=")]
        while self._taken(","):
            parts.append(self._compared(field, "="))
        self._need(")")
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _compared(self, field: str, operator: str) -> Filter:
        kind, _ = FIELDS[field]
        if self._kind not in {"text", "word"}:
            raise self.wrong(f"no value after {field} {operator}", "a word, a number, or text in quotes")
        word = re.sub(r"\\(.)", r"\1", self.word[1:-1]) if self._kind == "text" else self.word
        if self._kind == "text" and operator.endswith("~"):
            word = self.word[1:-1].replace("\\" + self.word[0], self.word[0])
        if operator.endswith("~"):
            if kind is not Kind.TEXT:
                raise self.wrong(f"{field} is a {kind}", "~ is for text")
            _check_pattern(word, self)
        elif operator in _ORDERED and kind not in {Kind.NUMBER, Kind.DURATION}:
            raise self.wrong(f"{field} has no order", "use =, != or ~")
        found = _CLASS.fullmatch(word)
        if kind is Kind.NUMBER and found and operator in {"=", "!="}:
            low = 100.0 * int(found[1])
            self._next()
            within = Comparison(field, "between", (low, low + 100))
            return within if operator == "=" else Not(within)
        value = self._value(field, kind, word)
        self._next()
        return Comparison(field, operator, (value,))

    def _value(self, field: str, kind: Kind, word: str) -> str | float | bool:
        if kind is Kind.TEXT:
            return word
        if kind is Kind.FLAG:
            if word.lower() not in {"true", "false", "yes", "no"}:
                raise self.wrong(f"{field} is true or false", "write failed=true")
            return word.lower() in {"true", "yes"}
        if kind is Kind.DURATION:
            found = _DURATION.fullmatch(word)
            if found is None:
                raise self.wrong(f"{word!r} is no duration", "write it as 250ms, 1.5s or 2m")
            return float(found[1]) * _MILLISECONDS[(found[2] or "ms").lower()]
        if not _NUMBER.fullmatch(word):
            raise self.wrong(f"{word!r} is no number", f"for instance {field}>=500, or {field}=5xx")
        return float(word)

    def _taken(self, word: str) -> bool:
        is_it = self._kind in {"word", "mark"} and self.word.lower() == word
        if is_it:
            self._next()
        return is_it

    def _need(self, word: str) -> None:
        if not self._taken(word):
            raise self.wrong(f"{word} is missing", f"before {self.word!r}" if self.word else "at the end")

    def _next(self) -> None:
        rest = self._text[self._end :]
        if not rest.strip():
            self.word, self._kind, self._start = "", None, len(self._text)
            return
        found = _TOKEN.match(self._text, self._end)
        if found is None:
            self._start = self._end
            raise self.wrong(f"cannot read {rest.strip()[:20]!r}", "close the quotes; write != and not !")
        self._kind = found.lastgroup
        self.word = found[found.lastgroup or 0]
        self._start, self._end = found.start(found.lastgroup or 0), found.end()

    def wrong(self, what: str, hint: str) -> UsageError:
        return UsageError(f"the filter, at letter {self._start + 1}: {what}", hint=hint)


def _check_pattern(pattern: str, reading: _Reading) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise reading.wrong(f"{pattern!r} is no regular expression: {error}", "escape it with \\") from None
