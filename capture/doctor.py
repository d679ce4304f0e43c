"""Every precondition of capture, checked; each fault with what mends it.

Reads only: the remedies are SQL or commands for a person to run. Nothing here raises for what it
finds; a server that cannot be reached does (`source.connect`). Findings about the ledger are the caller's.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from flux import sql
from flux.capture import install, source
from flux.capture.status import USED_FAULT, USED_WARN, used_of_bound
from flux.model.errors import listed

Level = Literal["ok", "warn", "fault"]

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    """Short and stable, for scripts: `wal_level`, `slot`, `publication`."""
    level: Level
    what: str
    why: str = ""
    hint: str = ""
    sql: str = ""
    """SQL or a command that mends it, to be run by a person."""


@dataclass(frozen=True, slots=True)
class _Examined:
    """What the checks look at: one reading of the server."""

    connection: psycopg.Connection[Any]
    facts: source.Facts
    plugin: source.Plugin
    slot: str | None

    def rows(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(sql.text(f"postgres/queries/{name}.sql"), parameters or None).fetchall()


def examine(
    connection: psycopg.Connection[Any], *, plugin: str = "pgoutput", slot: str | None = None
) -> list[Finding]:
    """Return what is right and wrong with this database for capture with `plugin` through `slot`."""
    seen = source.facts(connection)
    if seen.wal_level == "logical" and seen.may_replicate and not seen.is_standby:
        probe = source.plugin(connection, plugin)
    else:
        probe = source.Plugin(plugin, available=True)
    examined = _Examined(connection, seen, probe, slot)
    findings = [check for part in (_server, _plugin, _capacity) for check in part(examined)]
    if not seen.is_installed:
        return [
            *findings,
            Finding("schema", "fault", "Flux is not installed in this database", sql="flux init"),
        ]
    checks: tuple[Callable[[_Examined], list[Finding]], ...] = (
        *(_objects, _event_triggers, _slot, _role),
        *(_coverage, _identities, _triggers, _numbers),
    )
    for part in checks:
        try:
            findings.extend(part(examined))
        except psycopg.errors.InsufficientPrivilege:
            name = part.__name__.strip("_")
            findings.append(
                Finding(
                    name, "warn", f"{seen.user_name} may not look at this", hint="connect as flux_capture"
                )
            )
    return findings


def examine_machine() -> list[Finding]:
    """Return what is wrong with this machine: another `flux` command that the shell finds first."""
    found = shutil.which("flux")
    ours = Path(sys.executable).parent / "flux"
    if found is None or not ours.exists() or Path(found).resolve() == ours.resolve():
        return [Finding("command", "ok", "`flux` is this program")]
    return [
        Finding(
            "command",
            "warn",
            f"another `flux` comes first on PATH: {found}",
            why=f"this one is {ours}",
            sql=f"export PATH={ours.parent}{os.pathsep}$PATH",
        )
    ]


def _server(examined: _Examined) -> list[Finding]:
    seen = examined.facts
    findings = []
    if seen.version_num < source.VERSION_MIN:
        findings.append(
            Finding("version", "fault", f"PostgreSQL {seen.version} is too old", hint="use 15 or later")
        )
    else:
        findings.append(Finding("version", "ok", f"PostgreSQL {seen.version}"))
    if seen.is_standby:
        findings.append(
            Finding("standby", "fault", "this server is a standby", hint="connect to the primary")
        )
    if seen.wal_level != "logical":
        findings.append(
            Finding(
                "wal_level",
                "fault",
                f"wal_level is {seen.wal_level}: the log has no row changes",
                hint="the server must be restarted after it",
                sql="alter system set wal_level = logical;",
            )
        )
    else:
        findings.append(Finding("wal_level", "ok", "wal_level is logical"))
    bad = seen.encoding == "SQL_ASCII" or (examined.plugin.name == "wal2json" and seen.encoding != "UTF8")
    if bad:
        findings.append(
            Finding(
                "encoding",
                "fault",
                f"the database's encoding is {seen.encoding}",
                why=f"{examined.plugin.name} sends texts in an unknown encoding then",
                hint="move to a UTF8 database" if seen.encoding == "SQL_ASCII" else "",
                sql="" if seen.encoding == "SQL_ASCII" else "flux init --plugin pgoutput",
            )
        )
    else:
        findings.append(Finding("encoding", "ok", f"encoding {seen.encoding}"))
    return findings


def _plugin(examined: _Examined) -> list[Finding]:
    probe = examined.plugin
    if probe.available:
        return [Finding("plugin", "ok", f"the server loads {probe.name}")]
    remedy = install.plugin_remedy(examined.facts, probe)
    return [Finding("plugin", "fault", f"the server does not load {probe.name}", why=probe.why, sql=remedy)]


def _capacity(examined: _Examined) -> list[Finding]:
    (row,) = examined.rows("doctor_server")
    findings = []
    for free, setting in (
        (row["slots_free"], "max_replication_slots"),
        (row["senders_free"], "max_wal_senders"),
    ):
        if free <= 0:
            findings.append(
                Finding(
                    setting,
                    "warn",
                    f"all of {setting} are in use",
                    why="a new capture finds no place (ours may be among those in use)",
                    hint="the server must be restarted after it",
                    sql=f"alter system set {setting} = 20;",
                )
            )
    if row["keep_size"] == "-1":
        findings.append(
            Finding(
                "max_slot_wal_keep_size",
                "warn",
                "the log kept for a slot has no bound",
                why="while `flux up` is down, the server keeps its log until the disk is full",
                sql="alter system set max_slot_wal_keep_size = '50GB'; select pg_reload_conf();",
            )
        )
    if row["idle_timeout"] not in {"0", "0s", "0min"}:
        findings.append(
            Finding(
                "idle_replication_slot_timeout",
                "warn",
                f"a slot that nobody reads for {row['idle_timeout']} is given up by the server",
                why="a capture that is down for longer leaves a gap in the ledger",
                sql="alter system set idle_replication_slot_timeout = 0; select pg_reload_conf();",
            )
        )
    if row["event_triggers"] != "on":
        findings.append(
            Finding(
                "event_triggers_setting",
                "warn",
                "event triggers are switched off: schema changes are not followed",
                sql="alter system reset event_triggers; select pg_reload_conf();",
            )
        )
    return findings or [Finding("capacity", "ok", "slots, senders and bounds are right")]


def _objects(examined: _Examined) -> list[Finding]:
    present = {row["object"].replace(", ", ","): row["comment"] for row in examined.rows("doctor_objects")}
    old = [
        entry
        for step in install.steps()
        if not step.is_optional
        for entry in install.objects(step.name)
        if present.get(entry.replace(", ", ",")) != install.stamp(step.name)
    ]
    if not old:
        return [Finding("schema", "ok", "what `flux init` installed is of this release")]
    return [
        Finding(
            "schema",
            "fault",
            f"missing, or of another release: {listed(old)}",
            hint="repeatable; upgrades in place",
            sql="flux init",
        )
    ]


def _event_triggers(examined: _Examined) -> list[Finding]:
    rows = examined.rows("doctor_event_triggers")
    disabled = [row["name"] for row in rows if not row["enabled"]]
    if len(rows) == len(install.objects(install.EVENT_TRIGGERS)) and not disabled:
        return [Finding("event_triggers", "ok", "schema changes are followed")]
    if disabled:
        enable = "alter event trigger {} enable always;"
        statements = " ".join(enable.format(name) for name in disabled)
        return [Finding("event_triggers", "fault", f"switched off: {listed(disabled)}", sql=statements)]
    return [
        Finding(
            "event_triggers",
            "fault" if examined.plugin.name == "wal2json" else "warn",
            "there are no event triggers: schema changes are not followed",
            why="dropping the primary key of a tracked table would make its updates fail, and new partitions "
            "and tables are not tracked",
            sql="flux init  # as a superuser",
        )
    ]


def _slot(examined: _Examined) -> list[Finding]:
    if examined.slot is None:
        return []
    name = examined.slot
    rows = examined.rows("doctor_slot", slot=name)
    if not rows:
        return [
            Finding(
                "slot",
                "warn",
                f"there is no replication slot {name}",
                hint="flux up makes it; if there was one, it was dropped: flux up --resnapshot",
                sql="flux up",
            )
        ]
    (row,) = rows
    if row["plugin"] != examined.plugin.name or row["database"] != examined.facts.database:
        found = f"it reads database {row['database']} with {row['plugin']}"
        return [
            Finding(
                "slot",
                "fault",
                f"the replication slot {name} is not ours",
                why=found,
                hint="choose another --source name, or drop it if nobody needs it",
                sql=f"select pg_drop_replication_slot('{name}');",
            )
        ]
    if row["wal_status"] == "lost":
        return [
            Finding(
                "slot",
                "fault",
                f"the replication slot {name} is lost",
                why="the server removed log that was not read yet",
                hint="it records the gap, makes a new slot and takes a new baseline",
                sql="flux up --resnapshot",
            )
        ]
    return [_kept_log(name, row)]


def _kept_log(name: str, row: dict[str, Any]) -> Finding:
    """Judge a slot that is not lost by the log kept for it, and by what is left of its bound."""
    retained: int = row["retained_bytes"]
    left: int | None = row["safe_wal_size"]
    why = f"{retained / _GIB:.1f} GiB of log kept for it"
    if left is not None:
        why += f", {max(left, 0) / _GIB:.1f} GiB more until it is lost"
    if not row["active"]:
        why = f"nobody reads it; {why}"
    used = used_of_bound(retained, left)
    level: Level
    if row["wal_status"] == "unreserved" or used > USED_FAULT:
        what, level = f"the slot {name} is about to be lost", "fault"
    elif row["wal_status"] == "extended" or used > USED_WARN or not row["active"]:
        what, level = f"the slot {name} falls behind", "warn"
    else:
        return Finding("slot", "ok", f"the slot {name} is read; {why}")
    room = "" if left is None else "or raise max_slot_wal_keep_size, if the disk has room"
    return Finding("slot", level, what, why, hint=room, sql="flux status" if row["active"] else "flux up")


def _role(examined: _Examined) -> list[Finding]:
    rows = examined.rows("doctor_role")
    if not rows:
        return [Finding("role", "warn", "there is no role flux_capture", sql="flux init")]
    (row,) = rows
    findings = []
    if not (row["may_login"] and row["may_replicate"]):
        findings.append(
            Finding(
                "role",
                "fault",
                "flux_capture may not replicate",
                sql="alter role flux_capture login replication;",
            )
        )
    if not (row["may_use_schema"] and row["may_read"]):
        findings.append(Finding("role", "fault", "flux_capture may not read schema flux", sql="flux init"))
    if not row["may_connect"]:
        statement = psycopg.sql.SQL("grant connect on database {} to flux_capture;").format(
            psycopg.sql.Identifier(examined.facts.database)
        )
        findings.append(
            Finding(
                "role", "fault", "flux_capture may not connect", sql=statement.as_string(examined.connection)
            )
        )
    relations = examined.rows("doctor_relations")
    unreadable = sorted({entry["root"] for entry in relations if not entry["is_readable"]})
    if unreadable:
        findings.append(
            Finding(
                "role",
                "fault",
                f"flux_capture may not read {listed(unreadable)}",
                sql=f"grant select on {', '.join(unreadable)} to flux_capture;",
            )
        )
    hidden = [entry["relation"] for entry in relations if entry["has_row_security"]]
    if hidden and not row["bypasses_row_security"]:
        findings.append(
            Finding(
                "row_security",
                "warn",
                f"row security on {listed(hidden)}: flux_capture cannot take their baseline",
                why="it refuses to read a part of a table as if it were the whole",
                sql="alter role flux_capture bypassrls;",
            )
        )
    return findings or [Finding("role", "ok", "flux_capture has the rights it needs")]


def _coverage(examined: _Examined) -> list[Finding]:
    rows = examined.rows("doctor_relations")
    if not rows:
        return [Finding("tracked", "warn", "no table is tracked", sql="flux track TABLE --rollbacks")]
    findings = []
    moved = sorted({row["root"] for row in rows if not (row["is_expected"] and row["is_member"])})
    if moved:
        findings.append(
            Finding(
                "partitions",
                "fault",
                f"partitions came or went unnoticed: {listed(moved)}",
                sql=_commands(rows, moved),
            )
        )
    leaves = [row for row in rows if row["kind"] == "r" and row["is_permanent"] and row["is_expected"]]
    absent = sorted({row["root"] for row in leaves if not (row["in_flux"] or row["in_flux_inserts"])})
    if absent:
        findings.append(
            Finding(
                "publication",
                "fault",
                f"not published: {listed(absent)}",
                why="their changes are not in the stream",
                sql=_commands(rows, absent),
            )
        )
    return findings or [Finding("tracked", "ok", f"{len({row['root'] for row in rows})} tables are tracked")]


def _identities(examined: _Examined) -> list[Finding]:
    findings = []
    for row in examined.rows("doctor_relations"):
        if row["kind"] != "r" or row["is_usable"]:
            continue
        if row["in_flux"]:
            findings.append(
                Finding(
                    "replica_identity",
                    "fault",
                    f"updates and deletes of {row['relation']} FAIL in the application",
                    why="it is published with its updates and has no usable key",
                    sql=row["command"],
                )
            )
        else:
            findings.append(
                Finding(
                    "replica_identity",
                    "warn",
                    f"{row['relation']} has no usable key: only its inserts and truncates are recorded",
                    hint="or add a primary key, which costs less",
                    sql=f"{row['command']} --identity-full",
                )
            )
    return findings or [Finding("replica_identity", "ok", "every table has a usable key")]


def _triggers(examined: _Examined) -> list[Finding]:
    rows = [row for row in examined.rows("doctor_relations") if row["is_member"] and row["is_expected"]]
    untagged = [row["relation"] for row in rows if not row["is_tagged"]]
    unwatched = [row["relation"] for row in rows if not row["is_watched"]]
    findings = []
    for names, what in (
        (untagged, "writes are not tagged"),
        (unwatched, "rolled-back changes are not recorded"),
    ):
        if names:
            findings.append(
                Finding(
                    "triggers",
                    "fault",
                    f"{what}: {listed(names)}",
                    why="a trigger of ours is missing or disabled",
                    hint="then `alter table … enable trigger` for one that was disabled",
                    sql="flux init",
                )
            )
    bare = [row["relation"] for row in rows if not row["tag_trigger"]]
    what = (
        f"every table has its triggers; none, by choice: {listed(bare)}"
        if bare
        else "every table has its triggers"
    )
    return findings or [Finding("triggers", "ok", what)]


def _numbers(examined: _Examined) -> list[Finding]:
    if examined.plugin.numerics_as_text:
        return []
    columns = [
        f"{relation.relation}.{column}"
        for relation in source.describe(examined.connection, lossy=True)
        if relation.relation_id == relation.root_id
        for column in relation.lossy
    ]
    if not columns:
        return []
    return [
        Finding(
            "lossy_numbers",
            "warn",
            f"NaN and infinities arrive as null: {listed(columns)}",
            why="wal2json before 2.6 cannot say them; history prints `null or NaN`",
            hint="or install wal2json 2.6",
            sql="flux init --plugin pgoutput",
        )
    ]


def _commands(rows: list[dict[str, Any]], roots: list[str]) -> str:
    """Return what tracks these roots again, as they are tracked now."""
    return "; ".join(sorted({row["command"] for row in rows if row["root"] in roots}))
