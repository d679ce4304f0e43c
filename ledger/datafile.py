"""Rows of a batch as a Parquet file, written by Arrow; `commit` or DuckLake then takes the file in.

DuckDB could write it as well, for several times the processor's time: reading an Arrow MAP it looks for keys
that occur twice, value by value (DuckDB 1.5.5; decision 0007).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from flux.model.batch import CHANGES, CONTEXTS, TEXT, TRANSACTIONS
from flux.model.request import EXCHANGES, REQUESTS, SPANS

GROUP_ROWS = 20_480
"""Rows of a row group, as `sql/ledger/020_options.sql` has it for the files that DuckDB writes."""

_SOURCE = pa.field("source", TEXT)
SCHEMAS = {
    "changes": pa.schema([_SOURCE, *CHANGES]),
    "contexts": pa.schema([_SOURCE, *CONTEXTS]),
    "transactions": pa.schema([_SOURCE, *TRANSACTIONS]),
    "requests": REQUESTS,
    "spans": SPANS,
    "exchanges": EXCHANGES,
}
"""The tables that are written so; the others have few rows, and questions of the writer read them."""

_REPEATING = (
    *("source", "relation", "op", "outcome", "request_id", "actor", "unchanged.list.element"),
    *("before.key_value.key", "after.key_value.key", "attributes.key_value.key"),
    *("application_name", "db_user", "client_addr", "statement", "request_ids.list.element", "origin"),
    *("service", "name", "kind", "method", "route", "error_type", "error_location", "code_version", "target"),
    *("request.headers.key_value.key", "response.headers.key_value.key", "events.list.element.name"),
)
"""Columns worth a dictionary."""

SOUGHT = {
    "requests": ("request_id", "trace_id"),
    "spans": ("request_id", "trace_id"),
    "exchanges": ("request_id",),
}
"""Columns of random values by which rows are sought: bounds do not help there, a Bloom filter does. In large
files, for it takes 32 KiB a row group."""

_BLOOM = {"ndv": GROUP_ROWS, "fpp": 0.01}

VERSION, VERSION_ID = "_ducklake_internal_snapshot_id", 2147483539
"""What DuckLake calls the column with the version of the catalog that brought a row, and its number."""

_FIELD_ID = "PARQUET:field_id"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the catalog keeps of one column of a file; None where the file does not say."""

    size: int
    """Bytes, compressed."""
    value_count: int | None
    null_count: int | None
    low: str | None
    """The least value as DuckDB prints it. None as well when there is none."""
    high: str | None


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that lies in the folder of its table and that no catalog names yet."""

    path: Path
    table: str
    row_count: int
    size: int
    """Bytes."""
    footer_size: int
    bounds: dict[str, Bounds]
    """By the column's path in the file (`after.key_value.key`)."""


def folder(data: Path, table: str) -> Path:
    """Return where the files of `table` lie under the data folder."""
    return data / "main" / table


def new_path(data: Path, table: str) -> Path:
    """Return where a new file of `table` under the data folder is to lie."""
    place = folder(data, table)
    place.mkdir(parents=True, exist_ok=True)
    return place / f"flux-{uuid.uuid4()}.parquet"


class Draft:
    """A new file of a table that takes rows until it is finished. Not thread-safe."""

    def __init__(self, path: Path, table: str, source: str, ids: Mapping[str, int]) -> None:
        """Begin the file at `path` for rows that `source` brings.

        `ids` are the catalog's numbers of the table's columns by their paths.
        """
        self.path = path
        self._table = table
        self._source = pa.scalar(source)
        self._schema = SCHEMAS[table]
        self._open = ExitStack()
        self._writer = self._open.enter_context(writing(path, self._schema, ids))

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size

    def add(self, rows: pa.Table) -> None:
        """Write `rows`. Raises `OSError`; then the file can only be abandoned."""
        for first in range(0, rows.num_rows, GROUP_ROWS):
            group = rows.slice(first, GROUP_ROWS)
            if _SOURCE.name in self._schema.names:
                group = group.append_column(_SOURCE.name, pa.repeat(self._source, group.num_rows))
            self._writer.write_table(group.select(self._schema.names).cast(self._schema))

    def finish(self) -> DataFile:
        """End the file, which is not durable yet (`DataFiles.flush`). Raises `OSError`."""
        self._open.close()
        return _described(self.path, self._table, self._writer.writer.metadata)

    def abandon(self) -> None:
        """Leave nothing of it behind."""
        with suppress(OSError, pa.ArrowException):
            self._open.close()
        self.path.unlink(missing_ok=True)


