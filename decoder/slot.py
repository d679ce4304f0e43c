"""Replication connections, the system behind them, and slots.

Promises: every failure is a `FluxError` that names the slot and the remedy; nothing blocks without
a bound or without asking `stop`; a slot's exported snapshot lives as long as the connection that
made it. Does not: decide whether a slot is where a ledger left it (capture.position does).

Source: PostgreSQL documentation, "Streaming Replication Protocol" (IDENTIFY_SYSTEM,
CREATE_REPLICATION_SLOT, DROP_REPLICATION_SLOT) and "pg_replication_slots".
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from flux import sql
from flux.model.errors import FluxError, Interrupted, SlotBusy, SlotError, SlotLost, SourceError, Unreachable
from flux.model.lsn import parse_lsn

CONNECT_TIMEOUT_S = 10
"""Bound on making a connection, unless the connection string has its own."""

ANSWER_TIMEOUT_S = 60.0
"""Bound on the answer to a command that waits for nothing on the server."""

NETWORK: Mapping[str, int] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
"""Unless the connection string says otherwise: a dead network ends as an error after 30 s, not as silence.

The last one bounds what was sent and is not acknowledged: the kernel makes no probes meanwhile, and would
try again for a quarter of an hour.
"""

_CANCEL_TIMEOUT_S = 2.0
"""A cancellation is a courtesy: nobody waits longer for a server that is not there."""

_POLL_S = 0.1
"""How often a wait for the server asks whether it should stop."""

Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class System:
    """What IDENTIFY_SYSTEM says of the server behind a connection."""

    system_identifier: str
    """Made by initdb: a copy keeps it, another cluster has another."""
    timeline: int
    """Rises with every promotion of a standby and every point-in-time recovery."""
    lsn: int
    """End of the log that is flushed."""
    database: str


@dataclass(frozen=True, slots=True)
class SlotState:
    """One row of pg_replication_slots, with the server's position at the same moment."""

    slot: str
    plugin: str
    database: str
    active_pid: int | None
    """The walsender that holds it."""
    confirmed_lsn: int | None
    """What a client last confirmed, as far as the server has remembered it."""
    restart_lsn: int | None
    """The oldest log the slot holds on to."""
    server_lsn: int
    wal_status: str | None
    """reserved, extended, unreserved, lost."""
    safe_wal_bytes: int | None
    """Bytes that may still be written before the slot is in danger; None without a limit."""
    invalidation_reason: str | None

    @property
    def lost(self) -> bool:
        """The log that the slot stands at is gone."""
        return self.wal_status == "lost" or self.invalidation_reason is not None or self.restart_lsn is None

    @property
    def retained_bytes(self) -> int:
        """The log that the server keeps because of this slot."""
        return 0 if self.restart_lsn is None else max(0, self.server_lsn - self.restart_lsn)


class NewSlot(NamedTuple):
    """A slot just made, with its snapshot."""

    consistent_point: int
    """Every transaction that ends after this position is streamed, none that ends before."""
    snapshot_name: str
    """For SET TRANSACTION SNAPSHOT; lives until the next command on `connection`."""
    connection: psycopg.Connection[Any]
    """Keep it open while the snapshot, or a temporary slot, is needed; then close it."""


def connect_replication(dsn: str | None, *, application_name: str = "flux") -> psycopg.Connection[Any]:
    """Open a logical replication connection that prints values as the baseline does.

    Raises `Unreachable`; no message of it holds a password.
    """
    try:
        settings = conninfo_to_dict(dsn or "")
        settings["replication"] = "database"
        settings["application_name"] = application_name
        settings.setdefault("connect_timeout", CONNECT_TIMEOUT_S)
        for name, value in NETWORK.items():
            settings.setdefault(name, value)
        connection = psycopg.connect(make_conninfo("", **settings), autocommit=True)
    except psycopg.Error as error:
        raise Unreachable(
            "cannot open a replication connection",
            why=first_line(error),
            hint="check --dsn, that the role has REPLICATION, and pg_hba.conf",
        ) from None
    try:
        execute(connection, sql.text("wire/session.sql"), doing="set up the replication connection")
    except BaseException:
        connection.close()
        raise
    return connection


