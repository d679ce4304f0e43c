"""The source database: connecting to it, and what it says about itself and its tables.

Promises: no password and no part of a malformed connection string appears in an error. A connection
is in autocommit mode, and a dead network ends it. A relation's description is the one that the
messages in the log carry (`flux.describe`, sql/postgres/050_relations.sql), so both sides speak of the
same columns.
Source: PostgreSQL documentation, "Database Connection Control Functions", for the order in which an
absent setting is looked for (service file, PG* variables, passfile, defaults).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq
from psycopg.abc import RV, PQGen
from psycopg.rows import dict_row

from flux import sql
from flux.decoder.slot import NETWORK
from flux.model.errors import Invariant, SourceError, Unreachable, UsageError
from flux.model.relation import Column, Relation

CONNECT_TIMEOUT_S = 10
"""Unless the connection string says otherwise."""

VERSION_MIN = 150000
"""Older servers have neither `ALTER PUBLICATION … ADD TABLE ONLY` semantics nor fixes we rely on."""

WAL2JSON_LOSSY_TYPES = frozenset({"real", "double precision", "numeric"})
"""wal2json before 2.6 prints NaN and infinities of exactly these as null; domains and arrays are text."""

_URL = re.compile(r"postgres(?:ql)?://")
_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?")


@dataclass(frozen=True, slots=True)
class Facts:
    """What Flux must know of a server."""

    system_identifier: str
    timeline: int
    """Of the newest segment; 0 on a standby."""
    version_num: int
    """As in `server_version_num`: 150018."""
    version: str
    wal_level: str
    encoding: str
    database: str
    user_name: str
    is_superuser: bool
    may_replicate: bool
    is_standby: bool
    is_installed: bool
    """`flux init` was run in this database."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """An output plugin, as far as this server lets us load it."""

    name: str
    available: bool
    why: str = ""
    """The server's own words if it is not available."""
    numerics_as_text: bool = True
    """False for wal2json before 2.6: NaN and infinities of numbers arrive as null."""


class _Bounded(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is given up when an answer does not come in time.

    The kernel's own probes do not see every silence: a balancer or a stopped server may keep the
    socket open.
    """

    answer_timeout_s: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait as psycopg does, with our bound unless the caller has one."""
        try:
            return super().wait(gen, interval, timeout or self.answer_timeout_s)
        except psycopg.OperationalError as error:
            if error.sqlstate is not None or self.pgconn.status != pq.ConnStatus.OK:
                raise
            # What the answer would belong to is not known any more.
            self.close()
            message = f"the server did not answer for {timeout or self.answer_timeout_s:g} s"
            raise psycopg.OperationalError(message) from None


def connect(
    dsn: str | None, *, application_name: str = "flux", answer_timeout_s: float | None = None
) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect to `dsn`, or to what libpq's environment names; autocommit.

    `answer_timeout_s` bounds every wait for the server on this connection; None is for what may wait
    for others (locks, a long copy).

    Raises `UsageError` if the string cannot be read, `Unreachable` if nobody answers as hoped.
    """
    conninfo = dsn or ""
    _check_url(conninfo)
    try:
        given = psycopg.conninfo.conninfo_to_dict(conninfo)
    except psycopg.Error:
        raise UsageError(
            "the connection string cannot be read",
            hint="write postgresql://user@host:5432/database or: host=… dbname=… user=…",
        ) from None
    place = " ".join(
        f"{name}={given[name]}" for name in ("service", "host", "port", "dbname") if name in given
    )
    options: dict[str, Any] = {"application_name": application_name, "client_encoding": "utf8"}
    if "connect_timeout" not in given:
        options["connect_timeout"] = CONNECT_TIMEOUT_S
    options.update({name: value for name, value in NETWORK.items() if name not in given})
    try:
        connection = _Bounded.connect(conninfo, autocommit=True, **options)
    except psycopg.OperationalError as error:
        raise Unreachable(
            f"cannot connect to the database ({place or 'as libpq finds it: PGHOST, PGSERVICE, …'})",
            why=_one_line(error),
            hint="check --dsn (or FLUX_DSN, DATABASE_URL, PGHOST), and that the server runs and lets you in",
        ) from None
    connection.answer_timeout_s = answer_timeout_s
    return connection


def facts(connection: psycopg.Connection[Any]) -> Facts:
    """Return what the server says about itself; needs no right."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(sql.text("postgres/queries/facts.sql")).fetchone()
    if row is None:
        raise Invariant("the server has facts")
    return Facts(**row)


def describe(
    connection: psycopg.Connection[Any], only_tracked: bool = True, *, lossy: bool = False
) -> list[Relation]:
    """Return the relations under the tracked tables (roots, their partitions), or of all user tables.

    `lossy`: mark the columns whose NaN and infinities the plugin cannot say (`Plugin.numerics_as_text`).
    Raises `SourceError` where `flux init` was not run. `Relation.lsn` is 0: the caller knows the moment.
    """
    name = "describe_tracked" if only_tracked else "describe_all"
    return [relation(row, lossy=lossy) for row in _described(connection, name, None)]


def lookup(connection: psycopg.Connection[Any], wanted: int | str, *, lossy: bool = False) -> Relation | None:
    """Return one relation by OID or by its unquoted `schema.table`; None if there is none."""
    by_oid = isinstance(wanted, int)
    parameters = {"relation_id": wanted if by_oid else None, "relation": None if by_oid else wanted}
    rows = _described(connection, "describe_one", parameters)
    return relation(rows[0], lossy=lossy) if rows else None


def secret(connection: psycopg.Connection[Any]) -> str:
    """Return what the messages of Flux's own functions begin with; it goes into no log and no error."""
    row, why = None, "the sequence flux.secret shows this role no value"
    try:
        row = connection.execute(sql.text("postgres/queries/secret.sql")).fetchone()
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.InvalidSchemaName,
        psycopg.errors.InsufficientPrivilege,
    ) as error:
        why = _one_line(error)
    if row is None or row[0] is None:
        raise SourceError(
            "cannot read the secret that Flux's messages begin with",
            why=why,
            hint="run `flux init`, and connect as flux_capture",
        )
    return str(row[0])


