"""Which tables are recorded: tracking and untracking them in the source database.

Each table is its own transaction, short, and gives up when the application holds the table for
`LOCK_TIMEOUT_S`: waiting longer would make every later statement on it wait as well.
Names are SQL's: `users`, `public.users`, `"Odd Name"`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from flux import sql
from flux.capture import source
from flux.model.errors import SourceError, UsageError, listed

LOCK_TIMEOUT_S = 5.0
"""How long a table is waited for."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """What `track` or `untrack` did to one table."""

    relation_id: int
    relation: str
    """`schema.table`, unquoted."""
    is_new: bool
    """It was not tracked before; for untrack: it was."""
    inserts_only: tuple[str, ...] = ()
    """Relations (the table, or partitions of it) without usable key: their updates and deletes are not
    in the stream."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Table:
    relation_id: int
    relation: str
    is_tracked: bool


def track(
    connection: psycopg.Connection[Any],
    names: Sequence[str],
    *,
    rollbacks: bool = False,
    all_tables: bool = False,
    identity_full: bool = False,
    tag_trigger: bool = True,
) -> list[Tracked]:
    """Track the named tables, or all there are and (given event triggers) all that will be.

    Without `tag_trigger`, which `rollbacks` need, only messages of the application say whose the changes
    are (docs/TAGS.md).
    Raises `UsageError` before anything is changed if a name is no table that can be tracked, and
    `SourceError` if the server refuses one; the tables before it are tracked then.
    """
    _require_installed(connection)
    tables = _all(connection) if all_tables else [_resolve(connection, name) for name in names]
    if not tables and not all_tables:
        raise UsageError("no table given", hint="name tables, or use --all")
    if all_tables:
        _set(connection, "all_rollbacks", "on" if rollbacks else "off")
        _set(connection, "all_tag_triggers", "on" if tag_trigger else "off")
        _set(connection, "all_tables", "on")
    options = {"rollbacks": rollbacks, "identity_full": identity_full, "tag_trigger": tag_trigger}
    return _each(tables, "tracked", lambda table: _track(connection, table, options))


def untrack(
    connection: psycopg.Connection[Any], names: Sequence[str] = (), *, all_tables: bool = False
) -> list[Tracked]:
    """Stop recording the named tables, or all. What the ledger holds of them stays.

    Raises `SourceError` where one cannot be; those before it are done.
    """
    _require_installed(connection)
    if all_tables:
        tables = [table for table in _all(connection) if table.is_tracked]
        _set(connection, "all_tables", "off")
    else:
        tables = [_resolve(connection, name, untrack=True) for name in names]
    if not tables and not all_tables:
        raise UsageError("no table given", hint="name tables, or use --all")
    return _each(tables, "untracked", lambda table: _untrack(connection, table))


def _each(tables: Sequence[_Table], word: str, act: Callable[[_Table], Tracked]) -> list[Tracked]:
    """Act on each table; a refusal says which were done before it."""
    done: list[Tracked] = []
    for table in tables:
        try:
            done.append(act(table))
        except SourceError as error:
            if not done:
                raise
            why = f"{error.why}; {word} before it: {listed([each.relation for each in done])}"
            raise SourceError(error.what, why=why, hint=error.hint) from None
    return done


def _track(connection: psycopg.Connection[Any], table: _Table, options: dict[str, bool]) -> Tracked:
    parameters = {"relation_id": table.relation_id, "relation": table.relation}
    try:
        with connection.transaction():
            _set_lock_timeout(connection)
            row = connection.execute(sql.text("postgres/queries/track.sql"), parameters | options).fetchone()
            is_new = bool(row and row[0])
            connection.execute(
                sql.text("postgres/queries/announce_track.sql"), parameters | {"is_new": is_new}
            )
    except psycopg.Error as error:
        raise _refused(connection, f"cannot track {table.relation}", table, error) from None
    with connection.cursor(row_factory=dict_row) as cursor:
        members = cursor.execute(sql.text("postgres/queries/members.sql"), parameters).fetchall()
    recorded = [member for member in members if member["kind"] == "r" and member["persistence"] == "p"]
    keyless = tuple(member["relation"] for member in recorded if not member["is_usable"])
    warnings = [
        f"{member['relation']} is a foreign or unlogged partition: its changes are not in the log"
        for member in members
        if member not in recorded
    ]
    if keyless:
        warnings.append(
            f"{', '.join(keyless)}: no usable key, so only inserts and truncates are recorded; "
            "add a primary key, or track it with --identity-full (each update and delete then logs the whole "
            "old row)"
        )
    return Tracked(table.relation_id, table.relation, is_new, keyless, tuple(warnings))