def identify(connection: psycopg.Connection[Any]) -> System:
    """Return the system behind a replication connection."""
    row = execute(connection, "IDENTIFY_SYSTEM", doing="identify the server")[0]
    return System(row[0] or "", int(row[1] or 0), parse_lsn(row[2] or "0/0"), row[3] or "")


def create_slot(
    dsn: str | None, slot: str, plugin: str, *, temporary: bool = False, stop: Stop | None = None
) -> NewSlot:
    """Make a slot and export the snapshot of its consistent point.

    The server waits for the transactions that are running now; `stop` is asked meanwhile and ends
    the wait with `Interrupted`. Raises `SlotError` when the slot exists, `SourceError` when the server
    refuses (wal_level, plugin, max_replication_slots).
    """
    connection = connect_replication(dsn)
    try:
        kind = "TEMPORARY LOGICAL" if temporary else "LOGICAL"
        command = (
            f"CREATE_REPLICATION_SLOT {quote_name(slot)} {kind} {quote_name(plugin)} (SNAPSHOT 'export')"
        )
        doing = f"create the slot {slot!r}"
        row = execute(connection, command, doing=doing, slot=slot, stop=stop, timeout_s=None)[0]
        return NewSlot(parse_lsn(row[1] or "0/0"), row[2] or "", connection)
    except BaseException:
        connection.close()
        raise


def drop_slot(dsn: str | None, slot: str) -> bool:
    """Drop a slot; return False when there was none. Raises `SlotBusy` while it is in use."""
    connection = connect_replication(dsn)
    try:
        execute(
            connection,
            f"DROP_REPLICATION_SLOT {quote_name(slot)}",
            doing=f"drop the slot {slot!r}",
            slot=slot,
        )
    except SlotLost:
        return False
    finally:
        connection.close()
    return True


def read_slot(connection: psycopg.Connection[Any], slot: str) -> SlotState | None:
    """Return the state of `slot`, asked on an ordinary connection; None when there is none."""
    query = sql.text("wire/slot.sql")
    try:
        with connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(query, {"slot": slot}).fetchone()
    except psycopg.Error as error:
        raise translate(error, doing=f"look at the slot {slot!r}", slot=slot) from None
    return None if row is None else SlotState(**row)


def execute(
    connection: psycopg.Connection[Any],
    command: str,
    *,
    doing: str,
    slot: str | None = None,
    stop: Stop | None = None,
    timeout_s: float | None = ANSWER_TIMEOUT_S,
) -> list[list[str | None]]:
    """Run a command by the simple protocol (a walsender knows no other); return its rows as text.

    Raises `Unreachable` when the server says nothing for `timeout_s`; None: it may wait for others.
    """
    conn = connection.pgconn
    try:
        conn.send_query(command.encode())
        rows: list[list[str | None]] = []
        failure: pq.abc.PGresult | None = None
        while True:
            await_result(conn, doing=doing, stop=stop, timeout_s=timeout_s)
            result = conn.get_result()
            if result is None:
                break
            if result.status == pq.ExecStatus.COPY_BOTH:
                return rows
            if result.status in (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.NONFATAL_ERROR):
                failure = result
            rows.extend(_rows(result))
    except Interrupted:
        with suppress(psycopg.Error):
            connection.cancel_safe(timeout=_CANCEL_TIMEOUT_S)
        raise
    except psycopg.Error as error:
        raise translate(error, doing=doing, slot=slot) from None
    if failure is not None:
        raise refusal(failure, doing=doing, slot=slot)
    return rows


