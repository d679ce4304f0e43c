"""Messages that tell of the shape of relations: `flux.ddl` and `flux.track`.

They are rare, so they are read one at a time. Their transactional form arrives if and only if the DDL
was committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import orjson

from flux.decoder.catalog import OID_BITS, XID_BITS, Catalog, number, relation_from_json
from flux.decoder.frames import Bytes, Ints, Lsns
from flux.model.errors import DecodeError
from flux.model.relation import Relation


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One DDL statement, or a table that was tracked or untracked."""

    command: str
    object: str
    statement: str | None
    request_id: str | None
    relations: tuple[Relation, ...]
    dropped: tuple[int, ...]
    untracked: tuple[int, ...]
    resync: tuple[int, ...]
    xid: int = 0
    """Of the copy that does not wait for the commit; 0 in the transactional one."""
    renames: list[dict[str, str]] = field(default_factory=list)


def parse_ddl(body: bytes, lsn: int) -> SchemaChange:
    """Read the content of a `flux.ddl` or `flux.track` message; raise `DecodeError` if it is malformed."""
    try:
        content = orjson.loads(body)
        listed = content.get("relations") or []
        relations = tuple(relation_from_json(each, lsn) for each in listed if each.get("tracked", True))
        untracked = tuple(
            number(each["relation_id"], OID_BITS) for each in listed if not each.get("tracked", True)
        )
        statement, request_id = content.get("statement"), content.get("request_id")
        if not all(text is None or isinstance(text, str) for text in (statement, request_id)):
            raise TypeError("not a text")
        return SchemaChange(
            command=str(content.get("command") or ""),
            object=str(content.get("object") or ""),
            statement=statement,
            request_id=request_id or None,
            relations=relations,
            dropped=tuple(number(each, OID_BITS) for each in content.get("dropped") or ()),
            untracked=untracked,
            resync=tuple(number(each, OID_BITS) for each in content.get("resync") or ()),
            xid=number(content.get("xid") or 0, XID_BITS),
        )
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DecodeError("a message of ours that is malformed", offset=0, lsn=lsn) from error


def learn_ddl(catalog: Catalog, body: bytes, lsn: int) -> SchemaChange | None:
    """Take a committed schema change into `catalog`; None when the message is malformed.

    Any role may write a message under our prefix, so a malformed one is not an error: the caller of
    `parse_ddl` counts it.
    """
    try:
        change = parse_ddl(body, lsn)
    except DecodeError:
        return None
    rekeyed = []
    for relation in change.relations:
        before = catalog.newest(relation.relation_id, lsn)
        if before is not None and before.lsn != lsn:
            change.renames.extend(renames(before, relation))
            # Rows are known by their key: when other columns make it, all of them have a new one.
            if relation.relation_id == relation.root_id and _key_numbers(before) != _key_numbers(relation):
                rekeyed.append(relation.root_id)
        catalog.learn(relation)
    for relation_id in (*change.dropped, *change.untracked):
        catalog.forget(relation_id, lsn)
    return replace(change, resync=(*change.resync, *rekeyed)) if rekeyed else change


def learn_messages(
    catalog: Catalog, buffer: Bytes, which: Ints, start: Ints, length: Ints, lsn: Lsns
) -> dict[int, SchemaChange | None]:
    """Take in the committed schema changes among the contents, those at `which`; return them by position."""
    schema = {}
    for index in which.tolist():
        body = buffer[start[index] : start[index] + length[index]].tobytes()
        schema[int(lsn[index])] = learn_ddl(catalog, body, int(lsn[index]))
    return schema


def _key_numbers(relation: Relation) -> list[int]:
    """Return the attribute numbers of the key, which a rename leaves as they are."""
    numbers = {column.name: column.attnum for column in relation.columns}
    return [numbers.get(name, 0) for name in relation.key]


def renames(before: Relation, after: Relation) -> list[dict[str, str]]:
    """Return what was renamed between two versions: the table, and columns by attribute number."""
    found = []
    if before.relation != after.relation:
        found.append(
            {"kind": "table", "relation": after.relation, "old": before.relation, "new": after.relation}
        )
    names = {column.attnum: column.name for column in before.columns if column.attnum}
    for column in after.columns:
        old = names.get(column.attnum)
        if old is not None and old != column.name:
            found.append({"kind": "column", "relation": after.relation, "old": old, "new": column.name})
    return found
