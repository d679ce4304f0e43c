"""Error texts: PostgreSQL, its drivers and SQLAlchemy quote rows, keys, parameters and statements in them.

    DETAIL:  Key (email)=(a@example.org) already exists.
    DETAIL:  Failing row contains (42, a@example.org, free).
    [SQL: INSERT INTO users (email) VALUES (%(email)s)]
    [parameters: {'email': 'a@example.org'}]

With rules by column in force what is quoted so is masked: a failing row has every column. The server's words
are known in English; a key is found in every language. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from flux.model.redaction import MASK
from flux.redaction import statements
from flux.redaction.known import Known
from flux.redaction.statements import Seen, unheard
from flux.redaction.texts import Edit, Texts

_KEY = re.compile(r"\(([^()=\n]*(?:\([^()\n]*\)[^()=\n]*)*)\)=\(")
_KEY_TAIL = re.compile(
    r"\) (?:already exists|is not present|is still referenced|conflicts with|is duplicated)"
)
_ROW = re.compile(r"Failing row contains \(|^DETAIL:[^(\n]*\(", re.MULTILINE)
_VALUE = re.compile(r'(?:invalid|malformed|out of range|^COPY )[^\n"]*(?:"[^"\n]*"[^\n"]*)?: "', re.MULTILINE)
_LINE = re.compile(r"^\s*LINE \d+: (.*)$", re.MULTILINE)
_SQL = re.compile(r"\[SQL: (.*?)\](?=\s*$)", re.MULTILINE | re.DOTALL)
_PARAMETERS = re.compile(r"\[parameters: (.*?)\](?=\s*$)", re.MULTILINE | re.DOTALL)
_SECTION = re.compile(r"^(?:CONTEXT|QUERY|STATEMENT):.*\Z", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"'(?:[^']|'')*'?")
_LABEL = re.compile(r"\n(?:DETAIL|HINT|CONTEXT|QUERY|STATEMENT|SCHEMA NAME|TABLE NAME|LOCATION):|\n\[|\n\n")
_END = re.compile(r"\)\.?(?=\s*(?:\n|\Z))")
_WORD = re.compile(r"[^\W\d]\w*")


def edits(text: str, known: Known, texts: Texts, seen: Seen = unheard) -> Iterator[Edit]:
    """Yield the edits of an error's text."""
    if not known.policy.columns:
        return
    yield from _quoted_values(text, known)
    for found in _PARAMETERS.finditer(text):
        yield Edit(found.start(1), found.end(1), MASK)
    for pattern in (_LINE, _SQL):
        for found in pattern.finditer(text):
            for edit in statements.edits(found[1], known, texts, seen):
                yield Edit(edit.start + found.start(1), edit.end + found.start(1), edit.text)
    for found in _SECTION.finditer(text):
        for quoted in _QUOTED.finditer(text, found.start()):
            yield Edit(quoted.start(), quoted.end(), f"'{MASK}'")


def _quoted_values(text: str, known: Known) -> Iterator[Edit]:
    """Yield the edits of keys, rows and values that the server quotes."""
    for found in _KEY.finditer(text):
        names = {*_WORD.findall(found[1]), *(part.strip().strip('"') for part in found[1].split(","))}
        if any(known.verdict(name) is not None for name in names):
            tail = _KEY_TAIL.search(text, found.end())
            yield Edit(found.end(), tail.start() if tail else _closing(text, found.end()), MASK)
    for found in _ROW.finditer(text):
        if _KEY.match(text, found.end() - 1):
            continue
        yield Edit(found.end(), _closing(text, found.end()), MASK)
    for found in _VALUE.finditer(text):
        line_end = text.find("\n", found.end())
        last = text.rfind('"', found.end(), None if line_end < 0 else line_end)
        yield Edit(found.end(), last if last >= 0 else len(text), MASK)


def _closing(text: str, start: int) -> int:
    """Return where the values end that begin at `start`: they may hold parentheses and line ends."""
    label = _LABEL.search(text, start)
    ends = list(_END.finditer(text, start, label.start() + 1 if label else len(text)))
    return ends[-1].start() if ends else (label.start() if label else len(text))
