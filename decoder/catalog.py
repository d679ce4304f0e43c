"""Which shape a relation had at which log position.

Versions are kept by position, not by arrival, so a stream that is read again after a restart sees the
shapes it saw before. A table's versions and its changes are in position order: whoever alters a table
holds its lock until the end of the transaction.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from flux.decoder.frames import Lsns
from flux.model.errors import DecodeError
from flux.model.relation import Column, Relation

Lookup = Callable[[int | str], Relation | None]
"""Asks the server for the relation of an OID or of a `schema.table`; None when there is none."""

OID_BITS = 32
XID_BITS = 62
"""Of a transaction id with its epoch: so many leave room for arithmetic."""
_ATTNUM_BITS = 15

NO_VERSION = -1
"""The version of a relation that is not captured at that position."""


@dataclass(slots=True)
class Timeline:
    """The versions of one OID, or the bearers of one name, by position."""

    lsn: list[int] = field(default_factory=list)
    version: list[int] = field(default_factory=list)

    def add(self, lsn: int, version: int) -> None:
        """Let `version` be in force from `lsn` on."""
        at = bisect.bisect_left(self.lsn, lsn)
        if at < len(self.lsn) and self.lsn[at] == lsn:
            self.version[at] = version
        else:
            self.lsn.insert(at, lsn)
            self.version.insert(at, version)

    def at(self, lsn: Lsns) -> npt.NDArray[np.int32]:
        """Return the version in force at each position; before the first one, the first."""
        place = np.searchsorted(np.array(self.lsn, np.uint64), lsn, side="right") - 1
        found: npt.NDArray[np.int32] = np.array(self.version, np.int32)[np.maximum(place, 0)]
        return found


class Catalog:
    """The relation versions that the decoder knows.

    `fresh` collects versions that the ledger has not been told of yet; take and clear it.
    """

    def __init__(self, relations: Iterable[Relation], lookup: Lookup) -> None:
        self.versions: list[Relation] = []
        self.fresh: list[Relation] = []
        self.lookup = lookup
        self.ignored: set[tuple[int, str]] = set()
        """(version, column) that the stream shows and we leave out: generated columns."""
        self.own_ddl: dict[tuple[int, int], Timeline] = {}
        """(xid, OID) → shapes that a transaction gave its tables before it was known to commit."""
        self._by_id: dict[int, Timeline] = {}
        self._by_name: dict[str, Timeline] = {}
        for relation in sorted(relations, key=lambda each: each.lsn):
            if relation.tracked:
                self._add(relation)
            else:
                self.forget(relation.relation_id, relation.lsn)
        self._from_the_start = frozenset(self._by_name)

    def _add(self, relation: Relation) -> int:
        timeline = self._by_id.setdefault(relation.relation_id, Timeline())
        previous = self.newest(relation.relation_id, relation.lsn)
        self.versions.append(relation)
        number = len(self.versions) - 1
        if previous is not None and previous.relation != relation.relation:
            self._by_name[previous.relation].add(relation.lsn, NO_VERSION)
        timeline.add(relation.lsn, number)
        self._by_name.setdefault(relation.relation, Timeline()).add(relation.lsn, number)
        return number

    def newest(self, relation_id: int, lsn: int | None = None) -> Relation | None:
        """Return the version in force at `lsn` (None: the last one), or None."""
        timeline = self._by_id.get(relation_id)
        if timeline is None or not timeline.lsn:
            return None
        if lsn is None:
            version = timeline.version[-1]
        else:
            version = int(timeline.at(np.array([lsn], np.uint64))[0])
        return None if version == NO_VERSION else self.versions[version]

    def leaves(self, root_id: int, lsn: int) -> set[int]:
        """Return the OIDs of the partitions with rows that a root had at `lsn`, as far as they are known."""
        in_force = (self.newest(relation_id, lsn) for relation_id in self._by_id)
        return {
            each.relation_id
            for each in in_force
            if each and each.lsn <= lsn and each.root_id == root_id != each.relation_id
        }

    def learn(self, relation: Relation) -> bool:
        """Take in a version; return whether it differs from the one in force at its position."""
        known = self.newest(relation.relation_id, relation.lsn)
        if known is not None and known.lsn <= relation.lsn and same_shape(known, relation):
            return False
        self._add(relation)
        self.fresh.append(relation)
        return True

    def learn_uncommitted(self, xid: int, relation: Relation) -> None:
        """Take in a shape that only transaction `xid` sees as yet."""
        self.versions.append(relation)
        timeline = self.own_ddl.setdefault((xid, relation.relation_id), Timeline())
        timeline.add(relation.lsn, len(self.versions) - 1)

    def forget_uncommitted(self, open_xids: set[int]) -> None:
        """Drop the shapes of transactions that are over."""
        for key in [key for key in self.own_ddl if key[0] not in open_xids]:
            del self.own_ddl[key]

    def forget(self, relation_id: int, lsn: int) -> None:
        """From `lsn` on the relation is not captured (dropped, or no longer tracked)."""
        relation = self.newest(relation_id, lsn)
        if relation is not None:
            self._by_id[relation_id].add(lsn, NO_VERSION)
            self._by_name[relation.relation].add(lsn, NO_VERSION)

    def by_id(self, relation_id: npt.NDArray[np.int64], lsn: Lsns) -> npt.NDArray[np.int32]:
        """Return the version number of each OID at each position; unknown OIDs are looked up."""
        result = np.full(relation_id.size, NO_VERSION, np.int32)
        for each in np.unique(relation_id).tolist():
            mine = relation_id == each
            timeline = self._by_id.get(each)
            if timeline is None:
                found = self.lookup(each)
                if found is None:
                    continue
                self.learn(replace(found, lsn=int(lsn[mine].min())))
                timeline = self._by_id[each]
            result[mine] = timeline.at(lsn[mine])
        return result

    def by_name(self, names: list[str], code: npt.NDArray[np.int32], lsn: Lsns) -> npt.NDArray[np.int32]:
        """Return the version of `names[code[i]]` at each position; an unknown name is not captured."""
        result = np.full(code.size, NO_VERSION, np.int32)
        for number, name in enumerate(names):
            timeline = self._by_name.get(name)
            if timeline is not None and timeline.lsn:
                mine = code == number
                found = timeline.at(lsn[mine])
                # A name is not a relation: before its first bearer was known it names nothing of ours,
                # but a table known since the start of capture may be read from before that point.
                if name not in self._from_the_start:
                    found[lsn[mine] < np.uint64(timeline.lsn[0])] = NO_VERSION
                result[mine] = found
        return result


def same_shape(one: Relation, other: Relation) -> bool:
    """Return whether the two versions differ in nothing but their position and what no message says."""
    return replace(one, lsn=0, lossy=()) == replace(other, lsn=0, lossy=())


@dataclass(frozen=True, slots=True)
class WireColumn:
    """One column of a pgoutput Relation message."""

    name: str
    is_key: bool
    type_oid: int
    type_modifier: int


def from_wire(
    catalog: Catalog, relation_id: int, name: str, identity: str, columns: list[WireColumn], lsn: int
) -> None:
    """Hold a pgoutput Relation message against the version in force; learn a new one if it differs.

    Where DDL messages arrive, they came first and nothing differs. Without an event trigger this is
    how a new shape is noticed: types, attribute numbers and the key order then come from the server's
    catalog, if that still shows the same columns.
    """
    known = catalog.newest(relation_id, lsn)
    names = [column.name for column in columns]
    shown = (
        None if known is None else (known.relation, known.replica_identity, [c.name for c in known.columns])
    )
    if shown == (name, identity, names):
        return
    found = catalog.lookup(relation_id)
    if found is not None and [column.name for column in found.columns] == names:
        catalog.learn(replace(found, lsn=lsn, relation=name, replica_identity=identity))
        return
    # The table has moved on (or is gone): what the message says, with what the nearest version knows.
    near = {c.name: c for source in (found, known) if source is not None for c in source.columns}
    root = known or found
    shape = tuple(
        Column(
            name=column.name,
            type=near[column.name].type if column.name in near else "",
            attnum=near[column.name].attnum if column.name in near else 0,
            is_key=column.is_key and identity != "f",
            not_null=near[column.name].not_null if column.name in near else False,
        )
        for column in columns
    )
    catalog.learn(
        Relation(
            relation_id=relation_id,
            relation=name,
            root_id=root.root_id if root else relation_id,
            root=root.root if root and root.root_id != relation_id else name,
            lsn=lsn,
            columns=shape,
            key=tuple(column.name for column in shape if column.is_key),
            replica_identity=identity,
            row_columns=tuple(names),
        )
    )


def relation_from_json(described: dict[str, object], lsn: int) -> Relation:
    """Return the version that a `flux.ddl` or `flux.track` message describes; raise `DecodeError`."""
    try:
        listed = described["columns"]
        if not isinstance(listed, list):
            raise TypeError("columns")
        return Relation(
            relation_id=number(described["relation_id"], OID_BITS),
            relation=str(described["relation"]),
            root_id=number(described["root_id"], OID_BITS),
            root=str(described["root"]),
            lsn=lsn,
            columns=tuple(
                Column(
                    name=_text(column["name"]),
                    type=_text(column["type"]),
                    attnum=number(column["attnum"], _ATTNUM_BITS),
                    is_key=bool(column["is_key"]),
                    not_null=bool(column["not_null"]),
                    missing=None if column.get("missing") is None else _text(column["missing"]),
                )
                for column in listed
                if not column.get("generated")
            ),
            key=tuple(map(_text, described["key"])),  # type: ignore[call-overload]
            replica_identity=str(described["replica_identity"]),
            row_columns=tuple(None if c.get("generated") else c["name"] for c in listed),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DecodeError("a relation that is described badly", offset=0, lsn=lsn) from error


def number(value: object, bits: int) -> int:
    """Return a number of a message of ours; raise `TypeError` or `ValueError` for what has no such size."""
    found = int(value)  # type: ignore[call-overload]
    if found >> bits:  # of a negative number nothing but its sign is left
        raise ValueError("a number out of bounds")
    return int(found)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
