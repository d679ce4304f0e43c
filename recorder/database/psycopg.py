"""psycopg 3, synchronous and asynchronous; so SQLAlchemy's and Django's connections over it.

When psycopg begins a transaction for the write, the tag goes with its `begin`, in one text. Else it goes in
front of the write in one pipeline (libpq 14 and later): both travel together, are in one transaction in
autocommit mode as well, and answer together. Where a pipeline cannot be:

- several statements in one text: the tag is put before the text, and its result is taken out again;
- `copy`, and `stream` of a write: the tag is a statement of its own, one round trip more; in autocommit mode
  a `copy` is given a transaction for that, a `stream` goes untagged;
- in autocommit mode `call`, and a `do` with a commit in it, go untagged: nothing may be before what
  commits inside.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import wraps
from types import ModuleType
from typing import Any

from flux.recorder import tag
from flux.recorder.ambient import Tag
from flux.recorder.database.step import Connections, Step, first_of
from flux.recorder.fault import failing_open, fault
from flux.recorder.patches import Patches
from flux.recorder.statement import examine
from flux.recorder.tag import Tagging

IDLE, ACTIVE, INERROR = 0, 1, 3
"""libpq's PGTransactionStatusType."""
COMMAND_OK, TUPLES_OK = 1, 2
"""libpq's ExecStatusType."""


def patch(patches: Patches, library: ModuleType) -> None:
    """Hook psycopg's cursors and connections."""
    driver = _Driver(library)
    for name in ("Cursor", "AsyncCursor"):
        cursor = getattr(library, name)
        asynchronous = name.startswith("Async")
        for method, make in (driver.asynchronous() if asynchronous else driver.synchronous()).items():
            patches.replace(cursor, method, wraps(getattr(cursor, method))(make(getattr(cursor, method))))
    # Every `begin`, `commit`, `rollback to` of psycopg itself goes through here.
    for owner in library.Connection.__mro__:
        if "_exec_command" in vars(owner):
            patches.replace(owner, "_exec_command", driver.exec_command(owner._exec_command))
            driver.begins = hasattr(getattr(library, "generators", None), "execute")
            break
    else:
        driver.remembers = False


