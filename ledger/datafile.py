"""Rows of a batch as a Parquet file, written by Arrow; DuckLake then takes the file in.

DuckDB could write it as well, for several times the processor's time: reading an Arrow MAP it looks for keys
that occur twice, value by value (DuckDB 1.5.5; decision 0007).
"""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from flux.model.batch import CHANGES, CONTEXTS, TRANSACTIONS

GROUP_ROWS = 20_480
"""Rows of a row group, as `sql/ledger/020_options.sql` has it for the files that DuckDB writes."""

SCHEMAS = {"changes": CHANGES, "contexts": CONTEXTS, "transactions": TRANSACTIONS}
"""The tables that are written so; the others have few rows, and questions of the writer read them."""

_REPEATING = (
    *("source", "relation", "op", "outcome", "request_id", "actor", "unchanged.list.element"),
    *("before.key_value.key", "after.key_value.key", "attributes.key_value.key"),
    *("application_name", "db_user", "client_addr", "statement", "request_ids.list.element", "origin"),
)
"""Columns worth a dictionary."""


def write(data: Path, table: str, rows: pa.Table, source: str) -> Path:
    """Write `rows`, which `source` brought, as a new file of `table` under the data folder; return it.

    It is not durable yet (`DataFiles.flush_new`), and no catalog names it. Raises `OSError`.
    """
    schema = pa.schema([pa.field("source", pa.string()), *SCHEMAS[table]])
    folder = data / "main" / table
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"flux-{uuid.uuid4()}.parquet"
    # Not by its name: for that Arrow looks for file systems of other packages, each time.
    with pa.OSFile(str(file), "wb") as target:
        writer = parquet.ParquetWriter(
            target,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in _REPEATING if name.partition(".")[0] in schema.names],
            # Of values nobody asks for bounds, and they would lie in the catalog beside the file.
            write_statistics=[each.name for each in schema if not pa.types.is_nested(each.type)],
            store_schema=False,
        )
        with writer:
            for first in range(0, rows.num_rows, GROUP_ROWS):
                group = rows.slice(first, GROUP_ROWS).select(SCHEMAS[table].names).cast(SCHEMAS[table])
                sources = pa.repeat(pa.scalar(source), group.num_rows)
                writer.write_table(group.add_column(0, "source", sources))
    return file
