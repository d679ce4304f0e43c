"""Statements: the literals and parameters that belong to redacted columns.

A literal in a statement that names a table with rules is kept only where it can be told that it belongs to
another column (`sql/statements.py`). What cannot be read at all keeps no literal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from flux.model.redaction import MASK, Action, Policy
from flux.redaction.known import Known
from flux.redaction.texts import Edit, Texts
from flux.sql import statements

Seen = Callable[[str, str], None]
"""Is told of a value that was redacted, and what is kept of it."""


def unheard(_value: str, _kept: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a statement says of one of its parameters."""

    action: Action | None
    """None: it is kept."""


def edits(text: str, known: Known, texts: Texts, seen: Seen = unheard) -> Iterator[Edit]:
    """Yield the edits of a statement's literals."""
    if not known.policy.columns and not texts.has_paths:
        return
    raw = text.encode()
    place = _places(text, raw)
    for literal in statements.literals(raw, known.table, known.verdict):
        if literal.parameter:
            continue
        token = raw[literal.start : literal.end]
        value = statements.value(token)
        if literal.verdict is None:
            inner = list(texts.json_edits(value)) if value[:1] in {"{", "["} else []
            if not inner:
                continue
            new = quoted(texts.inside_one(value))
        else:
            kept = of_verdict(known.policy, literal.verdict, value)
            seen(value, kept)
            new = quoted(kept)
        yield Edit(place(literal.start), place(literal.end), new)


def parameters(text: str, known: Known) -> dict[str, Parameter]:
    """Return by name the parameters of a statement; those of `$1`, `%s` and `?` are named from 0 on."""
    if not known.policy.columns:
        return {}
    found: dict[str, Parameter] = {}
    for literal in statements.literals(text.encode(), known.table, known.verdict):
        if literal.parameter and (literal.verdict is not None or literal.parameter not in found):
            found[literal.parameter] = Parameter(action_of(known.policy, literal.verdict))
    return found


def action_of(policy: Policy, verdict: int | None) -> Action | None:
    """Return what is done with a value that has this verdict."""
    if verdict is None:
        return None
    return Action.MASK if verdict == statements.DOUBT else policy.rules[verdict].action


def of_verdict(policy: Policy, verdict: int, value: str) -> str:
    """Return what is kept of a literal's value."""
    return MASK if verdict == statements.DOUBT else policy.kept(policy.rules[verdict].action, value)


def quoted(text: str) -> str:
    """Return an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _places(text: str, raw: bytes) -> Callable[[int], int]:
    """Return what turns places of bytes into places of characters."""
    if len(raw) == len(text):
        return lambda at: at
    starts = (np.frombuffer(raw, np.uint8) & 0xC0) != 0x80
    before = np.concatenate([[0], np.cumsum(starts)])
    return lambda at: int(before[at])
