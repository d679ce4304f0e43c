"""`flux init`, `flux track`, `flux untrack`: prepare a database to be captured, and undo it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flux.cli import console
from flux.cli.options import DsnOption, LedgerOption, YesOption
from flux.cli.settings import source_dsn
from flux.model.errors import UsageError

if TYPE_CHECKING:
    from flux.capture.source import Facts
    from flux.capture.tracking import Tracked
    from flux.ledger.sources import Source

SLOT_LENGTH_MAX = 63
"""Of a replication slot's name, in PostgreSQL."""

TablesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="TABLE", help='users, public.users or "Odd Name".')
]


def init(
    dsn: DsnOption = None,
    ledger: LedgerOption = None,
    plugin: Annotated[
        str, typer.Option("--plugin", metavar="NAME", help="auto (takes pgoutput), pgoutput or wal2json.")
    ] = "auto",
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="NAME",
            help="Short name of this database in the ledger. Default: the database's name.",
            show_default=False,
        ),
    ] = None,
    print_sql: Annotated[
        bool, typer.Option("--print-sql", help="Print what would be run in the database; run nothing.")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take everything out of the database again; the ledger stays.")
    ] = False,
    yes: YesOption = False,
) -> None:
    """Prepare a database to be captured, and make the ledger; repeatable.

    Makes the schema flux with its functions, a publication and the role flux_capture; no table is
    touched before flux track. The server needs wal_level = logical.
    """
    if print_sql:
        from flux.capture import install

        console.out(install.print_sql())
        return
    if remove:
        _remove(dsn, ledger, source, yes=yes)
        return
    _install(dsn, ledger, plugin, source)


def _install(dsn: str | None, ledger: Path | None, plugin: str, name: str | None) -> None:
    from flux.capture import install
    from flux.capture import source as database
    from flux.ledger import create_ledger, sources
    from flux.ledger.location import locate

    folder, origin = locate(ledger)
    with database.connect(source_dsn(dsn).value) as connection:
        facts = database.facts(connection)
        known = _known(folder, name, facts)
        chosen = known.plugin if known is not None and plugin == "auto" else plugin
        done = install.init(connection, plugin=chosen, source=known.name if known else name)
        host = connection.info.host or "local"
    create_ledger(folder)
    slot = known.slot if known is not None else slot_name(done.source)
    sources.write(
        folder,
        sources.Source(name=done.source, plugin=done.plugin, slot=slot, database=facts.database, host=host),
    )
    verb = "is prepared already, and up to date" if done.was_installed else "is prepared"
    console.note(f"database {facts.database} (PostgreSQL {facts.version}) {verb}; plugin {done.plugin}")
    console.note(f"source {done.source} goes into the ledger {folder} (from {origin})")
    if not done.numerics_as_text:
        console.warn(
            "this wal2json sends NaN and infinities as NULL: such values show as `null or NaN`; "
            "--plugin pgoutput or wal2json 2.6 tells them apart"
        )
    for warning in done.warnings:
        console.warn(warning)
    if not done.was_installed:
        console.note("next: flux track TABLE… --rollbacks, then flux up")


def _known(folder: Path, name: str | None, facts: Facts) -> Source | None:
    """Return the source of the ledger that this database is, if it was prepared before."""
    from flux.ledger import sources

    for source in sources.read(folder):
        if source.name == (name or facts.database):
            return source
    return None


def slot_name(source: str) -> str:
    """Return the name of the replication slot for `source`: what PostgreSQL allows of it."""
    allowed = re.sub(r"[^a-z0-9_]", "_", source.lower())
    return f"flux_{allowed}"[:SLOT_LENGTH_MAX]


