"""Generated workloads: random tables, and moves of several sessions in one order that is always the same.

A move is a few small numbers; what they mean is decided when it is made, by what the session sees then, so
that any list of moves is a workload and a failing one shrinks. A move that the server refuses (a lock,
a double key, a missing column) is rolled back as an application would do it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import psycopg
from hypothesis import strategies as st
from psycopg import sql

from flux.capture import tracking
from oracle.corpus.value import VALUES
from oracle.script import Case, Played, Stage

SESSIONS = 4
DEPTH_MAX = 3

KEYS: dict[str, tuple[str, ...]] = {
    "integer": tuple(str(n) for n in range(1, 8)),
    "text": ("'a'", "'B\"b'", "E'c\\\\,d'", "'é😀'", "''", "'[\"x\"]'", "E'tab\\t'"),
    "uuid": tuple(f"'00000000-0000-0000-0000-00000000000{n}'" for n in range(7)),
    "numeric": ("1", "1.0", "2.50", "-3", "1e20", "0.10", "7"),
    "timestamptz": ("'infinity'", "'2024-01-01 00:00+02'", "'0044-03-15 BC'", "'2000-01-01'", "'1999-12-31'"),
    "bytea": ("'\\x'", "'\\x00'", "'\\x00ff'", "'\\x22'", "'\\x5c'"),
}
KINDS = (
    *(
        "text",
        "text",
        "integer",
        "numeric",
        "double precision",
        "boolean",
        "bytea",
        "jsonb",
        "json",
        "char(5)",
    ),
    *("text[]", "integer[]", "timestamptz", "interval", "date", "int4range", "inet", "bit varying", "uuid"),
)
SHAPES = ("single", "single", "composite", "full", "full keyed", "index", "partitioned", "bare")
"""How a table's rows are told apart."""

MOVES = (
    *("insert",) * 4,
    *("many",) * 2,
    *("update",) * 8,
    *("key",) * 3,
    *("delete",) * 4,
    *("large",) * 3,
    *("begin",) * 6,
    *("commit",) * 5,
    *("rollback",) * 2,
    *("savepoint",) * 6,
    *("release",) * 2,
    *("back",) * 4,
    *("block",) * 3,
    *("tag",) * 3,
    *("truncate", "prepare", "copy"),
    *("add", "add default", "drop", "rename", "rename table", "identity", "retype"),
)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table to make: how it is keyed, and the types of its columns."""

    shape: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """What one session does next."""

    session: int
    kind: str
    table: int
    a: int
    b: int


@dataclass(frozen=True, slots=True)
class Workload:
    tables: tuple[TableSpec, ...]
    moves: tuple[Move, ...]


_tables = st.builds(
    TableSpec,
    st.sampled_from(SHAPES),
    st.lists(st.sampled_from(sorted(KEYS)), min_size=2, max_size=2).map(tuple),
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=4).map(tuple),
)
_moves = st.builds(
    Move,
    st.integers(0, SESSIONS - 1),
    st.sampled_from(MOVES),
    st.integers(0, 1),
    st.integers(0, 255),
    st.integers(0, 255),
)


def workloads(moves_max: int) -> st.SearchStrategy[Workload]:
    """Return the strategy of workloads."""
    return st.builds(
        Workload,
        st.lists(_tables, min_size=1, max_size=2).map(tuple),
        st.lists(_moves, min_size=moves_max // 2, max_size=moves_max).map(tuple),
    )


Rows = Counter[tuple[int, str]]
"""(OID, op) → how many rows."""


@dataclass(slots=True)
class Tally:
    """Rows that a session's transaction wrote, by savepoint; empty when none is open."""

    levels: list[Rows] = field(default_factory=list)
    lost: Rows = field(default_factory=Counter)


@dataclass(slots=True)
class Table:
    relation_id: int
    spec: TableSpec


