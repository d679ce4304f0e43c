"""The typed views of tracked relations: schemas `current` and `history` of the ledger.

`current.users` is the table as it is, `history.users` every change of it; both under the full name
(`current."public.users"`) and, where it is not taken by another, under the table's own.

A value that DuckDB's type cannot hold (NaN in a numeric, a date BC, a numeric beyond 38 digits) is
NULL in its column and stands, as PostgreSQL printed it, in the map `_uncast`: nothing disappears.
Types that DuckDB has no equal of stay text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

import duckdb

from flux import sql
from flux.ledger.engine import identifier, literal
from flux.ledger.shape import Shape
from flux.ledger.shapes import relation_versions
from flux.model.relation import Relation

_EXACT = {
    "smallint": "smallint",
    "integer": "integer",
    "bigint": "bigint",
    "boolean": "boolean",
    "real": "float",
    "double precision": "double",
    "uuid": "uuid",
    "time without time zone": "time",
    "bytea": "blob",
    "date": "date",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
}
"""PostgreSQL's type → DuckDB's, where every ordinary value has the same meaning."""
_DATED = frozenset({"date", "timestamp", "timestamptz"})
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_PRECISION = re.compile(r"\(\d+\)")
_LISTING = re.compile(r"\b(?:show|describe|information_schema|duckdb_|sqlite_|pg_|pragma|u&)")
"""In a query that asks what views there are, or spells their names in code points."""
_VIEW = re.compile(r'\b(?:current|history)"?\s*\.\s*"?([^\s"]*)')
"""Where a query names a view, with the beginning of its name."""
DECIMAL_DIGITS_MAX = 38
"""Digits that DuckDB's DECIMAL holds."""


def duckdb_type(postgres_type: str) -> str | None:
    """Return the DuckDB type that holds the values of a PostgreSQL type; None: they stay text."""
    numeric = _NUMERIC.fullmatch(postgres_type)
    if numeric is not None and int(numeric[2]) <= int(numeric[1]) <= DECIMAL_DIGITS_MAX:
        return f"decimal({numeric[1]}, {numeric[2]})"
    return _EXACT.get(_PRECISION.sub("", postgres_type))


def named_in(query: str, versions: Sequence[Relation]) -> set[int]:
    """Return the root OIDs of the relations whose views a query may name, or name nearly."""
    text = query.casefold()
    if _LISTING.search(text):
        return {version.root_id for version in versions}
    tables = [match[1] for match in _VIEW.finditer(text)]
    if not tables:
        return set()
    roots: dict[str, set[int]] = {}
    for version in versions:
        name = _view_names(version)[1].replace('"', '""').casefold()
        roots.setdefault(name, set()).add(version.root_id)
    # The near ones for DuckDB's "Did you mean …".
    near = {name for table in tables for name in difflib.get_close_matches(table, roots)}
    return {root for name, found in roots.items() if name in text or name in near for root in found}


def refresh(lake: duckdb.DuckDBPyConnection, only: Collection[int] | None = None) -> None:
    """Make the views what the newest relation versions say: all, or those of some root OIDs."""
    relations: dict[tuple[str, int], list[Relation]] = {}
    for source, version in relation_versions(lake):
        if version.root_id == version.relation_id:
            relations.setdefault((source, version.relation_id), []).append(version)
    bearers: dict[str, tuple[str, int]] = {}
    for key, of_relation in sorted(relations.items(), key=lambda item: item[1][-1].lsn):
        for name in _view_names(of_relation[-1]):
            taken = bearers.get(name)
            # `users` is public.users before it is sales.users; of two of a name the newer.
            if taken is None or _is_public(relations[key]) >= _is_public(relations[taken]):
                bearers[name] = key
    lake.execute(sql.text("ledger/typed/schemas.sql"))
    with _bound_quickly(lake):
        for key, of_relation in relations.items():
            if only is not None and key[1] not in only:
                continue
            mine = [name for name in _view_names(of_relation[-1]) if bearers[name] == key]
            former = {name for version in of_relation[:-1] for name in _view_names(version)}
            _replace(lake, key[0], of_relation, mine, [name for name in former if name not in bearers])


@contextmanager
def _bound_quickly(lake: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let views of `table_at` be made without binding all that it reads."""
    lake.execute(sql.text("ledger/typed/stand_in.sql"))
    try:
        yield
    except BaseException:
        # In a transaction that failed, what stood in goes with it.
        with suppress(duckdb.Error):
            lake.execute(sql.text("ledger/typed/no_stand_in.sql"))
        raise
    lake.execute(sql.text("ledger/typed/no_stand_in.sql"))


def _is_public(of_relation: Sequence[Relation]) -> bool:
    return of_relation[-1].relation.startswith("public.")


def _view_names(version: Relation) -> tuple[str, str]:
    return version.relation, version.relation.split(".", 1)[-1]


def _replace(
    lake: duckdb.DuckDBPyConnection,
    source: str,
    of_relation: Sequence[Relation],
    names: Sequence[str],
    former: Sequence[str],
) -> None:
    newest = of_relation[-1]
    shape = Shape(of_relation)
    types = {column.name: duckdb_type(column.type) for column in newest.columns}
    current, history, uncast = [], [], {"row": [], "after": []}  # type: ignore[var-annotated]
    for column in shape.current:
        called = [column.label, *sorted(shape.names(column.col) - {column.label})]
        for image, listed in (("row", current), ("after", history)):
            texts = [f"{identifier(image)}[{literal(name)}]" for name in called]
            text = texts[0] if image == "row" or len(texts) == 1 else f"coalesce({', '.join(texts)})"
            kind = types[column.label]
            value = text if kind is None else _cast(text, kind)
            listed.append(f"{value} as {identifier(_free(column.label))}")
            if kind is not None:
                uncast[image].append(
                    f"{{'k': {literal(column.label)}, 'v': case when {value} is null then {text} end}}"
                )
    words = {
        "relation": literal(newest.relation),
        "source": literal(source),
        "relation_id": newest.relation_id,
        "relations": ", ".join(sorted({literal(version.relation) for version in of_relation})),
        # A table may have no column at all.
        "current": "".join(f"{column}, " for column in current),
        "history": "".join(f"{column}, " for column in history),
        "uncast_row": ", ".join(uncast["row"]),
        "uncast_after": ", ".join(uncast["after"]),
    }
    for name in former:
        lake.execute(sql.text("ledger/typed/drop.sql").format(name=identifier(name)))
    for name in names:
        lake.execute(sql.text("ledger/typed/views.sql").format(name=identifier(name), **words))


def _free(label: str) -> str:
    """A column of the table that looks like one of the ledger's own gets one more underscore."""
    return f"_{label}" if label.startswith("_") else label


def _cast(text: str, kind: str) -> str:
    if kind in _DATED:
        # DuckDB reads '0044-03-15 BC' as a date of our era.
        return f"try_cast(case when not ends_with({text}, 'BC') then {text} end as {kind})"
    if kind == "blob":
        return f"case when starts_with({text}, '\\x') then unhex(substr({text}, 3)) end"
    return f"try_cast({text} as {kind})"
