"""What is known of relations under every name they had: a rule goes on holding when a table is renamed.

Names only grow. Where two columns exchange their names both have both: more is redacted then, never less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flux.model.redaction import Policy, Rule
from flux.model.relation import ROW_TEXT, Relation
from flux.sql.statements import Table


@dataclass(frozen=True, slots=True)
class Root:
    """A table with its partitions, as all versions of them have shown it."""

    names: frozenset[str]
    """Every name that it or a partition of it had."""
    columns: Mapping[str, frozenset[str]]
    """Column → every name that this column had."""
    order: tuple[str, ...]
    """The columns of the newest version."""
    keys: tuple[tuple[int, tuple[str, ...]], ...]
    """(position from which on, key columns), ascending."""
    rules: Mapping[str, Rule]
    """Column → its rule; columns without one are not in it."""

    def key_at(self, lsn: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return for each position which of `keys` is in force; before the first one, the first."""
        starts = np.array([start for start, _ in self.keys], np.uint64)
        return np.maximum(np.searchsorted(starts, lsn, side="right") - 1, 0)

    @property
    def key_columns(self) -> frozenset[str]:
        """Columns that are or were in the key."""
        return frozenset(column for _, key in self.keys for column in key)


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """The relations known so far; `with_more` makes another one."""

    policy: Policy
    relations: dict[Relation, None] = field(default_factory=dict)
    roots: dict[int, Root] = field(default_factory=dict)

    def with_more(self, relations: Iterable[Relation]) -> Known:
        """Return what is known with these versions, too; itself when they say nothing new."""
        fresh = [each for each in relations if each not in self.relations]
        if not fresh:
            return self
        every = {**self.relations, **dict.fromkeys(fresh)}
        roots = dict(self.roots)
        for root_id in {each.root_id for each in fresh}:
            roots[root_id] = _root(self.policy, [each for each in every if each.root_id == root_id])
        return Known(self.policy, every, roots)

    def rule(self, root_id: int, column: str) -> Rule | None:
        """Return the rule for a column; of a relation that is not known any rule may hold.

        A row that is kept whole has a rule when any column of it has.
        """
        root = self.roots.get(root_id)
        if column == ROW_TEXT:
            return next(iter(root.rules.values() if root is not None else self.policy.columns), None)
        return self.unknown_rule(column) if root is None else root.rules.get(column)

    def unknown_rule(self, column: str) -> Rule | None:
        """Return a rule for a column of that name, of whatever relation."""
        return self.policy.of_column([each.relation for each in self.policy.columns], [column])

    def table(self, schema: str, name: str) -> Table | None:
        """Return the table that a statement names; without a schema all that have the name, as one."""
        found = [root for root in self.roots.values() if _is_named(root, schema, name)]
        if not found:
            return None
        verdicts = {column: rule.number - 1 for root in found for column, rule in root.rules.items()}
        return Table(found[-1].order, verdicts)

    def verdict(self, column: str) -> int | None:
        """Return the verdict on a column of a table that is not known; of `*`, whether there is any."""
        rules = self.policy.columns
        if column == "*":
            return rules[0].number - 1 if rules else None
        rule = self.unknown_rule(column)
        return None if rule is None else rule.number - 1


def _is_named(root: Root, schema: str, name: str) -> bool:
    if schema:
        return f"{schema}.{name}" in root.names
    return any(each.split(".", 1)[-1] == name for each in root.names)


def _root(policy: Policy, versions: list[Relation]) -> Root:
    names = frozenset(name for each in versions for name in (each.relation, each.root))
    columns = _columns(versions)
    rules = {}
    for column, called in columns.items():
        rule = policy.of_column(names, called)
        if rule is not None:
            rules[column] = rule
    own = sorted((each for each in versions if each.relation_id == each.root_id), key=lambda each: each.lsn)
    own = own or versions
    keys: list[tuple[int, tuple[str, ...]]] = []
    for each in own:
        if not keys or keys[-1][1] != each.key:
            keys.append((each.lsn, each.key))
    return Root(names, columns, tuple(column.name for column in own[-1].columns), tuple(keys), rules)


def _columns(versions: list[Relation]) -> dict[str, frozenset[str]]:
    """Return every name of each column: attribute numbers stay when names change."""
    called: dict[tuple[int, int], set[str]] = {}
    alone: set[str] = set()
    for each in versions:
        alone.update(name for name in each.row_columns if name is not None)
        for column in each.columns:
            alone.add(column.name)
            if column.attnum:
                called.setdefault((each.relation_id, column.attnum), set()).add(column.name)
    groups = {name: {name} for name in alone}
    for names in called.values():
        joined = set().union(*(groups[name] for name in names))
        for name in joined:
            groups[name] = joined
    return {name: frozenset(names) for name, names in groups.items()}
