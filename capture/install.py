"""What `flux init` puts into the source database, and `--remove` takes out of it.

The numbered files of sql/postgres, in order, in one transaction: all of it or nothing. Each is
repeatable and upgrades what an earlier release installed. Each object's comment carries the hash of its
file, by which `doctor` knows an old one. `print_sql` gives exactly what `init` runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import psycopg

from flux import sql
from flux.capture import source as database
from flux.decoder.slot import ALLOW_PLUGIN, PLUGIN_DENIED
from flux.model.errors import SlotError, SourceError

PLUGINS = ("pgoutput", "wal2json")

EVENT_TRIGGERS = "postgres/085_event_triggers.sql"
"""The one file that may fail: only a superuser creates event triggers."""

LOCK_TIMEOUT_S = 5.0
"""How long init and remove wait for a table that a transaction of the application holds."""


@dataclass(frozen=True, slots=True)
class Step:
    """One file as it is run."""

    name: str
    text: str
    """The file, then the comments on its objects."""
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Installed:
    """What `init` did."""

    plugin: str
    """As chosen: never `auto`."""
    source: str
    was_installed: bool
    """An earlier installation was upgraded or confirmed."""
    follows_ddl: bool
    """The event triggers are there."""
    numerics_as_text: bool
    """False with wal2json before 2.6."""
    warnings: tuple[str, ...] = ()


def objects(name: str) -> tuple[str, ...]:
    """Return the objects that the file `name` says it makes, as `comment on` takes them."""
    lines = [line for line in sql.text(name).splitlines() if line.startswith("-- objects:")]
    listed = [entry.strip() for line in lines for entry in line.removeprefix("-- objects:").split(";")]
    return tuple(entry for entry in listed if entry)


def stamp(name: str) -> str:
    """Return the comment that objects of the file `name` carry."""
    digest = hashlib.sha256(sql.text(name).encode()).hexdigest()
    return f"Flux {name.removeprefix('postgres/')} sha256:{digest[:16]}"


def steps() -> tuple[Step, ...]:
    """Return what `init` runs, in order."""
    return tuple(
        Step(
            name,
            sql.text(name) + "".join(f"comment on {entry} is '{stamp(name)}';\n" for entry in objects(name)),
            is_optional=name == EVENT_TRIGGERS,
        )
        for name in sql.files("postgres")
        if name.removeprefix("postgres/")[0].isdigit()
    )


def print_sql() -> str:
    """Return the script that `init` runs; psql takes it, and needs no Flux."""
    parts = ["begin;\n"]
    for step in steps():
        note = "; leave it out if you are not a superuser" if step.is_optional else ""
        parts.append(f"\n-- {step.name.removeprefix('postgres/')}{note}\n{step.text}")
    return "".join([*parts, "\ncommit;\n"])


def init(
    connection: psycopg.Connection[Any], *, plugin: str = "auto", source: str | None = None
) -> Installed:
    """Install or upgrade what Flux needs in this database.

    Raises `SourceError` if the server cannot be captured with `plugin`; then nothing was changed.
    """
    seen = database.facts(connection)
    chosen = "pgoutput" if plugin == "auto" else plugin
    _check_server(seen, chosen)
    probe = database.plugin(connection, chosen) if chosen == "wal2json" else None
    if probe is not None and not probe.available:
        raise SourceError(
            f"the server does not load the output plugin {chosen}",
            why=probe.why,
            hint=plugin_remedy(seen, probe),
        )
    warnings: list[str] = []
    name = source or seen.database
    try:
        with connection.transaction():
            _set_lock_timeout(connection)
            follows_ddl = _run_steps(connection, chosen, warnings)
            for key, value in (("plugin", chosen), ("source", name)):
                connection.execute(sql.text("postgres/queries/settings.sql"), {"name": key, "value": value})
    except psycopg.Error as error:
        raise _refused("cannot install Flux in this database", error) from None
    return Installed(
        plugin=chosen,
        source=name,
        was_installed=seen.is_installed,
        follows_ddl=follows_ddl,
        numerics_as_text=probe is None or probe.numerics_as_text,
        warnings=tuple(warnings),
    )


def remove(connection: psycopg.Connection[Any], *, slots: tuple[str, ...] = ()) -> bool:
    """Take out all that Flux made, the named replication slots included; False if there was nothing.

    Raises `SlotError` while a slot is read, `SourceError` if something else depends on what would go;
    then nothing was changed but the slots.
    """
    for slot in slots:
        try:
            connection.execute(sql.text("postgres/queries/drop_slot.sql"), {"slot": slot})
        except psycopg.errors.ObjectInUse:
            raise SlotError(
                f"the replication slot {slot} is in use",
                why="a `flux up` reads it",
                hint="stop that process, then run it again",
            ) from None
        except psycopg.Error as error:
            raise _refused(f"cannot drop the replication slot {slot}", error) from None
    if not database.facts(connection).is_installed:
        return False
    try:
        with connection.transaction():
            _set_lock_timeout(connection)
            connection.execute(sql.text("postgres/remove.sql"))
    except psycopg.Error as error:
        raise _refused("cannot remove Flux from this database", error) from None
    return True


def plugin_remedy(seen: database.Facts, probe: database.Plugin) -> str:
    """Return what makes the server load the plugin: the package, or the setting of newer minors."""
    if PLUGIN_DENIED in probe.why:
        return f"{ALLOW_PLUGIN} or run: flux init --plugin pgoutput"
    if "No such file" in probe.why or "could not access file" in probe.why:
        major = seen.version_num // 10000
        return f"install it (apt install postgresql-{major}-wal2json), or run: flux init --plugin pgoutput"
    return "run: flux init --plugin pgoutput"


def _check_server(seen: database.Facts, plugin: str) -> None:
    if plugin not in PLUGINS:
        raise SourceError(f"unknown output plugin: {plugin}", hint="use auto, pgoutput or wal2json")
    if seen.version_num < database.VERSION_MIN:
        raise SourceError(f"PostgreSQL {seen.version} is too old", hint="Flux needs PostgreSQL 15 or later")
    if seen.is_standby:
        raise SourceError("this server is a standby", hint="connect to the primary server")
    if seen.wal_level != "logical":
        raise SourceError(
            f"the server's log has no row changes (wal_level is {seen.wal_level})",
            why="logical decoding needs wal_level = logical",
            hint="alter system set wal_level = logical; then restart the server",
        )
    if seen.encoding == "SQL_ASCII" or (plugin == "wal2json" and seen.encoding != "UTF8"):
        raise SourceError(
            f"the database's encoding is {seen.encoding}",
            why=f"{plugin} gives its texts in no known encoding then",
            hint="use pgoutput" if seen.encoding != "SQL_ASCII" else "move the data to a UTF8 database",
        )


def _run_steps(connection: psycopg.Connection[Any], plugin: str, warnings: list[str]) -> bool:
    follows_ddl = True
    for step in steps():
        try:
            with connection.transaction():
                connection.execute(step.text)
        except psycopg.errors.InsufficientPrivilege:
            if not step.is_optional:
                raise
            follows_ddl = False
            if plugin == "wal2json":
                raise SourceError(
                    "wal2json needs event triggers, and this role may not create them",
                    why="wal2json says nothing of schema changes by itself",
                    hint="run `flux init` as a superuser, or with --plugin pgoutput",
                ) from None
            warnings.append(
                "no event triggers (they need a superuser): schema changes are read from the stream alone, "
                "new partitions and tables need `flux track` again, and dropping the primary key of a "
                "tracked table makes its updates fail; run `flux init` as a superuser to mend that"
            )
    return follows_ddl


def _set_lock_timeout(connection: psycopg.Connection[Any]) -> None:
    value = {"value": f"{LOCK_TIMEOUT_S * 1000:.0f}"}
    connection.execute(sql.text("postgres/queries/lock_timeout.sql"), value)


def _refused(what: str, error: psycopg.Error) -> SourceError:
    """Return the error for what the server said, with the remedy that it or its class suggests."""
    hint = error.diag.message_hint or ""
    if isinstance(error, psycopg.errors.LockNotAvailable):
        hint = "a transaction holds a tracked table; run it again when that has ended"
    elif isinstance(error, psycopg.errors.InsufficientPrivilege):
        hint = "connect as a superuser, or run the output of `flux init --print-sql` as one"
    elif isinstance(error, psycopg.errors.DependentObjectsStillExist):
        hint = f"drop what depends on it first: {error.diag.message_detail or ''}".rstrip()
    why = error.diag.message_primary or "the server gave no reason"
    return SourceError(what, why=" ".join(why.split()), hint=" ".join(hint.split()))
