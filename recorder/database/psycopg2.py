"""psycopg2; so SQLAlchemy's and Django's connections over it.

`psycopg2.connect` is given connection and cursor classes below the ones asked for. The tag is put before the
text of the write: one simple query, one transaction in autocommit mode as well, and psycopg2 shows the result
of the last statement only. Where it cannot be put before:

- `copy_from` and `callproc`: the tag is a statement of its own, one round trip more; untagged in
  autocommit mode;
- in autocommit mode `call`, and a `do` with a commit in it, go untagged: nothing may be before what
  commits inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from types import ModuleType
from typing import Any

from flux.recorder import tag
from flux.recorder.ambient import Tag
from flux.recorder.database.step import Connections, Step, first_of
from flux.recorder.fault import failing_open
from flux.recorder.patches import Patches

_connections = Connections()


def patch(patches: Patches, library: ModuleType) -> None:
    """Hook `psycopg2.connect`."""
    original = library.connect

    @wraps(original)
    def connect(
        dsn: Any = None, connection_factory: Any = None, cursor_factory: Any = None, **named: Any
    ) -> Any:
        factory = connection_factory
        with failing_open("psycopg2's connections"):
            base = connection_factory or library.extensions.connection
            # A function as factory makes connections that we cannot reach into.
            factory = _connection_class(base) if isinstance(base, type) else connection_factory
        return original(dsn, connection_factory=factory, cursor_factory=cursor_factory, **named)

    patches.replace(library, "connect", connect)


@cache
def _connection_class(base: Any) -> Any:
    """Return the subclass of a connection class whose cursors are ours."""

    def cursor(self: Any, name: Any = None, cursor_factory: Any = None, **named: Any) -> Any:
        wanted = cursor_factory
        if name is None:
            with failing_open("psycopg2's cursors"):
                wanted = cursor_factory or self.cursor_factory or _plain_cursor()
                wanted = _cursor_class(wanted) if isinstance(wanted, type) else cursor_factory
        if wanted is not None:
            named["cursor_factory"] = wanted
        return base.cursor(self, name, **named) if name is not None else base.cursor(self, **named)

    return type(base.__name__, (base,), {"cursor": cursor, "__module__": base.__module__})


def _plain_cursor() -> Any:
    from psycopg2 import extensions

    return extensions.cursor


@cache
def _cursor_class(base: Any) -> Any:
    """Return the subclass of a cursor class that tags and records."""
    if getattr(base, "_flux", False):
        return base
    members: dict[str, Any] = {"_flux": True, "_flux_prefix": b"", "__module__": base.__module__}
    members["execute"] = _make_execute(base)
    members["executemany"] = _make_executemany(base)
    members["copy_expert"] = _make_copy_expert(base)
    for name in ("copy_from", "callproc"):
        members[name] = _make_with_round_trip(base, name)
    members["query"] = property(_query_of(base))
    return type(base.__name__, (base,), members)


def _query_of(base: Any) -> Callable[[Any], Any]:
    def query(cursor: Any) -> Any:
        """Return the text sent last, without the tag before it."""
        sent = base.query.__get__(cursor)
        return sent.removeprefix(cursor._flux_prefix) if isinstance(sent, bytes) else sent

    return query


def _make_execute(base: Any) -> Any:
    @wraps(base.execute)
    def execute(cursor: Any, query: Any, vars: Any = None) -> Any:  # noqa: A002 (psycopg2's name)
        step = _begin(cursor, query, vars)
        if step is None:
            return base.execute(cursor, query, vars)
        with _finishing(step, cursor):
            merged = None
            if step.tag is not None:
                with failing_open("the tag of a psycopg2 connection"):
                    prefix = _prefix(base, cursor, step.tag)
                    merged = prefix + _merged(base, cursor, query, vars)
                    cursor._flux_prefix = prefix
            if merged is not None:
                return base.execute(cursor, merged)
            return base.execute(cursor, query, vars)

    return execute


def _make_executemany(base: Any) -> Any:
    @wraps(base.executemany)
    def executemany(cursor: Any, query: Any, vars_list: Any) -> Any:
        first, number = first_of(vars_list)
        step = _begin(cursor, query, first, number)
        if step is None:
            return base.executemany(cursor, query, vars_list)
        with _finishing(step, cursor):
            tagged = query
            if step.tag is not None:
                with failing_open("the tag of a psycopg2 connection"):
                    # Before each of them: in autocommit mode each is a transaction.
                    prefix = _prefix(base, cursor, step.tag)
                    cursor._flux_prefix = prefix
                    escaped = prefix.replace(b"%", b"%%")
                    tagged = escaped + step.text.encode(_encoding(cursor), "replace")
            return base.executemany(cursor, tagged, vars_list)

    return executemany


def _make_copy_expert(base: Any) -> Any:
    @wraps(base.copy_expert)
    def copy_expert(cursor: Any, sql: Any, file: Any, *sizes: Any, **named: Any) -> Any:
        step = _begin(cursor, sql, None)
        if step is None:
            return base.copy_expert(cursor, sql, file, *sizes, **named)
        with _finishing(step, cursor):
            tagged = sql
            if step.tag is not None:
                with failing_open("the tag of a psycopg2 connection"):
                    prefix = _prefix(base, cursor, step.tag)
                    tagged = prefix + step.text.encode(_encoding(cursor))
                    cursor._flux_prefix = prefix
            return base.copy_expert(cursor, tagged, file, *sizes, **named)

    return copy_expert


def _make_with_round_trip(base: Any, name: str) -> Any:
    original = getattr(base, name)

    @wraps(original)
    def call(cursor: Any, *arguments: Any, **named: Any) -> Any:
        text = "copy from" if name == "copy_from" else "call"
        step = _begin(cursor, text, None)
        if step is None:
            return original(cursor, *arguments, **named)
        step.exchange = None
        with _finishing(step, cursor):
            if step.tag is not None and cursor.connection.autocommit and not _status(cursor):
                step.untagged()
            elif step.tag is not None:
                with failing_open("the tag of a psycopg2 connection"):
                    base.execute(cursor, _prefix(base, cursor, step.tag))
            return original(cursor, *arguments, **named)

    return call


def _begin(cursor: Any, query: Any, parameters: Any, batch: int | None = None) -> Step | None:
    """Return the statement's step; None when it is nobody's."""
    cursor._flux_prefix = b""
    with failing_open("a statement's beginning"):
        connection = cursor.connection
        status = _status(cursor)
        step = _connections.step(
            connection,
            _text(query, cursor),
            parameters,
            in_transaction=status != 0,
            usable=status != 3,
            database=lambda: str(connection.info.dbname),
            batch=batch,
        )
        if step is not None and step.statement.alone and status == 0 and connection.autocommit and step.tag:
            step.untagged()
        return step
    return None


@contextmanager
def _finishing(step: Step, cursor: Any) -> Iterator[None]:
    """Take note of how the block ends; its exception goes on."""
    try:
        yield
    except BaseException as error:
        step.finish(None, error)
        raise
    step.finish(cursor.rowcount, None)


def _status(cursor: Any) -> int:
    """Return libpq's status of the transaction: 0 idle, 2 open, 3 failed."""
    return int(cursor.connection.info.transaction_status)


def _encoding(cursor: Any) -> str:
    from psycopg2.extensions import encodings

    return str(encodings.get(cursor.connection.encoding, "utf-8"))


def _prefix(base: Any, cursor: Any, tag_: Tag) -> bytes:
    """Return the statement that sets the tag, its values quoted by psycopg2, and a semicolon."""
    template = tag.statement().replace("$1", "%s").replace("$2", "%s").replace("$3", "%s")
    return bytes(base.mogrify(cursor, template, tag_)) + b"; "


def _merged(base: Any, cursor: Any, query: Any, parameters: Any) -> bytes:
    """Return the statement with its parameters in place, as psycopg2 would send it."""
    if parameters is None and isinstance(query, bytes):
        return query
    return bytes(base.mogrify(cursor, query, parameters))


def _text(query: Any, cursor: Any) -> str:
    """Return a query's text: str, bytes, or `psycopg2.sql`."""
    if isinstance(query, str):
        return query
    if isinstance(query, bytes):
        return query.decode("utf-8", "replace")
    return str(query.as_string(cursor))
