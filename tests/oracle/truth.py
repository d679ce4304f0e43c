"""What the database holds: rows as the server prints them, under the settings that decoding uses.

A value is what its type's output function gives, read as text from the protocol: a cast to text is not
the same for every type (inet, char, boolean). Keys are read from pg_index, not from Flux. A deferrable key
is none: while its check waits, two rows have one key.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq

Row = Mapping[str, str | None]
Rows = Counter[tuple[str | None, tuple[tuple[str, str | None], ...]]]
"""The rows of a table: (key text, sorted items) → how often."""

SESSION = """
    set client_encoding = 'UTF8'; set timezone = 'UTC'; set datestyle = 'ISO, MDY';
    set intervalstyle = 'postgres'; set bytea_output = 'hex'; set extra_float_digits = 1
"""

_TABLES = """
    select c.oid::int8 as relation_id, n.nspname || '.' || c.relname as relation,
           format('%%s%%I.%%I', case c.relkind when 'r' then 'only ' else '' end, n.nspname, c.relname) as place,
           (select coalesce(json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod)) order by a.attnum), '[]')
            from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
              and a.attgenerated = '') as columns,
           (select coalesce(json_agg(a.attname order by k.n), '[]')
            from pg_index i cross join unnest(i.indkey::int2[]) with ordinality k (attnum, n)
            join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
            where i.indrelid = c.oid and k.n <= i.indnkeyatts and i.indimmediate
              and case c.relreplident when 'i' then i.indisreplident else i.indisprimary end) as key
    from flux.tracked t join pg_class c on c.oid = t.relation_id join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = %s order by c.oid
"""

SPECIAL = frozenset({"NaN", "Infinity", "-Infinity"})
"""What wal2json before 2.6 turns into null …"""
LOSSY_TYPES = ("real", "double precision", "numeric")
"""… in columns of these types, but not in arrays of them or domains over them."""


@dataclass(frozen=True, slots=True)
class Table:
    """One tracked table at one moment."""

    relation_id: int
    relation: str
    columns: tuple[tuple[str, str], ...]
    """Name and type."""
    key: tuple[str, ...]
    rows: Rows

    @property
    def lossy(self) -> frozenset[str]:
        """Columns whose special values wal2json before 2.6 cannot say."""
        return frozenset(
            name
            for name, kind in self.columns
            if kind.split("(")[0] in LOSSY_TYPES and not kind.endswith("]")
        )


def key_text(row: Row, key: tuple[str, ...]) -> str | None:
    """Return the key text of a row as docs/FORMAT.md has it."""
    values = [row[name] for name in key]
    if not values or None in values:
        return None
    return values[0] if len(values) == 1 else json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def frozen(key: str | None, row: Row) -> tuple[str | None, tuple[tuple[str, str | None], ...]]:
    """Return one entry of `Rows`."""
    return key, tuple(sorted(row.items()))


def without_special(rows: Rows, columns: frozenset[str]) -> Rows:
    """Return `rows` with NaN and infinities of these columns as null."""
    if not columns:
        return rows
    result: Rows = Counter()
    for (key, items), count in rows.items():
        plain = tuple((n, None if n in columns and v in SPECIAL else v) for n, v in items)
        result[key, plain] += count
    return result


def read(connection: psycopg.Connection[Any], schema: str) -> dict[int, Table]:
    """Return the tracked tables of `schema` by OID; the connection has run SESSION."""
    found = {}
    for relation_id, relation, place, columns, key in connection.execute(_TABLES, [schema]).fetchall():
        names = [name for name, _ in columns]
        listed = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        rows: Rows = Counter()
        for row in _texts(connection, f"select {listed} from {place}"):
            image = dict(zip(names, row, strict=True))
            rows[frozen(key_text(image, tuple(key)), image)] += 1
        found[relation_id] = Table(
            relation_id, relation, tuple((name, kind) for name, kind in columns), tuple(key), rows
        )
    return found


def _texts(connection: psycopg.Connection[Any], query: str) -> list[list[str | None]]:
    result = connection.pgconn.exec_(query.encode())
    if result.status != pq.ExecStatus.TUPLES_OK:
        raise psycopg.errors.error_from_result(result)

    def text(row: int, column: int) -> str | None:
        value = result.get_value(row, column)
        return None if value is None else value.decode()

    return [[text(row, column) for column in range(result.nfields)] for row in range(result.ntuples)]
