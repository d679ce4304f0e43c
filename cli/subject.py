"""What a `flux state` command is about: a table, and the row or rows of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flux.model.errors import UsageError

if TYPE_CHECKING:
    from flux.ledger import Ledger
    from flux.model.relation import Relation

_EVERYWHERE = "public."
_IS_NULL = re.compile(r"(.+?)\s+is\s+null", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Subject:
    """A table, one row of it by its key, some by their values, or all."""

    relation: Relation
    key: str | None = None
    """Canonical key text."""
    where: Mapping[str, str | None] = field(default_factory=dict)
    """Column → value that rows must have had."""

    @property
    def name(self) -> str:
        """The table as people call it."""
        return self.relation.root.removeprefix(_EVERYWHERE)

    @property
    def title(self) -> str:
        """`users id=42`, `users where plan=pro`, or `users`."""
        if self.key is not None:
            return f"{self.name} {key_title(self.relation.key, self.key)}"
        if self.where:
            words = (f"{name}={'null' if value is None else value}" for name, value in self.where.items())
            return f"{self.name} where {', '.join(words)}"
        return self.name


def key_title(columns: Sequence[str], key: str) -> str:
    """Return `id=42`, or `region=eu, id=42` for a key of several columns."""
    if len(columns) < 2:
        return f"{columns[0] if columns else 'key'}={key}"
    try:
        values = json.loads(key)
    except ValueError:
        return key
    return ", ".join(f"{name}={value}" for name, value in zip(columns, values, strict=False))


def row_of(
    reader: Ledger,
    table: str,
    positional: str | None,
    option: str | None,
    *,
    where: list[str] | None = None,
    source: str | None = None,
) -> Subject:
    """Return what the arguments name. Raises `UsageError`, also for a key that does not fit the table."""
    if positional is not None and option is not None:
        raise UsageError("the key is given twice", hint="write it after the table, or with --id")
    typed = positional if positional is not None else option
    relation = reader.relation(table, source=source)
    if typed is not None and where:
        raise UsageError("--id and --where contradict each other", hint="give one of them")
    if typed is None:
        return Subject(relation, where=_conditions(where or [], relation, reader))
    if not relation.key:
        raise UsageError(
            f"{relation.root} has no key",
            why="its rows are told apart by their values only",
            hint="ask by value: --where COLUMN=VALUE",
        )
    # Imported here: it brings pyarrow.
    from flux.cli.redaction import stored_key
    from flux.model.key import key_text, parse_key

    key = parse_key(typed, relation.key)
    parts = [key] if len(relation.key) == 1 else json.loads(key)
    return Subject(relation, key=key_text(stored_key(reader.path, relation, parts)))


def _conditions(where: list[str], relation: Relation, reader: Ledger) -> dict[str, str | None]:
    """Read `COLUMN=VALUE` and `COLUMN is null`."""
    from flux.cli.redaction import stored_value

    found: dict[str, str | None] = {}
    names = [column.name for column in relation.columns]
    for word in where:
        name, equals, value = word.partition("=")
        if not equals and (null := _IS_NULL.fullmatch(word)):
            name = null[1]
        elif not equals:
            raise UsageError(
                f"not a condition: {word!r}", hint="write --where COLUMN=VALUE, or 'COLUMN is null'"
            )
        if names and name not in names:
            raise UsageError(f"{relation.root} has no column {name}", hint=f"there are: {', '.join(names)}")
        found[name] = stored_value(reader.path, relation, name, value) if equals else None
    return found
