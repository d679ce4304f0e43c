"""DuckDB with the extensions a ledger needs, loaded from the installed packages.

Nothing is downloaded, nothing is copied to the home directory: the extension files lie inside the
wheels `duckdb-extension-*`, signed by DuckDB and checked when they are loaded. An engine is an
in-memory database; the ledger is attached to it as `flux`.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterable
from pathlib import Path

import duckdb

from flux import sql
from flux.model.errors import LedgerError

ATTACHED = "flux"
"""The name under which the SQL files of this package find the ledger."""
EXTENSIONS = ("ducklake", "sqlite_scanner")
CATALOG_BUSY_TIMEOUT_MS = 10_000
"""How long a statement waits for the catalog: a reader copying it holds the lock for milliseconds."""


def extension_file(name: str) -> Path | None:
    """Return the file of extension `name` in its installed package, None when there is none."""
    found = importlib.util.find_spec(f"duckdb_extension_{name}")
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        for file in sorted(Path(place).glob(f"extensions/v{duckdb.__version__}/*.duckdb_extension")):
            return file
    return None


def open_bare(*, threads: int | None = None, memory_max: str | None = None) -> duckdb.DuckDBPyConnection:
    """Return an in-memory DuckDB that loads nothing by itself and spills to the temporary folder."""
    engine = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            # The default spills into `.tmp` of whatever folder the user stands in.
            "temp_directory": str(Path(tempfile.gettempdir()) / "flux-spill"),
        },
    )
    engine.execute("set timezone = 'UTC'")
    if threads is not None:
        engine.execute("set threads = ?", [threads])
    if memory_max is not None:
        engine.execute("set memory_limit = ?", [memory_max])
    return engine


def open_engine(*, threads: int | None = None, memory_max: str | None = None) -> duckdb.DuckDBPyConnection:
    """Return such a DuckDB that can attach ledgers. Raises `LedgerError` without extensions."""
    engine = open_bare(threads=threads, memory_max=memory_max)
    for name in EXTENSIONS:
        file = extension_file(name)
        try:
            engine.load_extension(str(file) if file is not None else name)
        except duckdb.Error as error:
            engine.close()
            raise LedgerError(
                f"cannot load DuckDB's extension {name}",
                why=str(error).splitlines()[0],
                hint=f"pip install duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}",
            ) from error
    return engine


def literal(text: str) -> str:
    """Return `text` as an SQL string literal, for the statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def literals(texts: Iterable[str | Path]) -> str:
    """Return texts, or paths, as an SQL list of them."""
    return "[" + ", ".join(literal(str(text)) for text in texts) + "]"


def identifier(name: str) -> str:
    """Return `name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def attach(engine: duckdb.DuckDBPyConnection, catalog: Path, data: Path, *, read_only: bool) -> None:
    """Attach the ledger with this catalog file and data folder as `flux`, and use it.

    The data folder given here wins over the one the catalog remembers: ledgers can be moved, and
    a copy of a catalog can be read beside the original's files.
    """
    statement = sql.text("ledger/attach.sql").format(
        catalog=literal(f"ducklake:sqlite:{catalog}"),
        data=literal(f"{data}/"),
        mode="read_only" if read_only else "read_write",
        busy_timeout_ms=CATALOG_BUSY_TIMEOUT_MS,
    )
    engine.execute(statement)
