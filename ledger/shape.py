"""A relation's columns through its versions: a renamed column is the same one, a re-created one is not.

Columns are told apart by attribute number; a version that does not know the numbers (it came from
a relation message of the log) borrows them by name. The SQL macro `_shapes` says the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from flux.model.lsn import LSN_MAX
from flux.model.relation import Column, Relation


@dataclass(frozen=True, slots=True)
class Known:
    """One column through all versions."""

    col: str
    """Its identity."""
    label: str
    """What it is called in the newest version the question sees; its last name if it was dropped."""
    place: int | None
    """Its place in that version, from 1; None if it was dropped."""
    since_lsn: int
    """Where it first appears; 0 if with the relation."""
    missing: str | None
    """The value of rows older than the column."""
    is_lossy: bool
    """Whether its NULLs may have been NaN or infinite."""

    def order(self) -> tuple[bool, int, str]:
        """Current columns in their order, then dropped ones by name."""
        return self.place is None, self.place or 0, self.label


class Shape:
    """The versions of one relation as seen up to a log position."""

    def __init__(self, versions: Sequence[Relation], *, bound_lsn: int = LSN_MAX) -> None:
        """`versions` are of one relation, in any order; there may be none."""
        unique = {version.lsn: version for version in versions}
        ordered = [unique[lsn] for lsn in sorted(unique)]
        self._starts = [version.lsn for version in ordered]
        self.is_keyed = bool(ordered) and all(version.key for version in ordered)
        """Every version has a key."""
        numbers = {
            column.name: column.attnum
            for version in ordered
            for column in sorted(version.columns, key=lambda column: column.attnum)
            if column.attnum
        }
        newest = max(bisect_right(self._starts, bound_lsn) - 1, 0)
        bearers: dict[str, list[_Bearer]] = {}
        identities: list[dict[str, str]] = []
        for nth, version in enumerate(ordered):
            names = {}
            for place, column in enumerate(version.columns, 1):
                number = column.attnum or numbers.get(column.name, 0)
                col = str(number) if number else f"name {column.name}"
                names[column.name] = col
                bearers.setdefault(col, []).append(_Bearer(nth, place, column, version))
            identities.append(names)
        known = {col: _known(col, borne, newest) for col, borne in bearers.items()}
        self._columns: list[dict[str, Known]] = [
            {name: known[col] for name, col in names.items()} for names in identities
        ]
        self._by_name = {name: column for names in self._columns for name, column in names.items()}
        self.current = sorted(
            (column for column in known.values() if column.place is not None), key=Known.order
        )
        """The columns of the newest version the question sees, in order; none without versions."""
        self._all = list(known.values())

    def __bool__(self) -> bool:
        return bool(self._starts)

    def _at(self, lsn: int) -> dict[str, Known]:
        if not self._columns:
            return {}
        return self._columns[max(bisect_right(self._starts, lsn) - 1, 0)]

    def column(self, name: str, lsn: int) -> Known:
        """Return the column that a change at `lsn` calls `name`."""
        found = self._at(lsn).get(name) or self._by_name.get(name)
        return found or Known(f"name {name}", name, None, 0, None, is_lossy=False)

    def names(self, col: str) -> set[str]:
        """Return every name the column ever had."""
        return {name for names in self._columns for name, column in names.items() if column.col == col}

    def has(self, col: str, lsn: int) -> bool:
        """Tell whether the version at `lsn` has the column; without versions every one does."""
        return not self._starts or any(column.col == col for column in self._at(lsn).values())

    def added_after(self, lsn: int) -> list[Known]:
        """Return the columns that first appeared after `lsn`."""
        return [column for column in self._all if column.since_lsn > lsn]


@dataclass(frozen=True, slots=True)
class _Bearer:
    """A column in one version."""

    nth: int
    place: int
    column: Column
    version: Relation


def _known(col: str, bearers: Sequence[_Bearer], newest: int) -> Known:
    visible = [one.column.name for one in bearers if one.nth <= newest]
    given = [one.column.missing for one in bearers if one.column.missing is not None]
    return Known(
        col=col,
        label=visible[-1] if visible else bearers[-1].column.name,
        place=next((one.place for one in bearers if one.nth == newest), None),
        since_lsn=0 if bearers[0].nth == 0 else bearers[0].version.lsn,
        missing=max(given, default=None),
        is_lossy=any(one.column.name in one.version.lossy for one in bearers),
    )