def await_result(conn: pq.abc.PGconn, *, doing: str, stop: Stop | None, timeout_s: float | None) -> None:
    """Wait until get_result() will not block.

    Ends with `Interrupted` when `stop` says so, with `Unreachable` after `timeout_s`.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    poll = select.poll()
    while True:
        unsent = conn.flush() == 1
        if not unsent and not conn.is_busy():
            return
        if stop is not None and stop():
            raise Interrupted(f"stopped while waiting to {doing}")
        if deadline is not None and time.monotonic() > deadline:
            raise Unreachable(
                f"cannot {doing}",
                why=f"the server did not answer for {timeout_s:g} s",
                hint="is the network up? `flux up` tries again by itself",
            )
        poll.register(conn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
        if poll.poll(int(_POLL_S * 1000)):
            conn.consume_input()


def quote_name(name: str) -> str:
    """Quote an identifier for a replication command, whose grammar has no parameters."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(value: str) -> str:
    """Quote a string for a replication command (no backslash escapes there)."""
    return "'" + value.replace("'", "''") + "'"


def first_line(error: BaseException) -> str:
    """Return the first line of a driver's message, which holds no values."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def translate(error: psycopg.Error, *, doing: str, slot: str | None = None) -> FluxError:
    """Turn a driver's error into ours."""
    return classify(error.sqlstate, first_line(error), doing=doing, slot=slot)


def refusal(result: pq.abc.PGresult, *, doing: str, slot: str | None = None) -> FluxError:
    """Turn an error result of the server into ours."""

    def field(name: pq.DiagnosticField) -> str:
        value = result.error_field(name)
        return value.decode("utf-8", "replace") if value else ""

    message = field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.get_error_message()
    detail = field(pq.DiagnosticField.MESSAGE_DETAIL)
    return classify(
        field(pq.DiagnosticField.SQLSTATE) or None,
        f"{message} ({detail})" if detail else message,
        doing=doing,
        slot=slot,
    )


PLUGIN_DENIED = "may not be used as an output plugin"
"""What minor releases since CVE-2026-6471 say of a plugin that `output_plugin_libraries` does not name."""
ALLOW_PLUGIN = (
    # A list without quotes: in quotes PostgreSQL takes the three names for one.
    "alter system set output_plugin_libraries = pgoutput, test_decoding, wal2json; select pg_reload_conf();"
)
"""What allows it."""

_GOES_AWAY = ("08", "57P", "530", "531", "532")
"""Classes of SQLSTATE after which a new try may succeed: connection, shutdown, resources."""

_LOST = re.compile(r"no longer (get|access)|invalidated|has already been removed|copy of replication slot")


def classify(sqlstate: str | None, message: str, *, doing: str, slot: str | None) -> FluxError:
    """Choose the error for a server's refusal by its SQLSTATE (57P01 and no state at all: gone)."""
    what = f"cannot {doing}"
    named = slot or ""
    if sqlstate is None or sqlstate.startswith(_GOES_AWAY):
        return Unreachable(what, why=message, hint="is the server up? `flux up` tries again by itself")
    if sqlstate == "55006":
        pid = re.search(r"PID (\d+)", message)
        return SlotBusy(
            what,
            why=message,
            hint=f"another process reads this slot; stop it, or: select pg_terminate_backend({pid[1]});"
            if pid
            else "another process reads this slot; stop it first",
        )
    if sqlstate == "42710":
        return SlotError(
            what, why=message, hint=f"drop it first: select pg_drop_replication_slot({quote_text(named)});"
        )
    if slot and (sqlstate == "42704" or _LOST.search(message)):
        return SlotLost(
            what,
            why=message,
            hint="`flux up --resnapshot` records the gap, makes a new slot and a new baseline",
        )
    if PLUGIN_DENIED in message:
        return SourceError(what, why=message, hint=ALLOW_PLUGIN)
    if sqlstate == "55000" and "wal_level" in message:
        return SourceError(
            what, why=message, hint="alter system set wal_level = logical; then restart the server"
        )
    if sqlstate == "53400":
        return SourceError(what, why=message, hint="raise max_replication_slots, or drop a slot nobody uses")
    return SourceError(what, why=message, hint="run `flux doctor`")


def _rows(result: pq.abc.PGresult) -> list[list[str | None]]:
    """Return the rows of a result as text."""

    def text(row: int, column: int) -> str | None:
        value = result.get_value(row, column)
        return None if value is None else value.decode()

    return [[text(row, column) for column in range(result.nfields)] for row in range(result.ntuples)]
