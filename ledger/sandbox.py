"""A DuckDB that can read a ledger's data files and nothing else.

Three walls, each enough for what it is for: external access is off but for the data folder, so no
function reads or writes another file, loads, installs or attaches; the configuration is locked;
and only statements that read are taken, because within the folder COPY could still write.
"""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pyarrow as pa

from flux.ledger import engine
from flux.model.errors import UsageError

_EXPLAIN = re.compile(r"\s*explain\s+(?:analyze\s+|verbose\s+)*(?:\([^)]*\)\s*)?", re.IGNORECASE)
_READING = frozenset({duckdb.StatementType.SELECT})


def open_closed(data: Path) -> duckdb.DuckDBPyConnection:
    """Return an in-memory DuckDB that can read the files under `data` only."""
    lake = engine.open_bare()
    lake.execute("set parquet_metadata_cache = true")
    # The system keeps what was read of files; a second copy took 70 MiB and saved no processor time.
    lake.execute("set enable_external_file_cache = false")
    # `select * from name` must not find a Python variable of the caller.
    lake.execute("set python_enable_replacements = false")
    lake.execute("set allowed_directories = [?]", [f"{data}/"])
    lake.execute("set enable_external_access = false")
    lake.execute("set lock_configuration = true")
    return lake


def ask(lake: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    """Return the answer of the last of the reading statements in `query`.

    Raises `UsageError` when one of them does anything but read, or DuckDB finds fault with it.
    """
    try:
        statements = lake.extract_statements(query)
        if not statements:
            raise UsageError("an empty query", hint="try: select * from changes limit 10")
        for statement in statements:
            _require_reading(lake, statement)
        for statement in statements[:-1]:
            lake.execute(statement)
        return lake.execute(statements[-1]).to_arrow_table()
    except duckdb.Error as error:
        first, *rest = str(error).splitlines()
        raise UsageError(
            f"cannot answer: {first}", why=" ".join(line.strip() for line in rest if line.strip())
        ) from error


def _require_reading(lake: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    kind = statement.type
    if kind == duckdb.StatementType.EXPLAIN:
        # `explain analyze` runs what it explains.
        inner = _EXPLAIN.sub("", statement.query, count=1)
        explained = lake.extract_statements(inner)
        if len(explained) == 1 and explained[0].type in _READING:
            return
    if kind not in _READING:
        raise UsageError(
            f"the ledger is read-only: {str(kind).rsplit('.', 1)[-1].lower()} is not a question",
            hint="use select, with, from, describe, show, summarize or explain",
        )