class _Driver:
    """What the hooks share."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._connections = Connections()
        self._execute = library.Cursor.execute
        self._execute_async = library.AsyncCursor.execute
        self.begins = False
        """Whether psycopg's own `begin` may take the tag along."""
        self.remembers = True
        """Whether the ends of transactions are seen; else every write is tagged anew."""

    def synchronous(self) -> dict[str, Callable[[Any], Any]]:
        """Return what replaces each method of a cursor."""
        return {
            "execute": self._make_execute,
            "executemany": self._make_executemany,
            "copy": self._make_copy,
            "stream": self._make_stream,
        }

    def asynchronous(self) -> dict[str, Callable[[Any], Any]]:
        """Return what replaces each method of an asynchronous cursor."""
        return {
            "execute": self._make_execute_async,
            "executemany": self._make_executemany_async,
            "copy": self._make_copy_async,
            "stream": self._make_stream_async,
        }

    def exec_command(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return `_exec_command` that sets tags with `begin`, and forgets them when a transaction may end."""

        @wraps(original)
        def exec_command(connection: Any, command: Any, *arguments: Any, **named: Any) -> Any:
            try:
                tagging = self._connections.tagging(connection)
                if tagging is not None and tagging.with_begin is not None:
                    prefix = self._begun(connection, command, tagging)
                    if prefix is not None:
                        return self._exec_both(connection, prefix)
                if tagging is not None and tagging.known and examine(_text(command, connection)).controls:
                    tagging.forget()
            except Exception as error:  # noqa: BLE001 (the application goes on)
                fault("a transaction's command", error)
            return original(connection, command, *arguments, **named)

        return exec_command

    def _begun(self, connection: Any, command: Any, tagging: Tagging) -> bytes | None:
        """Return a `begin` with the tag behind it; None for another command."""
        tag_ = tagging.with_begin
        if tag_ is None or not isinstance(command, bytes) or not command.startswith(b"BEGIN"):
            return None
        if connection.pgconn.pipeline_status:
            return None  # a simple query cannot go out there
        both = command + b"; " + self._literal(tag_, connection).encode(connection.info.encoding)
        tagging.with_begin = None
        return both

    def _exec_both(self, connection: Any, commands: bytes) -> Any:
        """Send several statements as psycopg's `_exec_command` sends one; a generator, like it."""
        connection.pgconn.send_query(commands)
        results = yield from self._library.generators.execute(connection.pgconn)
        for result in results:
            if result.status not in {COMMAND_OK, TUPLES_OK}:
                raise self._library.errors.error_from_result(result, encoding=connection.info.encoding)
        return results[0]

    def _begin(self, cursor: Any, query: Any, parameters: Any, batch: int | None = None) -> Step | None:
        """Return the statement's step; None when it is nobody's."""
        try:
            connection = cursor.connection
            pgconn = connection.pgconn
            if not self.remembers:
                self._connections.forget(connection)
            status = pgconn.transaction_status
            # In a pipeline in autocommit mode a transaction ends with each sync, unseen.
            open_ = status != IDLE and not (status == ACTIVE and connection.autocommit)
            step = self._connections.step(
                connection,
                query if isinstance(query, str) else _text(query, connection),
                parameters,
                in_transaction=open_,
                usable=status != INERROR,
                database=lambda: str(connection.info.dbname),
                batch=batch,
            )
            alone = step is not None and step.tag is not None and step.statement.alone
            if step is not None and alone and status == IDLE and connection.autocommit:
                step.untagged()
        except Exception as error:  # noqa: BLE001 (the application goes on)
            fault("a statement's beginning", error)
            return None
        return step

    def _goes_with_begin(self, step: Step, cursor: Any) -> bool:
        """Have the tag travel with the `begin` that psycopg sends before this statement, if it does."""
        connection = cursor.connection
        pgconn = connection.pgconn
        if not self.begins or connection.autocommit or pgconn.transaction_status != IDLE:
            return False
        if pgconn.pipeline_status:
            return False
        step.tagging.with_begin = step.tag
        return True

    def _literal(self, tag_: Tag, connection: Any) -> str:
        """Return the statement that sets a tag, with its values in it."""
        text = tag.statement()
        for number, value in reversed(list(enumerate(tag_, 1))):
            # From the last on: a value may hold what looks like a placeholder.
            plain = value.isascii() and "'" not in value and "\\" not in value
            literal = f"'{value}'" if plain else self._library.sql.quote(value, connection)
            text = text.replace(f"${number}", literal, 1)
        return text

    def _prefixed(self, step: Step, cursor: Any, query: Any, parameters: Any) -> str | None:
        """Return the text with the tag before it, for several statements in one; else None."""
        if not step.statement.several or step.tag is None or cursor.connection.pgconn.pipeline_status:
            return None
        if not isinstance(query, str | bytes) and not hasattr(query, "as_string"):
            return None  # a template string, which holds its own parameters
        on_client = isinstance(cursor, (self._library.ClientCursor, self._library.AsyncClientCursor))
        if parameters is not None and not on_client:
            return None
        prefix = self._literal(step.tag, cursor.connection)
        if parameters is not None:
            prefix = prefix.replace("%", "%%")
        return f"{prefix}; {_text(query, cursor.connection)}"

    def _tag_cursor(self, cursor: Any) -> Any:
        """Return a cursor of our own, for statements with `$1`."""
        kind = "AsyncRawCursor" if isinstance(cursor, self._library.AsyncCursor) else "RawCursor"
        return getattr(self._library, kind)(cursor.connection)

    def _set(self, cursor: Any, tag_: Tag) -> None:
        self._execute(self._tag_cursor(cursor), tag.statement(), tag_, prepare=False)

    async def _set_async(self, cursor: Any, tag_: Tag) -> None:
        await self._execute_async(self._tag_cursor(cursor), tag.statement(), tag_, prepare=False)

    def _in_front(self, step: Step, cursor: Any, stack: ExitStack) -> None:
        """Have the tag travel in front of what runs inside `stack`."""
        if step.tag is not None:
            with failing_open("the tag of a psycopg connection"):
                stack.enter_context(cursor.connection.pipeline())
                self._set(cursor, step.tag)

    async def _in_front_async(self, step: Step, cursor: Any, stack: AsyncExitStack) -> None:
        if step.tag is not None:
            with failing_open("the tag of a psycopg connection"):
                await stack.enter_async_context(cursor.connection.pipeline())
                await self._set_async(cursor, step.tag)

    def _make_execute(self, original: Any) -> Any:
        def execute(cursor: Any, query: Any, params: Any = None, **options: Any) -> Any:
            step = self._begin(cursor, query, params)
            if step is None:
                return original(cursor, query, params, **options)
            if step.tag is None:
                try:
                    original(cursor, query, params, **options)
                except BaseException as error:
                    step.finish(None, error)
                    raise
                step.finish(cursor.rowcount, None)
                return cursor
            with _finishing(step, cursor):
                prefixed = None
                with failing_open("several statements"):
                    prefixed = self._prefixed(step, cursor, query, params)
                if prefixed is not None:
                    original(cursor, prefixed, params, **{**options, "prepare": False})
                    _drop_first_result(cursor)
                    return cursor
                with ExitStack() as stack:
                    if not self._goes_with_begin(step, cursor):
                        self._in_front(step, cursor, stack)
                    return original(cursor, query, params, **options)

        return execute

    def _make_execute_async(self, original: Any) -> Any:
        async def execute(cursor: Any, query: Any, params: Any = None, **options: Any) -> Any:
            step = self._begin(cursor, query, params)
            if step is None:
                return await original(cursor, query, params, **options)
            if step.tag is None:
                try:
                    await original(cursor, query, params, **options)
                except BaseException as error:
                    step.finish(None, error)
                    raise
                step.finish(cursor.rowcount, None)
                return cursor
            with _finishing(step, cursor):
                prefixed = None
                with failing_open("several statements"):
                    prefixed = self._prefixed(step, cursor, query, params)
                if prefixed is not None:
                    await original(cursor, prefixed, params, **{**options, "prepare": False})
                    _drop_first_result(cursor)
                    return cursor
                async with AsyncExitStack() as stack:
                    if not self._goes_with_begin(step, cursor):
                        await self._in_front_async(step, cursor, stack)
                    return await original(cursor, query, params, **options)

        return execute

    def _make_executemany(self, original: Any) -> Any:
        def executemany(cursor: Any, query: Any, params_seq: Any, **options: Any) -> None:
            first, number = first_of(params_seq)
            step = self._begin(cursor, query, first, number)
            if step is None:
                original(cursor, query, params_seq, **options)
                return
            with _finishing(step, cursor), ExitStack() as stack:
                self._in_front(step, cursor, stack)
                original(cursor, query, params_seq, **options)

        return executemany

    def _make_executemany_async(self, original: Any) -> Any:
        async def executemany(cursor: Any, query: Any, params_seq: Any, **options: Any) -> None:
            first, number = first_of(params_seq)
            step = self._begin(cursor, query, first, number)
            if step is None:
                await original(cursor, query, params_seq, **options)
                return
            with _finishing(step, cursor):
                async with AsyncExitStack() as stack:
                    await self._in_front_async(step, cursor, stack)
                    await original(cursor, query, params_seq, **options)

        return executemany

    def _make_copy(self, original: Any) -> Any:
        @contextmanager
        def copy(cursor: Any, statement: Any, params: Any = None, **options: Any) -> Iterator[Any]:
            step = self._begin(cursor, statement, params)
            if step is None:
                with original(cursor, statement, params, **options) as copying:
                    yield copying
                return
            with _finishing(step, cursor), ExitStack() as stack:
                if step.tag is not None:
                    with failing_open("the tag of a psycopg connection"):
                        if (
                            cursor.connection.autocommit
                            and cursor.connection.pgconn.transaction_status == IDLE
                        ):
                            stack.enter_context(cursor.connection.transaction())
                        self._set(cursor, step.tag)
                yield stack.enter_context(original(cursor, statement, params, **options))

        return copy

    def _make_copy_async(self, original: Any) -> Any:
        @asynccontextmanager
        async def copy(cursor: Any, statement: Any, params: Any = None, **options: Any) -> AsyncIterator[Any]:
            step = self._begin(cursor, statement, params)
            if step is None:
                async with original(cursor, statement, params, **options) as copying:
                    yield copying
                return
            with _finishing(step, cursor):
                async with AsyncExitStack() as stack:
                    if step.tag is not None:
                        with failing_open("the tag of a psycopg connection"):
                            connection = cursor.connection
                            if connection.autocommit and connection.pgconn.transaction_status == IDLE:
                                await stack.enter_async_context(connection.transaction())
                            await self._set_async(cursor, step.tag)
                    yield await stack.enter_async_context(original(cursor, statement, params, **options))

        return copy

    def _make_stream(self, original: Any) -> Any:
        def stream(cursor: Any, query: Any, params: Any = None, **options: Any) -> Iterator[Any]:
            step = self._begin(cursor, query, params)
            if step is None:
                yield from original(cursor, query, params, **options)
                return
            with _finishing(step, cursor):
                if step.tag is not None and _is_lost(cursor):
                    step.untagged()
                elif step.tag is not None:
                    with failing_open("the tag of a psycopg connection"):
                        self._set(cursor, step.tag)
                yield from original(cursor, query, params, **options)

        return stream

    def _make_stream_async(self, original: Any) -> Any:
        async def stream(cursor: Any, query: Any, params: Any = None, **options: Any) -> AsyncIterator[Any]:
            step = self._begin(cursor, query, params)
            if step is None:
                async for row in original(cursor, query, params, **options):
                    yield row
                return
            with _finishing(step, cursor):
                if step.tag is not None and _is_lost(cursor):
                    step.untagged()
                elif step.tag is not None:
                    with failing_open("the tag of a psycopg connection"):
                        await self._set_async(cursor, step.tag)
                async for row in original(cursor, query, params, **options):
                    yield row

        return stream


@contextmanager
def _finishing(step: Step, cursor: Any) -> Iterator[None]:
    """Take note of how the block ends; its exception goes on."""
    try:
        yield
    except BaseException as error:
        step.tagging.with_begin = None
        step.finish(None, error)
        raise
    if step.tagging.with_begin is not None:
        # psycopg began in a way that is not known here.
        step.tagging.with_begin = None
        step.untagged()
    step.finish(cursor.rowcount, None)


def _is_lost(cursor: Any) -> bool:
    """Whether a tag set now would be gone before the next statement."""
    return bool(cursor.connection.autocommit and cursor.connection.pgconn.transaction_status == IDLE)


def _drop_first_result(cursor: Any) -> None:
    """Take the tag's own result out of a cursor's."""
    with failing_open("the results of several statements"):
        if len(cursor._results) > 1:
            del cursor._results[0]
            cursor._select_current_result(0)


def _text(query: Any, connection: Any) -> str:
    """Return a query's text: str, bytes, `psycopg.sql`, or a template string."""
    if isinstance(query, str):
        return query
    if isinstance(query, bytes):
        return query.decode("utf-8", "replace")
    as_string = getattr(query, "as_string", None)
    if as_string is not None:
        return str(as_string(connection))
    return "".join(getattr(query, "strings", ()))
