"""What a statement is to the recorder: a write, the end of a transaction, or neither. From its text alone.

A write is known by its first word, in microseconds and without a parser: insert, update, delete, merge,
truncate, copy … from, call, do, execute; `with` and `explain` when one of the first four words occurs in
it. `select` is a read, also when it calls a function that writes. Several statements in one text
are a write when one of those words occurs anywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

KNOWN = 512
"""Statements whose kind is kept: an application has a few hundred texts."""
KNOWN_CHARS_MAX = 4096
"""Characters of a text that is kept for that; longer ones were put together for once, as a rule."""

_FIRST = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/|[(;])*([a-z]+)", re.IGNORECASE | re.DOTALL)
_WRITES = frozenset({"insert", "update", "delete", "merge", "truncate", "call", "do", "execute"})
_CONTROLS = frozenset(
    {"begin", "start", "commit", "end", "rollback", "abort", "prepare", "reset", "discard", "set"}
)
_DML = re.compile(r"\b(?:insert|update|delete|merge|truncate|copy|call|do|execute)\b", re.IGNORECASE)
_CONTROL = re.compile(
    r"(?:\A|;)\s*(?:begin|start|commit|end|rollback|abort|prepare|reset|discard|set)\b", re.IGNORECASE
)
_COPY_FROM = re.compile(r"\bfrom\b", re.IGNORECASE)
_COPY_QUERY = re.compile(r"\bcopy\s*\(", re.IGNORECASE)
_COMMITS = re.compile(r"\b(?:commit|rollback)\b", re.IGNORECASE)
_SEVERAL = re.compile(r";\s*[^\s;]")


@dataclass(frozen=True, slots=True)
class Statement:
    """What the text of a statement says about it."""

    writes: bool
    """Rows may change: it wants a tag."""
    controls: bool
    """It may end a transaction or take back a savepoint: a tag set before it may be gone after it."""
    several: bool
    """It may be more than one statement."""
    alone: bool = False
    """It may commit inside, which forbids anything before it: `call`, and a `do` that says so."""


_READ = Statement(writes=False, controls=False, several=False)
_WRITE = Statement(writes=True, controls=False, several=False)
_ALONE = Statement(writes=True, controls=False, several=False, alone=True)
_CONTROLLING = Statement(writes=False, controls=True, several=False)


def examine(text: str) -> Statement:
    """Say what a statement's text is."""
    return _examined(text) if len(text) <= KNOWN_CHARS_MAX else _examine(text)


def _examine(text: str) -> Statement:
    match = _FIRST.match(text)
    word = match[1].lower() if match else ""
    if ";" in text and _SEVERAL.search(text):
        return Statement(
            writes=word in _WRITES or _DML.search(text) is not None,
            controls=word in _CONTROLS or _CONTROL.search(text) is not None,
            several=True,
            alone=_alone(word, text),
        )
    if word == "select":
        return _READ
    if word in _WRITES:
        return _ALONE if _alone(word, text) else _WRITE
    if word == "copy":
        from_client = _COPY_FROM.search(text) is not None and _COPY_QUERY.search(text) is None
        return _WRITE if from_client else _READ
    if word in {"with", "explain"}:
        return _WRITE if _DML.search(text) else _READ
    return _CONTROLLING if word in _CONTROLS else _READ


_examined = lru_cache(maxsize=KNOWN)(_examine)


def _alone(word: str, text: str) -> bool:
    return word == "call" or (word == "do" and _COMMITS.search(text) is not None)
