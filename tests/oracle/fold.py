"""The independent model: rows of `changes` and `relations` folded into tables, in plain Python.

It follows docs/FORMAT.md and nothing else: committed changes by (commit_lsn, seq), `old_key` where a key
changed, unchanged values carried forward, truncate ends every row, columns matched by attribute number. It
is strict: an insert over a living row, an update of a row that is not there, or a `before` that is not what
the row was, is a failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from oracle.truth import SPECIAL, Rows, Table, frozen, key_text

Change = dict[str, Any]
"""One row of `changes`, or one of `relations`."""

Row = dict[str, str | None]


class FoldedTable:
    """One relation while its changes are folded."""

    def __init__(self, relation_id: int, versions: list[Change], *, strict: bool = True) -> None:
        """Without `strict` rows may have changed unseen before a new baseline."""
        self._strict = strict
        self.relation_id = relation_id
        self._versions = versions
        self._shape: Change | None = None
        self._keyed: dict[str, Row] = {}
        self._keyless: list[Row] = []
        self.owners: dict[str, dict[str, tuple[int, int] | None]] = {}
        """Of each row with a key: column → (commit_lsn, seq) of the change that gave its value; None for
        a value that ADD COLUMN gave."""

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
        old_key = change["old_key"] if change["old_key"] is not None else key
        after, unchanged = _row(change["after"]), list(change["unchanged"] or ())
        if op == "truncate":
            assert key is None and after is None, what
            self._keyed.clear()
            self._keyless.clear()
        elif op == "baseline":
            assert after is not None, what
            was = self._keyed.pop(key, {}) if key is not None else {}
            self._add(key, after, what)
            self._own(change, key, was, after)
        elif op == "insert":
            assert after is not None and not unchanged, what
            self._add(key, after, what)
            self._own(change, key, {}, after)
        elif op == "delete":
            self._take(old_key, before, what)
        else:
            assert op == "update" and after is not None, what
            was = self._take(old_key, before, what)
            carried = {name: was[name] for name in unchanged if self._strict or name in was}
            assert not carried.keys() & after.keys(), what
            self._add(key, {**after, **carried}, what)
            self._own(change, key, was, after, old_key)

    def _own(self, change: Change, key: str | None, was: Row, after: Row, old_key: str | None = None) -> None:
        """Note what this change gave a row that was `was`."""
        if key is None:
            return
        owners = self.owners.pop(old_key if old_key is not None else key, {}) if was else {}
        mine = (int(change["commit_lsn"]), int(change["seq"]))
        for name, value in after.items():
            if name not in was or was[name] != value or name not in owners:
                owners[name] = mine
        self.owners[key] = owners

    def _some(self, before: Row) -> Row:
        """Take a row that is like `before`, if one lives."""
        for place, row in enumerate(self._keyless):
            if all(same(row.get(name), value) for name, value in before.items()):
                return self._keyless.pop(place)
        return {}

    def reshape(self, lsn: int) -> None:
        """Give the rows the columns of the version in force at `lsn`."""
        shape = self._version(lsn)
        old, self._shape = self._shape, shape
        if old is None or shape is None or old is shape:
            return
        rows = [*self._keyed.values(), *self._keyless]
        owned = [*(self.owners.get(key) for key in self._keyed), *(None for _ in self._keyless)]
        self._keyed, self._keyless, self.owners = {}, [], {}
        names = {column["attnum"]: column["name"] for column in old["columns"]}
        missing = dict(shape["missing"] or ())
        for row, owners in zip(rows, owned, strict=True):
            image: Row = {}
            own: dict[str, tuple[int, int] | None] = {}
            for column in shape["columns"]:
                name = names.get(column["attnum"])
                image[column["name"]] = (
                    row[name] if name is not None and name in row else missing.get(column["name"])
                )
                own[column["name"]] = owners.get(name) if owners is not None and name is not None else None
            key = key_text(image, tuple(shape["key"]))
            self._add(key, image, "a new shape")
            if key is not None:
                self.owners[key] = own

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
        assert key not in self._keyed or not self._strict, f"{what}: a row with this key lives already"
        self._keyed[key] = row

    def _take(self, key: str | None, before: Row | None, what: str) -> Row:
        if not self._strict:
            return self._keyed.pop(key, {}) if key is not None else self._some(before or {})
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
