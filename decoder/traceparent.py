"""The trace that a statement names in a comment, as sqlcommenter writes it: `/*traceparent='00-…-…-01'*/`.

OpenTelemetry's instrumentations of many drivers put it there, so a change is tied to its request without a
tag. What only looks like it (in a literal, in a quoted name) names nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

STATEMENT_CHARACTERS_MAX = 2000
"""Of a statement in a context; of a longer one the trigger keeps both ends (sql/postgres/020_tag.sql)."""
HEAD_CHARACTERS = 1600
CUT = " ... "
"""Between the ends, after `HEAD_CHARACTERS`."""

_VALUE = "00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}"
_IN_COMMENT = re.compile(rf"\btraceparent\s*=\s*['\"]?{_VALUE}\b", re.ASCII)
# What may hide a comment, or is one. A literal that is not closed goes on to the end of a cut statement.
_TOKEN = re.compile(
    r"""
      (?P<line>--[^\n]*)
    | (?P<block>/\*)
    | (?<![\w$])[eE]'(?:[^'\\]++|\\.|'')*+(?:'|\Z)
    | '(?:[^']++|'')*+(?:'|\Z)
    | "(?:[^"]++|"")*+(?:"|\Z)
    | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_NESTING = re.compile(r"/\*|\*/")


def with_traces(request_id: pa.Array, statement: pa.Array) -> pa.Array:
    """Return `request_id` with the trace ids of the statements' comments where it is null or empty.

    Both are [n] texts. Statements without such a comment, nearly all, cost one search.
    """
    absent = pc.fill_null(pc.equal(request_id, ""), True)
    asked = pc.and_(absent, pc.fill_null(pc.match_substring(statement, "traceparent"), False))
    if not pc.any(asked).as_py():
        return request_id
    traces = [trace_of(each) for each in statement.filter(asked).to_pylist()]
    return pc.replace_with_mask(request_id, asked, pa.array(traces, pa.string()))


def trace_of(statement: str) -> str | None:
    """Return the trace id in a comment of `statement`, the one that ends it first; None if none does."""
    for comment in _comments(statement):
        named = _IN_COMMENT.search(unquote(comment) if "%" in comment else comment)
        if named is not None and named["trace"].strip("0") and named["span"].strip("0"):
            return named["trace"]
    return None


def _comments(statement: str) -> Iterator[str]:
    """Yield the comments: first the one that ends the statement, of a cut one only those of its ends."""
    last = _last_comment(statement)
    if last is not None:
        yield last
    end = len(statement)
    if end > STATEMENT_CHARACTERS_MAX and statement.startswith(CUT, HEAD_CHARACTERS):
        end = HEAD_CHARACTERS
    at = 0
    while (token := _TOKEN.search(statement, at, end)) is not None:
        at = token.end()
        if token["line"] is not None:
            yield token["line"]
        elif token["block"] is not None:
            began, depth = at, 1
            while depth and (mark := _NESTING.search(statement, at, end)) is not None:
                depth += 1 if mark[0] == "/*" else -1
                at = mark.end()
            if depth:
                return
            yield statement[began:at]


def _last_comment(statement: str) -> str | None:
    """Return the comment that ends a statement, without a look at what is before it.

    It cannot be part of a literal, which would be open then; unless a line comment follows the literal.
    """
    text = statement.rstrip("; \n\r\t")
    if not text.endswith("*/") or len(statement) == STATEMENT_CHARACTERS_MAX:
        return None
    _, mark, comment = text[:-2].rpartition("/*")
    return comment if mark and "*/" not in comment and "--" not in comment else None
