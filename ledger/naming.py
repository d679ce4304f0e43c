"""Names that people type: relations and request ids."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

import duckdb

from flux import sql
from flux.model.errors import LISTED_MAX, UsageError, listed
from flux.model.moment import Moment, Span
from flux.model.relation import Relation

Versions = Sequence[tuple[str, Relation]]
"""Every relation version with its source."""

_PART = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')


def _newest(versions: Versions) -> dict[tuple[str, int], Relation]:
    newest: dict[tuple[str, int], Relation] = {}
    for source, version in versions:
        known = newest.get((source, version.relation_id))
        if known is None or version.lsn >= known.lsn:
            newest[source, version.relation_id] = version
    return newest


def relation_names(versions: Versions) -> list[str]:
    """Return the newest name of every relation that is its own root, sorted."""
    return sorted({one.relation for one in _newest(versions).values() if one.root_id == one.relation_id})


def parts(name: str) -> list[str]:
    """Split a name as SQL does: `public."Odd Name"`. Raises `UsageError` when it is none."""
    found: list[str] = []
    end = 0
    while end < len(name):
        match = _PART.match(name, end)
        if match is None:
            break
        found.append(match[1].replace('""', '"') if match[1] is not None else match[2])
        end = match.end()
        if end < len(name) and name[end] != ".":
            break
        end += 1
    if not found or end <= len(name) - 1 or len(found) > 2 or name.endswith("."):
        raise UsageError(
            f"not the name of a table: {name!r}", hint='write it as users, public.users or "Odd Name"'
        )
    return found


def _fits(stored: str, wanted: list[str], typed: str) -> bool:
    return stored in {typed, ".".join(wanted)} or (len(wanted) == 1 and stored.split(".", 1)[-1] == wanted[0])


def relation(versions: Versions, name: str, source: str | None = None) -> tuple[str, Relation]:
    """Return the source and the newest version of the relation that `name` means.

    The relations that bear the name now win over those that once did, `public` over other schemas,
    a re-created table over the one before it. A partition means its root.
    """
    newest = _newest(versions)
    wanted = parts(name) if not any(one.relation == name for _, one in versions) else [name]
    own = {key: one for key, one in newest.items() if source is None or key[0] == source}
    bearing = {key for key, one in own.items() if _fits(one.relation, wanted, name)}
    if not bearing:
        bearing = {
            (owner, one.relation_id)
            for owner, one in versions
            if (owner, one.relation_id) in own and _fits(one.relation, wanted, name)
        }
    roots = {(owner, newest[owner, number].root_id) for owner, number in bearing}
    found = [(key[0], own[key]) for key in roots if key in own]
    found = [one for one in found if one[1].relation.startswith("public.")] or found
    names = {(owner, one.relation) for owner, one in found}
    if not found:
        raise UsageError(f"no such table in the ledger: {name}", hint=_near(relation_names(versions), name))
    if len(names) > 1:
        listed = ", ".join(sorted(f"{one} (source {owner})" for owner, one in names))
        raise UsageError(f"several tables are called {name}: {listed}", hint="name one with its schema")
    return max(found, key=lambda one: one[1].lsn)


def namesakes(versions: Versions, source: str, target: Relation) -> list[Relation]:
    """Return `target` and the tables of the same name that were dropped before it."""
    newest = _newest(versions)
    return sorted(
        (one for key, one in newest.items() if key[0] == source and one.relation == target.relation),
        key=lambda one: one.lsn,
    )


def _near(names: Iterable[str], name: str) -> str:
    every = list(names)
    if not every:
        return "nothing is captured yet: flux track TABLE, then flux up"
    short = {one.split(".", 1)[-1]: one for one in every}
    near = difflib.get_close_matches(name.lower(), [*every, *short], n=3, cutoff=0.5)
    close = list(dict.fromkeys(short.get(one, one) for one in near))
    return f"{'did you mean' if close else 'there are'}: {listed(close or every)}"


def request(lake: duckdb.DuckDBPyConnection, prefix: str) -> str:
    """Return the one request id that `prefix` begins; an exact id wins."""
    wanted = prefix.removeprefix("req:")
    if not wanted:
        raise UsageError("an empty request id", hint="write it as req:550e8400")
    limit = LISTED_MAX + 1
    found: list[str] = []
    for name in ("requests_known", "requests_of_changes"):
        rows = lake.execute(
            sql.text(f"ledger/reader/{name}.sql"), {"prefix": wanted, "limit": limit}
        ).fetchall()
        found = [row[0] for row in rows]
        if wanted in found:
            return wanted
        if found:
            break
    if not found:
        raise UsageError(
            f"no request begins with {wanted}",
            hint='see which there are: flux sql "select distinct request_id from changes"',
        )
    if len(found) > 1:
        more = ", …" if len(found) == limit else ""
        shown = ", ".join(found[:LISTED_MAX])
        raise UsageError(f"several requests begin with {wanted}: {shown}{more}", hint="type more of the id")
    return found[0]


def request_span(lake: duckdb.DuckDBPyConnection, request_id: str) -> Span:
    """Return the moments of the request's first and last change, as log positions."""
    row = lake.execute(sql.text("ledger/reader/request_span.sql"), {"request_id": request_id}).fetchone()
    if row is None or row[0] is None:
        raise UsageError(f"request {request_id} changed nothing", hint="it has no span in the log")
    return Span(Moment(lsn=row[0]), Moment(lsn=row[1]))