def _untrack(connection: psycopg.Connection[Any], table: _Table) -> Tracked:
    if table.is_tracked:
        try:
            with connection.transaction():
                _set_lock_timeout(connection)
                connection.execute(
                    sql.text("postgres/queries/untrack.sql"),
                    {"relation_id": table.relation_id, "relation": table.relation},
                )
        except psycopg.Error as error:
            raise _refused(connection, f"cannot untrack {table.relation}", table, error) from None
    return Tracked(table.relation_id, table.relation, is_new=table.is_tracked)


def _resolve(connection: psycopg.Connection[Any], name: str, *, untrack: bool = False) -> _Table:
    """Return the table that `name` means, or raise `UsageError` with the nearest names."""
    with connection.cursor(row_factory=dict_row) as cursor:
        try:
            row = cursor.execute(sql.text("postgres/queries/resolve.sql"), {"name": name}).fetchone()
        except psycopg.Error:
            raise UsageError(
                f"not a table name: {name}", hint='write users, public.users or "Odd Name" (with its quotes)'
            ) from None
    if row is None:
        raise UsageError(f"no table {name}", hint=_suggestion(connection, name))
    if row["refusal"] is not None and not (untrack and row["is_tracked"]):
        raise UsageError(f"cannot track {row['relation']}", why=row["refusal"])
    return _Table(row["relation_id"], row["relation"], row["is_tracked"])


def _suggestion(connection: psycopg.Connection[Any], name: str) -> str:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(sql.text("postgres/queries/names.sql")).fetchall()
    # The table's own name decides, so that a common schema makes no two names alike.
    wanted = name.replace('"', "").rsplit(".", 1)[-1].lower()
    near = difflib.get_close_matches(wanted, {_bare(row) for row in rows}, n=3, cutoff=0.6)
    if near:
        names = [row["name"] for match in near for row in rows if _bare(row) == match]
        return f"did you mean {' or '.join(names)}?"
    if not rows:
        return f"database {connection.info.dbname} has no tables; is it the right one?"
    return f"there are: {', '.join(row['name'] for row in rows[:8])}{', …' if len(rows) > 8 else ''}"


def _bare(row: dict[str, Any]) -> str:
    relation: str = row["relation"]
    return relation.split(".", 1)[1].lower()


def _all(connection: psycopg.Connection[Any]) -> list[_Table]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(sql.text("postgres/queries/names.sql")).fetchall()
    return [_Table(row["relation_id"], row["relation"], row["is_tracked"]) for row in rows]


def _set(connection: psycopg.Connection[Any], name: str, value: str) -> None:
    connection.execute(sql.text("postgres/queries/settings.sql"), {"name": name, "value": value})


def _require_installed(connection: psycopg.Connection[Any]) -> None:
    if not source.facts(connection).is_installed:
        raise SourceError(
            "this database has no schema of Flux's",
            why=f"database {connection.info.dbname}",
            hint="run: flux init",
        )


def _set_lock_timeout(connection: psycopg.Connection[Any]) -> None:
    value = {"value": f"{LOCK_TIMEOUT_S * 1000:.0f}"}
    connection.execute(sql.text("postgres/queries/lock_timeout.sql"), value)


def _refused(
    connection: psycopg.Connection[Any], what: str, table: _Table, error: psycopg.Error
) -> SourceError:
    why = " ".join((error.diag.message_primary or "the server gave no reason").split())
    hint = error.diag.message_hint or ""
    if isinstance(error, psycopg.errors.LockNotAvailable):
        rows = connection.execute(
            sql.text("postgres/queries/blockers.sql"), {"relation_id": table.relation_id}
        ).fetchall()
        pids = ", ".join(str(row[0]) for row in rows)
        why = f"other transactions hold it (process {pids})" if pids else "other transactions hold it"
        hint = "run it again when they have ended"
    elif isinstance(error, psycopg.errors.InsufficientPrivilege):
        hint = "connect as its owner, or as a superuser"
    elif isinstance(error, psycopg.errors.UndefinedFunction):
        hint = "what is installed there is of another release; run: flux init"
    return SourceError(what, why=why, hint=hint)