class Player:
    """Plays a workload in a schema of its own."""

    def __init__(self, stage: Stage, schema: str, workload: Workload) -> None:
        self.outcomes: Counter[tuple[int, str, str]] = Counter()
        """(OID, op, outcome) → how many rows."""
        self._stage = stage
        self._schema = schema
        self._workload = workload
        self._tables: list[Table] = []
        self._serial = 0
        self._failed_blocks: set[int] = set()
        self._tallies = [Tally() for _ in range(SESSIONS)]
        self._sessions = [self._connect(number) for number in range(SESSIONS)]

    @property
    def uncounted(self) -> set[int]:
        """Tables of which it is not known how many rows were written.

        Rows that move between partitions are deleted and inserted; a block that fails does not say what it
        wrote before.
        """
        moved = {table.relation_id for table in self._tables if table.spec.shape == "partitioned"}
        return moved | self._failed_blocks

    @property
    def unseen(self) -> set[int]:
        """Tables whose updates and deletes the server does not publish."""
        return {table.relation_id for table in self._tables if table.spec.shape == "bare"}

    def set_up(self) -> None:
        """Make and track the tables."""
        connection = self._stage.control
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(self._schema)))
        connection.execute(sql.SQL("set search_path = {}").format(sql.Identifier(self._schema)))
        for number, spec in enumerate(self._workload.tables):
            for statement in _definition(f"t{number}", spec):
                connection.execute(statement)
            row = connection.execute("select %s::regclass::oid", [f"t{number}"]).fetchone()
            assert row is not None
            table = Table(row[0], spec)
            self._tables.append(table)
            # Rows to begin with: a move then more often finds one.
            shape = self._shape(connection, table)
            rows = shape.insert([(a, a) for a in range(5)])
            connection.execute(f"{rows} on conflict do nothing")
            tracking.track(connection, [f"t{number}"], rollbacks=True)

    def play(self) -> Played:
        """Make every move; look at the tables after each."""
        case = Case(self._schema, "", "")
        played = Played(case, [self._stage.look(case, "the setup")])
        for move in self._workload.moves:
            self._make(move)
            self._look(played, repr(move))
        for number in range(SESSIONS):
            self._end(number, commit=number % 2 == 0)
        self._look(played, "the end")
        return played

    def close(self) -> None:
        for connection in self._sessions:
            connection.close()
        self._stage.control.execute(
            sql.SQL("set client_min_messages = error; drop schema {} cascade").format(
                sql.Identifier(self._schema)
            )
        )

    def _look(self, played: Played, after: str) -> None:
        with contextlib.suppress(psycopg.errors.LockNotAvailable):
            played.checkpoints.append(self._stage.look(played.case, after))

    def _connect(self, number: int) -> psycopg.Connection[Any]:
        connection = self._stage.database.connect(application_name=f"player {number}", prepare_threshold=None)
        connection.execute(
            sql.SQL("set search_path = {}, public; set lock_timeout = '8ms'").format(
                sql.Identifier(self._schema)
            )
        )
        return connection

    def _make(self, move: Move) -> None:
        connection, tally = self._sessions[move.session], self._tallies[move.session]
        table = self._tables[move.table % len(self._tables)]
        verb = getattr(self, f"_{move.kind.replace(' ', '_')}")
        try:
            verb(connection, move, table)
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            if len(tally.levels) > 1:
                connection.execute(f"rollback to s{len(tally.levels) - 1}")
                tally.lost += tally.levels[-1]
                tally.levels[-1] = Counter()
            elif tally.levels:
                self._end(move.session, commit=False)

    def _write(self, move: Move, table: Table, op: str, statement: str) -> None:
        rows = self._sessions[move.session].execute(statement).rowcount
        self._count(move.session, table, op, rows)

    def _count(self, session: int, table: Table, op: str, rows: int) -> None:
        tally = self._tallies[session]
        if tally.levels:
            tally.levels[-1][table.relation_id, op] += rows
        else:
            self.outcomes[table.relation_id, op, "committed"] += rows

    def _end(self, session: int, *, commit: bool, prepared: bool = False) -> None:
        connection, tally = self._sessions[session], self._tallies[session]
        if not tally.levels:
            return
        verb = "commit" if commit else "rollback"
        try:
            if prepared:
                self._serial += 1
                connection.execute(f"prepare transaction '{self._schema} {self._serial}'")
                connection.execute(f"{verb} prepared '{self._schema} {self._serial}'")
            else:
                connection.execute(verb)
        except psycopg.Error:
            connection.execute("rollback")
            commit = False
        kept = sum(tally.levels, Counter())
        for rows, outcome in (
            (kept, "committed" if commit else "rolled_back"),
            (tally.lost, "savepoint_rolled_back" if commit else "rolled_back"),
        ):
            for (relation_id, op), count in rows.items():
                self.outcomes[relation_id, op, outcome] += count
        self._tallies[session] = Tally()

    # What the moves mean.

    def _insert(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        shape = self._shape(connection, table)
        self._write(move, table, "insert", shape.insert([(move.a, move.b)]))

    def _many(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        shape = self._shape(connection, table)
        rows = [(move.a + number, move.b + number) for number in range(4)]
        extra = " on conflict do nothing" if shape.key else ""
        self._write(move, table, "insert", shape.insert(rows) + extra)

    def _copy(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        shape = self._shape(connection, table)
        if not shape.columns:
            return
        query = shape.select(move.a, move.b)
        with connection.cursor() as cursor:
            with cursor.copy(f"copy ({query}) to stdout") as copy:
                lines = [bytes(line) for line in copy]
            with cursor.copy(f"copy {shape.place} ({shape.listed}) from stdin") as into:
                for line in lines:
                    into.write(line)
            self._count(move.session, table, "insert", cursor.rowcount)

    def _update(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        shape = self._shape(connection, table)
        if shape.columns:
            self._write(move, table, "update", shape.update(move.a, move.b))

    def _large(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        shape = self._shape(connection, table)
        texts = [name for name, kind in shape.columns if kind == "text" and name not in shape.key]
        if not texts:
            return
        value = f"(select string_agg(md5(i::text || {move.b}), '\"') from generate_series(1, 300) i)"
        self._write(
            move,
            table,
            "update",
            f"update {shape.place} set {_quoted(texts[0])} = {value} where {shape.where(move.a)}",
        )

    def _key(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        shape = self._shape(connection, table)
        if shape.key:
            self._write(move, table, "update", shape.rekey(move.a, move.b))

    def _delete(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        shape = self._shape(connection, table)
        self._write(move, table, "delete", f"delete from {shape.place} where {shape.where(move.a)}")

    def _truncate(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        shape = self._shape(connection, table)
        connection.execute(f"truncate {shape.place}")
        self._count(move.session, table, "truncate", 1)

    def _block(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        shape = self._shape(connection, table)
        if not shape.columns:
            return
        first = (
            shape.update(move.a, move.b)
            if move.a % 2
            else f"delete from {shape.place} where {shape.where(move.a)}"
        )
        second = shape.update(move.b, move.a)
        block = f"""do $do$ declare a int := 0; b int := 0; begin
            begin {first}; get diagnostics a = row_count; raise exception 'no';
            exception when raise_exception then {second}; get diagnostics b = row_count; end;
            perform set_config('oracle.rows', a || ' ' || b, false); end $do$"""
        try:
            connection.execute(block)
        except psycopg.Error:
            self._failed_blocks.add(table.relation_id)
            raise
        row = connection.execute("select current_setting('oracle.rows')").fetchone()
        assert row is not None
        gone, kept = (int(part) for part in row[0].split())
        tally, lost = self._tallies[move.session], (table.relation_id, "update" if move.a % 2 else "delete")
        if tally.levels:
            tally.lost[lost] += gone
        else:
            self.outcomes[*lost, "savepoint_rolled_back"] += gone
        self._count(move.session, table, "update", kept)

    def _begin(self, connection: psycopg.Connection[Any], move: Move, _: Table) -> None:
        if not self._tallies[move.session].levels:
            connection.execute("begin")
            self._tallies[move.session].levels.append(Counter())

    def _commit(self, _: object, move: Move, __: Table) -> None:
        self._end(move.session, commit=True)

    def _rollback(self, _: object, move: Move, __: Table) -> None:
        self._end(move.session, commit=False)

    def _prepare(self, _: object, move: Move, __: Table) -> None:
        self._end(move.session, commit=move.a % 3 > 0, prepared=True)

    def _savepoint(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        tally = self._tallies[move.session]
        self._begin(connection, move, table)
        if len(tally.levels) <= DEPTH_MAX:
            connection.execute(f"savepoint s{len(tally.levels)}")
            tally.levels.append(Counter())

    def _release(self, connection: psycopg.Connection[Any], move: Move, _: Table) -> None:
        tally = self._tallies[move.session]
        if len(tally.levels) > 1:
            connection.execute(f"release s{len(tally.levels) - 1}")
            inner = tally.levels.pop()
            tally.levels[-1] += inner

    def _back(self, connection: psycopg.Connection[Any], move: Move, _: Table) -> None:
        tally = self._tallies[move.session]
        depth = len(tally.levels) - 1
        if depth < 1:
            return
        target = 1 + move.a % depth
        connection.execute(f"rollback to s{target}")
        while len(tally.levels) > target:
            tally.lost += tally.levels.pop()
        tally.levels.append(Counter())

    def _tag(self, connection: psycopg.Connection[Any], move: Move, _: Table) -> None:
        local = bool(self._tallies[move.session].levels)
        connection.execute(
            "select set_config('flux.request_id', %s, %s), set_config('flux.actor', %s, %s)",
            [f"r{move.a % 5}" if move.a % 5 else "", local, "ann" if move.b % 2 else "", local],
        )

    def _add(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        self._alter(connection, table, f"add column n{self._fresh()} {KINDS[move.a % len(KINDS)]}")

    def _add_default(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        kind = KINDS[move.a % len(KINDS)]
        value = VALUES[kind][move.b % len(VALUES[kind])]
        if kind == "char(5)" or "decode" in value:
            value = "null"
        self._alter(connection, table, f"add column d{self._fresh()} {kind} default {value}")

    def _drop(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        if name := self._shape(connection, table).free(move.a):
            self._alter(connection, table, f"drop column {_quoted(name)}")

    def _rename(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        columns = self._shape(connection, table).columns
        if columns:
            name = columns[move.a % len(columns)][0]
            self._alter(connection, table, f'rename column {_quoted(name)} to "R.{self._fresh()}"')

    def _rename_table(self, connection: psycopg.Connection[Any], _: Move, table: Table) -> None:
        self._alter(connection, table, f'rename to "T {self._fresh()}"')

    def _identity(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        if table.spec.shape in ("single", "composite", "full keyed"):
            self._alter(connection, table, f"replica identity {'full' if move.a % 2 else 'default'}")

    def _retype(self, connection: psycopg.Connection[Any], move: Move, table: Table) -> None:
        shape = self._shape(connection, table)
        names = [name for name, kind in shape.columns if kind == "integer" and name not in shape.key]
        if names:
            name = _quoted(names[move.a % len(names)])
            self._alter(connection, table, f"alter column {name} type text using {name}::text")

    def _fresh(self) -> int:
        self._serial += 1
        return self._serial

    def _alter(self, connection: psycopg.Connection[Any], table: Table, what: str) -> None:
        place = self._shape(connection, table).place
        connection.execute(f"alter table {place} {what}")

    def _shape(self, connection: psycopg.Connection[Any], table: Table) -> Shape:
        """Return the table as this session sees it now."""
        row = connection.execute(
            """select format('%%I.%%I', n.nspname, c.relname),
                   (select coalesce(json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod))
                    order by a.attnum), '[]') from pg_attribute a
                    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
                   (select coalesce(json_agg(a.attname order by a.attnum), '[]') from pg_attribute a
                    join pg_index i on i.indrelid = c.oid and i.indisunique and a.attnum = any (i.indkey)
                    where a.attrelid = c.oid)
               from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = %s""",
            [table.relation_id],
        ).fetchone()
        assert row is not None
        return Shape(row[0], tuple((name, kind) for name, kind in row[1]), tuple(row[2]))


@dataclass(frozen=True, slots=True)
class Shape:
    """A table as a session sees it, and statements for it."""

    place: str
    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]

    @property
    def listed(self) -> str:
        return ", ".join(_quoted(name) for name, _ in self.columns)

    def free(self, number: int) -> str | None:
        """Return a column outside of the key."""
        names = [name for name, _ in self.columns if name not in self.key]
        return names[number % len(names)] if names else None

    def insert(self, rows: list[tuple[int, int]]) -> str:
        if not self.columns:
            return f"insert into {self.place} default values"
        values = ", ".join(
            "(" + ", ".join(self._value(name, kind, a, b) for name, kind in self.columns) + ")"
            for a, b in rows
        )
        return f"insert into {self.place} ({self.listed}) values {values}"

    def select(self, a: int, b: int) -> str:
        """Return a query for one row as `insert` would make it; the table has columns."""
        return "select " + ", ".join(
            f"{self._value(name, kind, a, b)}::{kind}" for name, kind in self.columns
        )

    def update(self, a: int, b: int) -> str:
        names = [(name, kind) for name, kind in self.columns if name not in self.key] or list(self.columns)
        chosen = {names[b % len(names)], names[(b // 7) % len(names)]}
        listed = ", ".join(
            f"{_quoted(name)} = {self._value(name, kind, a, b)}" for name, kind in sorted(chosen)
        )
        return f"update {self.place} set {listed} where {self.where(a)}"

    def rekey(self, a: int, b: int) -> str:
        kinds = dict(self.columns)
        listed = ", ".join(f"{_quoted(name)} = {_key_value(kinds[name], b)}" for name in self.key[-1:])
        return f"update {self.place} set {listed} where {self.where(a | 1)}"

    def where(self, a: int) -> str:
        """Return a condition: one key; for even numbers at times every row."""
        if a % 16 == 0:
            return "true"
        name, kind = next(
            ((n, k) for n, k in self.columns if n in self.key), self.columns[0] if self.columns else ("", "")
        )
        if not name:
            return "true"
        if not self.key:
            return f"{_quoted(name)}::text is not distinct from {self._value(name, kind, a, a)}::text"
        return f"{_quoted(name)} = {_key_value(kind, a)}"

    def _value(self, name: str, kind: str, a: int, b: int) -> str:
        if name in self.key:
            # The second of two key columns varies with the other number.
            return _key_value(kind, a if name == self.key[0] else a // 8)
        pool = VALUES.get(_base(kind), ("null",))
        return pool[(a + b) % len(pool)]


def _key_value(kind: str, number: int) -> str:
    pool = KEYS[_base(kind)]
    return pool[number % len(pool)]


def _base(kind: str) -> str:
    """Return a type as the pools name it."""
    names = {"timestamp with time zone": "timestamptz", "character(5)": "char(5)"}
    return names.get(kind, kind)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _definition(name: str, spec: TableSpec) -> list[str]:
    """Return the statements that make a table."""
    columns = [f"c{number} {kind}" for number, kind in enumerate(spec.columns)]
    one, two = (f"k{number} {kind} not null" for number, kind in enumerate(spec.keys))
    if spec.shape == "single":
        return [f"create table {name} ({one} primary key, {', '.join(columns)})"]
    if spec.shape == "composite":
        return [f"create table {name} ({', '.join(columns)}, {one}, {two}, primary key (k1, k0))"]
    if spec.shape == "index":
        return [
            f"create table {name} ({columns[0]}, {one}, {', '.join([*columns[1:], two])})",
            f"create unique index on {name} (k0, k1)",
            f"alter table {name} replica identity using index {name}_k0_k1_idx",
        ]
    if spec.shape == "partitioned":
        return [
            f"create table {name} ({one} primary key, {', '.join(columns)}) partition by hash (k0)",
            f"create table {name}_0 partition of {name} for values with (modulus 2, remainder 0)",
            f"create table {name}_1 partition of {name} for values with (modulus 2, remainder 1)",
        ]
    if spec.shape == "full keyed":
        return [
            f"create table {name} ({one} primary key, {', '.join(columns)})",
            f"alter table {name} replica identity full",
        ]
    made = [f"create table {name} ({', '.join(columns)})"]
    return made if spec.shape == "bare" else [*made, f"alter table {name} replica identity full"]