def relation(described: Mapping[str, Any], *, lsn: int = 0, lossy: bool = False) -> Relation:
    """Return the relation that one object of `flux.describe` says."""
    key = tuple(described["key"])
    columns: Iterable[Mapping[str, Any]] = described["columns"]
    recorded = [column for column in columns if not column["generated"]]
    return Relation(
        relation_id=described["relation_id"],
        relation=described["relation"],
        root_id=described["root_id"],
        root=described["root"],
        lsn=lsn,
        columns=tuple(
            Column(
                name=column["name"],
                type=column["type"],
                attnum=column["attnum"],
                is_key=column["is_key"],
                not_null=column["not_null"],
                missing=column["missing"],
            )
            for column in recorded
        ),
        key=key,
        replica_identity=described["replica_identity"],
        row_columns=tuple(None if column["generated"] else column["name"] for column in columns),
        lossy=tuple(column["name"] for column in recorded if is_lossy(column["type"])) if lossy else (),
    )


def is_lossy(type_name: str) -> bool:
    """Return whether wal2json before 2.6 turns special values of this type into null."""
    return type_name.split("(", maxsplit=1)[0] in WAL2JSON_LOSSY_TYPES and not type_name.endswith("]")


def plugin(connection: psycopg.Connection[Any], name: str, *, timeout_s: float = 10.0) -> Plugin:
    """Return whether the server loads the output plugin `name`, by making a slot that ends at once.

    A slot waits for the transactions that run; one that outlasts `timeout_s` proves the plugin all the
    same, for the library is loaded before the wait.
    """
    slot = {"slot": f"flux_probe_{connection.info.backend_pid}"}
    connection.execute("select pg_catalog.set_config('statement_timeout', %s, false)", [f"{timeout_s:g}s"])
    try:
        connection.execute(sql.text("postgres/queries/plugin_slot.sql"), {**slot, "plugin": name})
        if name != "wal2json":
            return Plugin(name, available=True)
        try:
            connection.execute(sql.text("postgres/queries/plugin_numerics.sql"), slot)
        except psycopg.Error:
            return Plugin(name, available=True, numerics_as_text=False)
        return Plugin(name, available=True)
    except psycopg.errors.QueryCanceled:
        return Plugin(name, available=True, numerics_as_text=name != "wal2json")
    except psycopg.Error as error:
        return Plugin(name, available=False, why=_one_line(error))
    finally:
        connection.execute(sql.text("postgres/queries/drop_slot.sql"), slot)
        connection.execute("reset statement_timeout")


def _described(
    connection: psycopg.Connection[Any], name: str, parameters: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    try:
        row = connection.execute(sql.text(f"postgres/queries/{name}.sql"), parameters).fetchone()
    except (
        psycopg.errors.UndefinedFunction,
        psycopg.errors.UndefinedTable,
        psycopg.errors.InvalidSchemaName,
    ):
        raise SourceError(
            "this database has no schema of Flux's",
            why=f"database {connection.info.dbname}",
            hint="run: flux init",
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise SourceError(
            "cannot read which tables are tracked",
            why=_one_line(error),
            hint="connect as flux_capture, or as the role that ran `flux init`",
        ) from None
    return list(row[0]) if row is not None else []


def _check_url(conninfo: str) -> None:
    """Refuse a URL that libpq would misread: its error would show a part of the password."""
    if not _URL.match(conninfo):
        return
    authority = _URL.sub("", conninfo, count=1)
    path = authority.split("?", 1)[0]
    user, at, rest = path.rpartition("@")
    hosts = rest.split("/", 1)[0].split(",")
    if (at and re.search(r"[/@#\s]", user)) or not all(_HOST.fullmatch(host) for host in hosts):
        raise UsageError(
            "the connection string cannot be read",
            why="the part between // and the host holds characters that a URL reserves",
            hint="percent-encode them in the password (@ is %40, / is %2F, # is %23), or use PGPASSWORD",
        )


def _one_line(error: psycopg.Error) -> str:
    """Return the server's or libpq's words without line breaks and without DETAIL, which may hold values."""
    message = error.diag.message_primary or str(error)
    return " ".join(message.split())
