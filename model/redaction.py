"""Redaction rules: what of the application's values is not stored as it is. Pure; reads no file.

A rule names values by relation and column, by header, by JSON path or by pattern, and says what is kept of
them. `read` makes a `Policy` of the tables of a `flux.toml`. An error names the file and the rule's number,
and nothing of a value or of the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from flux.model.cipher import Cipher
from flux.model.errors import UsageError
from flux.model.json_path import Step, parse_path
from flux.model.relation import Relation

MASK = "[masked]"
"""What stands for a value that was masked, and for one of which it cannot be told whose it is."""
LAST = 4
"""Characters that `last4` keeps."""
LAST_LENGTH_MIN = 8
"""A shorter text is masked by `last4`: what it keeps must not be most of it."""
PATTERN_LENGTH_MAX = 1000
"""Characters of a pattern."""


class Action(StrEnum):
    """What is kept of a value."""

    DROP = "drop"
    """Nothing, not even that it was there."""
    MASK = "mask"
    """That there was one."""
    HASH = "hash"
    """A keyed hash: which values are equal."""
    LAST4 = "last4"
    """The last four characters of a text that is long enough."""
    ENCRYPT = "encrypt"
    """All of it, for who has the key; which values are equal, for everybody."""

    @property
    def keeps_equality(self) -> bool:
        """Different values stay different."""
        return self in {Action.HASH, Action.ENCRYPT}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; exactly one of the four ways to name values is set (relation and column are one)."""

    number: int
    """Place in the file, from 1."""
    action: Action
    relation: str = ""
    """Glob over `schema.table`; without a schema, of any."""
    column: str = ""
    """Glob."""
    header: str = ""
    """Glob in lower case."""
    path: tuple[Step, ...] = ()
    """Of the JSON path."""
    pattern: str = ""
    """RE2."""
    text: str = ""
    """The rule as an error and `flux config show` print it."""

    def covers(self, relations: Iterable[str], columns: Iterable[str]) -> bool:
        """Tell whether it names a column that has one of these names, of a relation with one of those."""
        return (
            bool(self.column)
            and any(fnmatchcase(name, self.column) for name in columns)
            and any(fnmatchcase(name, self.relation) for name in relations)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules in force, in the order of the file: of those that name a value the first one decides."""

    rules: tuple[Rule, ...]
    cipher: Cipher | None
    """The key; None where no rule needs one and none is set."""
    origin: str = "flux.toml"
    """The file that the rules stand in."""

    @property
    def columns(self) -> tuple[Rule, ...]:
        """Rules by relation and column."""
        return tuple(rule for rule in self.rules if rule.column)

    @property
    def headers(self) -> tuple[Rule, ...]:
        """Rules by header."""
        return tuple(rule for rule in self.rules if rule.header)

    @property
    def paths(self) -> tuple[Rule, ...]:
        """Rules by JSON path."""
        return tuple(rule for rule in self.rules if rule.path)

    @property
    def patterns(self) -> tuple[Rule, ...]:
        """Rules by pattern."""
        return tuple(rule for rule in self.rules if rule.pattern)

    def of_column(self, relations: Iterable[str], columns: Iterable[str]) -> Rule | None:
        """Return the rule for a column under its names, in a relation under its names."""
        relations, columns = tuple(relations), tuple(columns)
        return next((rule for rule in self.rules if rule.covers(relations, columns)), None)

    def of_header(self, name: str) -> Rule | None:
        """Return the rule for a header."""
        return next((rule for rule in self.headers if fnmatchcase(name.lower(), rule.header)), None)

    def kept(self, action: Action, text: str) -> str:
        """Return what is stored for `text`; for `drop` what stands where something must."""
        if action is Action.LAST4 and len(text) >= LAST_LENGTH_MIN:
            return last(text)
        if action is Action.HASH and self.cipher is not None:
            return self.cipher.hashed(text)
        if action is Action.ENCRYPT and self.cipher is not None:
            return self.cipher.encrypted(text)
        return MASK

    def identifying(self, action: Action) -> Action:
        """Return what is done instead where values tell rows apart: they must stay different.

        Without a key nothing can: then the action itself.
        """
        return action if action.keeps_equality or self.cipher is None else Action.HASH

    def check_key(self, relation: Relation, names: Mapping[str, Iterable[str]] | None = None) -> None:
        """Raise `UsageError` when a rule would make different keys of `relation` the same.

        `names`: all names of a column that had several.
        """
        for column in relation.key:
            rule = self.of_column((relation.relation, relation.root), (names or {}).get(column, (column,)))
            if rule is not None and not rule.action.keeps_equality:
                raise UsageError(
                    f"rule {rule.number} in {self.origin} cannot {rule.action} {relation.root}.{column}",
                    why="it is in the key: rows could not be told apart any more",
                    hint='use action = "hash" or "encrypt" for it, or name other columns',
                )


def last(text: str) -> str:
    """Return the end of `text`, marked as one."""
    return f"[…{text[-LAST:]}]"


_WAYS = ("header", "json", "pattern")
_NEEDS_KEY = frozenset({Action.HASH, Action.ENCRYPT})


def read(tables: object, *, origin: str, cipher: Cipher | None) -> Policy:
    """Return the policy of the `[[redact]]` tables in the file `origin`.

    Raises `UsageError` with the number of the first rule that cannot be meant.
    """
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"cannot read {origin}", why="`redact` is not a list of tables", hint=_HINT)
    rules = tuple(_rule(table, number, origin) for number, table in enumerate(tables, 1))
    for rule in rules:
        if rule.action in _NEEDS_KEY and cipher is None:
            raise UsageError(
                f"rule {rule.number} in {origin} needs a key to {rule.action}",
                why="neither FLUX_REDACTION_KEY (or `key_env`) nor `key_file` under [redaction] gives one",
                hint="make one with: openssl rand -base64 32",
            )
    return Policy(rules, cipher, origin)


_HINT = 'write for instance: [[redact]] relation = "public.users" column = "email" action = "mask"'


def _rule(table: Mapping[str, Any], number: int, origin: str) -> Rule:
    def wrong(why: str) -> UsageError:
        return UsageError(f"rule {number} in {origin} cannot be used", why=why, hint=_HINT)

    unknown = sorted(set(table) - {"relation", "column", "action", *_WAYS})
    if unknown:
        raise wrong(f"there is no {unknown[0]!r} in a rule")
    if any(not isinstance(value, str) or not value for value in table.values()):
        raise wrong("every part of a rule is a text, and none is empty")
    try:
        action = Action(table.get("action", ""))
    except ValueError:
        raise wrong(f"`action` is none of {', '.join(Action)}") from None
    by_column = "relation" in table or "column" in table
    if by_column + sum(way in table for way in _WAYS) != 1:
        raise wrong("it names values in one way: by relation and column, header, json or pattern")
    words = ", ".join(f"{name} {table[name]}" for name in ("relation", "column", *_WAYS) if name in table)
    found: dict[str, Any] = {"number": number, "action": action, "text": f"{action} {words}"}
    if by_column:
        relation = table.get("relation", "*")
        found["relation"] = relation if "." in relation or relation == "*" else f"*.{relation}"
        found["column"] = table.get("column", "*")
    elif "header" in table:
        found["header"] = table["header"].lower()
    elif "json" in table:
        try:
            found["path"] = parse_path(table["json"])
        except ValueError as error:
            raise wrong(str(error)) from None
    else:
        found["pattern"] = _pattern(table["pattern"], wrong)
    return Rule(**found)


def _pattern(text: str, wrong: Any) -> str:
    """Return the pattern without capturing groups: what it matches is taken whole."""
    # Imported here: a question without rules by pattern needs none of it.
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(text) > PATTERN_LENGTH_MAX:
        raise wrong(f"a pattern has at most {PATTERN_LENGTH_MAX:,} characters")
    try:
        matches_nothing = pc.match_substring_regex(pa.array([""]), text)[0].as_py()
        found = _GROUP.sub(lambda part: "(?:" if part[0] in {"(", part["named"]} else part[0], text)
        pc.extract_regex_span(pa.array([""]), pattern=f"(?P<flux>{found})")
    except pa.ArrowInvalid as error:
        # RE2's own words; they quote the pattern, which is no secret.
        raise wrong(str(error).splitlines()[0]) from None
    if matches_nothing:
        raise wrong("the pattern matches the empty text, and so every text")
    return found


_GROUP = re.compile(
    r"\\Q.*?(?:\\E|$)|\\.|\[\^?\]?(?:\[:\w+:\]|\\.|[^\]\\])*\]|(?P<named>\(\?P?<\w+>)|\((?!\?)", re.DOTALL
)
"""Where a group begins, and before it whatever may hold a parenthesis that is none."""
