"""The independent model: rows of `changes` and `relations` folded into tables, in plain Python.

It follows docs/FORMAT.md and nothing else: committed changes by (commit_lsn, seq), `old_key` where a key
changed, unchanged values carried forward, truncate ends every row, columns matched by attribute number. It
is strict: an insert over a living row, an update of a row that is not there, or a `before` that is not what
the row was, is a failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from oracle.truth import SPECIAL, Rows, Table, frozen, key_text

Change = Mapping[str, Any]
"""One row of `changes`, or one of `relations`."""

Row = dict[str, str | None]


class FoldedTable:
    """One relation while its changes are folded."""

    def __init__(self, relation_id: int, versions: list[Change]) -> None:
        self.relation_id = relation_id
        self._versions = versions
        self._shape: Change | None = None
        self._keyed: dict[str, Row] = {}
        self._keyless: list[Row] = []

    def begin(self, table: Table, lsn: int) -> None:
        """Start from what the table held at `lsn`."""
        self._shape = self._version(lsn)
        for (key, items), count in table.rows.items():
            for _ in range(count):
                self._add(key, dict(items), table.relation)

    def apply(self, change: Change) -> None:
        """Fold one committed change."""
        self.reshape(int(change["lsn"]))
        what = f"{change['op']} of {change['relation']} key {change['key']!r} at {change['commit_lsn']}/{change['seq']}"
        op, key, before = change["op"], change["key"], _row(change["before"])
        after, unchanged = _row(change["after"]), list(change["unchanged"] or ())
        if op == "truncate":
            assert key is None and after is None, what
            self._keyed.clear()
            self._keyless.clear()
        elif op == "baseline":
            assert after is not None, what
            if key is not None:
                self._keyed.pop(key, None)
            self._add(key, after, what)
        elif op == "insert":
            assert after is not None and not unchanged, what
            self._add(key, after, what)
        elif op == "delete":
            self._take(change["old_key"] or key, before, what)
        else:
            assert op == "update" and after is not None, what
            was = self._take(change["old_key"] or key, before, what)
            carried = {name: was[name] for name in unchanged}
            assert not carried.keys() & after.keys(), what
            self._add(key, {**after, **carried}, what)

    def reshape(self, lsn: int) -> None:
        """Give the rows the columns of the version in force at `lsn`."""
        shape = self._version(lsn)
        old, self._shape = self._shape, shape
        if old is None or shape is None or old is shape:
            return
        rows = [*self._keyed.values(), *self._keyless]
        self._keyed, self._keyless = {}, []
        names = {column["attnum"]: column["name"] for column in old["columns"]}
        missing = dict(shape["missing"] or ())
        for row in rows:
            image: Row = {}
            for column in shape["columns"]:
                name = names.get(column["attnum"])
                image[column["name"]] = (
                    row[name] if name is not None and name in row else missing.get(column["name"])
                )
            self._add(key_text(image, tuple(shape["key"])), image, "a new shape")

    def rows(self) -> Rows:
        """Return the rows that live."""
        found: Rows = Counter(frozen(key, row) for key, row in self._keyed.items())
        found.update(frozen(None, row) for row in self._keyless)
        return found

    def _version(self, lsn: int) -> Change | None:
        """Return the version in force at `lsn`; before the first one, the first."""
        older = [version for version in self._versions if version["lsn"] <= lsn]
        return older[-1] if older else (self._versions[0] if self._versions else None)

    def _add(self, key: str | None, row: Row, what: str) -> None:
        if key is None:
            self._keyless.append(row)
            return
        assert key not in self._keyed, f"{what}: a row with this key lives already"
        self._keyed[key] = row

    def _take(self, key: str | None, before: Row | None, what: str) -> Row:
        if key is not None:
            assert key in self._keyed, f"{what}: no row with this key lives"
            row = self._keyed.pop(key)
            for name, value in (before or {}).items():
                assert same(row.get(name), value), (
                    f"{what}: `before` says {name} was {value!r}, it was {row.get(name)!r}"
                )
            return row
        assert before is not None, f"{what}: neither key nor old row"
        for place, row in enumerate(self._keyless):
            if row.keys() == before.keys() and all(same(row[name], before[name]) for name in row):
                return self._keyless.pop(place)
        raise AssertionError(f"{what}: the old row does not live")


def same(one: str | None, other: str | None) -> bool:
    """Return whether two values are equal; a null may stand for a special number (wal2json before 2.6)."""
    return one == other or (one is None and other in SPECIAL) or (other is None and one in SPECIAL)


def committed(changes: Iterable[Change]) -> list[Change]:
    """Return the committed changes in the order that folding has."""
    return sorted(
        (change for change in changes if change["outcome"] == "committed"),
        key=lambda change: (change["commit_lsn"], change["seq"]),
    )


def versions_of(relations: Iterable[Change], root_id: int) -> list[Change]:
    """Return the versions of a root, oldest first."""
    return sorted(
        (each for each in relations if each["relation_id"] == root_id), key=lambda each: int(each["lsn"])
    )


def _row(image: Any) -> Row | None:
    """Return a MAP as it comes from Arrow (pairs) or from DuckDB (a dict)."""
    return None if image is None else dict(image)