def _remove(dsn: str | None, ledger: Path | None, name: str | None, *, yes: bool) -> None:
    from flux.capture import install
    from flux.capture import source as database
    from flux.ledger import sources
    from flux.ledger.location import locate

    folder, _ = locate(ledger)
    with database.connect(source_dsn(dsn).value) as connection:
        facts = database.facts(connection)
        known = _known(folder, name, facts)
        slots = (known.slot,) if known is not None else ()
        with_slot = f" and the slot {known.slot}" if known is not None else ""
        confirm(f"remove schema flux, all its triggers{with_slot} from database {facts.database}?", yes=yes)
        was_there = install.remove(connection, slots=slots)
    if known is not None:
        sources.remove(folder, known.name)
    console.note(
        f"database {facts.database} is as it was before flux init"
        if was_there
        else f"nothing of Flux's was in database {facts.database}"
    )
    if known is None:
        console.warn(f"no ledger at {folder} names this source, so no replication slot was dropped")
    else:
        console.note(f"what was captured stays in the ledger {folder}")


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal; without one, `--yes` must have said so. Raises `Abort` for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("this needs a confirmation and there is no terminal", hint="add --yes")
    sys.stderr.write(f"{console.escape(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise typer.Exit(1)


def track(
    tables: TablesArgument = None,
    rollbacks: Annotated[
        bool, typer.Option("--rollbacks", help="Record what is rolled back too (a trigger for each row).")
    ] = False,
    all_tables: Annotated[bool, typer.Option("--all", help="Every user table, now and later.")] = False,
    identity_full: Annotated[
        bool,
        typer.Option(
            "--identity-full",
            help="For tables without a key: REPLICA IDENTITY FULL, so that updates and deletes are recorded.",
        ),
    ] = False,
    no_trigger: Annotated[
        bool,
        typer.Option(
            "--no-trigger",
            help="Only a message of the application tags the changes (recorder.install(tag_message=True)).",
        ),
    ] = False,
    dsn: DsnOption = None,
) -> None:
    """Record the changes of tables from now on, each with the request it belongs to.

    Example: flux track users orders --rollbacks
    """
    from flux.capture import source as database
    from flux.capture import tracking

    _check_tables(tables, all_tables)
    if rollbacks and no_trigger:
        raise UsageError(
            "--rollbacks and --no-trigger contradict each other",
            why="what is rolled back is recorded by triggers",
            hint="leave one out",
        )
    with database.connect(source_dsn(dsn).value) as connection:
        done = tracking.track(
            connection,
            tables or [],
            rollbacks=rollbacks,
            all_tables=all_tables,
            identity_full=identity_full,
            tag_trigger=not no_trigger,
        )
    how = "tracked with rollbacks" if rollbacks else "tracked without triggers" if no_trigger else "tracked"
    _say_tracked(done, {True: how, False: f"{how} (it was tracked before)"})
    if no_trigger and done:
        console.note(
            "not recorded: what is rolled back, and whose a change is that no message tags (docs/TAGS.md)"
        )
    elif not rollbacks and done:
        console.note("what is rolled back is not recorded; --rollbacks does that")


def untrack(
    tables: TablesArgument = None,
    all_tables: Annotated[bool, typer.Option("--all", help="Every tracked table.")] = False,
    dsn: DsnOption = None,
) -> None:
    """Stop recording tables; what the ledger holds of them stays."""
    from flux.capture import source as database
    from flux.capture import tracking

    _check_tables(tables, all_tables)
    with database.connect(source_dsn(dsn).value) as connection:
        done = tracking.untrack(connection, tables or [], all_tables=all_tables)
    _say_tracked(done, {True: "no longer tracked", False: "was not tracked"})


def _check_tables(tables: list[str] | None, all_tables: bool) -> None:
    if bool(tables) == all_tables:
        raise UsageError(
            "name tables or say --all" if not tables else "tables and --all contradict each other",
            hint="for instance: flux track users orders --rollbacks",
        )


def _say_tracked(done: list[Tracked], words: dict[bool, str]) -> None:
    for one in done:
        console.out(f"{console.escape(one.relation)}: {words[one.is_new]}\n")
        for warning in one.warnings:
            console.warn(warning)
    if not done:
        console.note("there are no tables")


def chosen_source(folder: Path, name: str | None) -> Source:
    """Return the source of the ledger that a command means. Raises `UsageError`, `LedgerMissing`."""
    from flux.ledger import sources
    from flux.ledger.layout import inspect

    inspect(folder)
    listed = sources.read(folder)
    if not listed:
        raise UsageError(f"nothing is captured into the ledger {folder} yet", hint="run `flux init`")
    if name is None and len(listed) == 1:
        return listed[0]
    for source in listed:
        if source.name == name:
            return source
    names = ", ".join(source.name for source in listed)
    if name is None:
        raise UsageError("the ledger has several sources", why=names, hint="choose one: --source NAME")
    raise UsageError(f"the ledger has no source {name}", why=f"there are: {names}", hint="see flux init")