def write(path: Path, table: str, rows: pa.Table, source: str, ids: Mapping[str, int]) -> DataFile:
    """Write `rows` as a whole `Draft`. Raises `OSError`, and leaves nothing behind then."""
    draft = Draft(path, table, source, ids)
    try:
        draft.add(rows)
        return draft.finish()
    except BaseException:
        draft.abandon()
        raise


@contextmanager
def writing(
    path: Path, schema: pa.Schema, ids: Mapping[str, int], sought: Iterable[str] = ()
) -> Iterator[parquet.ParquetWriter]:
    """Make a Parquet file in which DuckLake finds its columns; what is written together is a row group.

    `ids` are the catalog's numbers of the columns of `schema` by their paths; columns that are `sought` get
    Bloom filters. Leaves nothing behind when it fails.
    """
    try:
        # Not by its name: for that Arrow looks for file systems of other packages, each time.
        with pa.OSFile(str(path), "wb") as target:
            writer = parquet.ParquetWriter(
                target,
                _numbered(schema, ids),
                compression="zstd",
                compression_level=1,
                use_dictionary=[name for name in _REPEATING if name.partition(".")[0] in schema.names],
                # Of values nobody asks for bounds, and they would lie in the catalog beside the file.
                write_statistics=[each.name for each in schema if not pa.types.is_nested(each.type)],
                bloom_filter_options=dict.fromkeys(sought, _BLOOM),
                store_schema=False,
            )
            with writer:
                yield writer
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read(path: Path, table: str) -> DataFile:
    """Return what the catalog is to know of a Parquet file that lies in the folder of `table`."""
    return _described(path, table, parquet.read_metadata(path))


def _described(path: Path, table: str, footer: parquet.FileMetaData) -> DataFile:
    with path.open("rb") as written:
        # Every Parquet file ends with its footer's length and four letters.
        size = written.seek(0, os.SEEK_END)
        written.seek(size - 8)
        footer_size = int.from_bytes(written.read(4), "little")
    return DataFile(path, table, footer.num_rows, size, footer_size, bounds_of(footer))


def _numbered(schema: pa.Schema, ids: Mapping[str, int]) -> pa.Schema:
    """Return `schema` with the numbers by which DuckLake finds its columns."""

    def numbered(each: pa.Field, path: str) -> pa.Field:
        kind = each.type
        if pa.types.is_map(kind):
            within = f"{path}.key_value"
            kind = pa.map_(
                numbered(kind.key_field, f"{within}.key"), numbered(kind.item_field, f"{within}.value")
            )
        elif pa.types.is_list(kind):
            item = kind.value_field.with_name("element")
            kind = pa.list_(numbered(item, f"{path}.list.element"))
        elif pa.types.is_struct(kind):
            kind = pa.struct([numbered(field, f"{path}.{field.name}") for field in kind])
        return each.with_type(kind).with_metadata({_FIELD_ID: str(ids[path])})

    return pa.schema([numbered(each, each.name) for each in schema])


def bounds_of(footer: parquet.FileMetaData) -> dict[str, Bounds]:
    """Return each column's bounds over the row groups of a file."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    return {
        groups[0].column(number).path_in_schema: _of_column([group.column(number) for group in groups])
        for number in range(footer.num_columns)
    }


def _of_column(chunks: list[Any]) -> Bounds:
    size = sum(chunk.total_compressed_size for chunk in chunks)
    known = [chunk.statistics for chunk in chunks]
    if any(one is None or not one.has_null_count for one in known):
        return Bounds(size, None, None, None, None)
    nulls = sum(one.null_count for one in known)
    values = sum(chunk.num_values for chunk in chunks) - nulls
    filled = [one for one, chunk in zip(known, chunks, strict=True) if one.null_count < chunk.num_values]
    # Of a text of 4 KiB the file keeps no bounds.
    if not filled or not all(one.has_min_max for one in filled):
        return Bounds(size, values, nulls, None, None)
    low, high = min(one.min for one in filled), max(one.max for one in filled)
    return Bounds(size, values, nulls, text_of(low), text_of(high))


def text_of(value: int | str | datetime) -> str:
    """Return a value as DuckDB prints it."""
    if isinstance(value, datetime):
        whole, _, fraction = value.astimezone(UTC).isoformat(" ").removesuffix("+00:00").partition(".")
        return f"{whole}.{fraction.rstrip('0')}+00" if fraction else f"{whole}+00"
    return str(value)
