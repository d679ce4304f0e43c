"""Rows in the format that was asked for: table, json, jsonl, csv, parquet, arrow.

The bytes are the same on a terminal and in a pipe, colour apart, and no row is held back: limits
are the question's. Binary formats refuse to go to a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from flux.cli import console
from flux.cli.cell import cell_csv, cell_text, json_text, pad, plain
from flux.model.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    """For people: aligned, local times, long values shortened."""
    JSON = "json"
    """One document."""
    JSONL = "jsonl"
    """One JSON object a line."""
    CSV = "csv"
    """RFC 4180 with a header; NULL is an empty field, the empty string is `""`."""
    PARQUET = "parquet"
    ARROW = "arrow"
    """Arrow IPC stream."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an answer goes and how it looks."""

    format: Format
    zone: tzinfo
    output: Path | None = None
    """A file instead of stdout."""
    full: bool = False
    """Do not shorten values in a table."""

    @property
    def colour(self) -> bool:
        """Whether this answer is coloured."""
        return self.format is Format.TABLE and self.output is None and console.has_colour(sys.stdout)


@dataclass(frozen=True, slots=True)
class Rows:
    """A small answer: column names and rows of Python values."""

    columns: tuple[str, ...]
    records: Sequence[Sequence[Any]]


def write_rows(rows: Rows | pa.Table, target: Target) -> None:
    """Write `rows` in the target's format."""
    match target.format:
        case Format.TABLE:
            write_text(table_lines(rows, target), target)
        case Format.JSON:
            write_list(_named(rows), target)
        case Format.JSONL:
            write_text((json_text(record) + "\n" for record in _named(rows)), target)
        case Format.CSV:
            write_text(_csv_lines(rows), target)
        case _:
            write_columns(_arrow(rows), target)


def write_document(document: dict[str, Any], target: Target) -> None:
    """Write one JSON document."""
    write_text([json_text(document, indent=True) + "\n"], target)


def write_list(documents: Iterable[dict[str, Any]], target: Target) -> None:
    """Write a JSON array, one document after the other: a whole table need not be held at once."""
    write_text(_array(documents), target)


def _array(documents: Iterable[dict[str, Any]]) -> Iterator[str]:
    start = "["
    for document in documents:
        yield start + "\n  " + json_text(document, indent=True).replace("\n", "\n  ")
        start = ","
    yield "[]\n" if start == "[" else "\n]\n"


def write_text(lines: Iterable[str], target: Target) -> None:
    """Write `lines`, each with its line end, to the file or stdout."""
    if target.output is None:
        for line in lines:
            console.out(line)
        return
    with _file(target.output) as file:
        for line in lines:
            file.write(line.encode("utf-8", "backslashreplace"))


def write_columns(table: pa.Table, target: Target) -> None:
    """Write an Arrow table as Parquet or as an Arrow IPC stream."""
    import pyarrow as pa
    from pyarrow import parquet

    if target.output is None and sys.stdout.isatty():
        raise UsageError(
            f"{target.format} is not for a terminal",
            hint=f"send it to a file: -o answer.{target.format}, or into a pipe",
        )
    sink = pa.BufferOutputStream()
    if target.format is Format.PARQUET:
        parquet.write_table(table, sink, compression="zstd")
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    if target.output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(sink.getvalue())
        sys.stdout.buffer.flush()
        return
    with _file(target.output) as file:
        file.write(sink.getvalue())


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("wb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"cannot write {path}", why=error.strerror or type(error).__name__) from error


def table_lines(rows: Rows | pa.Table, target: Target) -> Iterator[str]:
    """Yield the lines of an aligned table: names, a rule, one line a row."""
    names, records = _columns_and_records(rows)
    if not names:
        return
    texts = [[cell_text(value, target.zone, full=target.full) for value in record] for record in records]
    numeric = [
        bool(records)
        and all(
            isinstance(record[index], (int, float)) or record[index] is None
            for record in records
            if not isinstance(record[index], bool)
        )
        and not any(isinstance(record[index], bool) for record in records)
        for index in range(len(names))
    ]
    headings = [console.escape(name) for name in names]
    yield from aligned([headings, *texts], numeric, colour=target.colour)


def aligned(lines: list[list[str]], right: Sequence[bool], *, colour: bool) -> Iterator[str]:
    """Yield a heading, a rule, and the other `lines` in columns two blanks apart."""
    from rich.cells import cell_len

    widths = [max(cell_len(line[index]) for line in lines) for index in range(len(right))]
    heading, *body = lines
    yield console.paint(_line(heading, widths, right), console.BOLD, colour=colour) + "\n"
    yield "  ".join("-" * width for width in widths) + "\n"
    for line in body:
        yield _line(line, widths, right) + "\n"


def _line(cells: list[str], widths: list[int], right: Sequence[bool]) -> str:
    padded = (pad(cell, width, right=side) for cell, width, side in zip(cells, widths, right, strict=True))
    return "  ".join(padded).rstrip(" ")


def _columns_and_records(rows: Rows | pa.Table) -> tuple[tuple[str, ...], list[Sequence[Any]]]:
    if isinstance(rows, Rows):
        return rows.columns, list(rows.records)
    return tuple(rows.column_names), [tuple(record) for record in _values(rows)]


def _values(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of an Arrow table as tuples, some thousand at a time; maps become dicts."""
    for batch in table.to_batches(max_chunksize=4096):
        columns = [column.to_pylist(maps_as_pydicts="lossy") for column in batch.columns]
        yield from zip(*columns, strict=True)


def _named(rows: Rows | pa.Table) -> Iterator[dict[str, Any]]:
    names = unique(rows.columns if isinstance(rows, Rows) else tuple(rows.column_names))
    records = rows.records if isinstance(rows, Rows) else _values(rows)
    for record in records:
        yield dict(zip(names, record, strict=True))


def unique(names: Sequence[str]) -> list[str]:
    """Return `names` with repeated ones numbered: no column of an answer may hide another."""
    taken: set[str] = set()
    found = []
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate)
        found.append(candidate)
    return found


def _csv_lines(rows: Rows | pa.Table) -> Iterator[str]:
    names = rows.columns if isinstance(rows, Rows) else tuple(rows.column_names)
    records = rows.records if isinstance(rows, Rows) else _values(rows)
    yield ",".join(cell_csv(name) for name in names) + "\n"
    for record in records:
        yield ",".join(cell_csv(value) for value in record) + "\n"


def _arrow(rows: Rows | pa.Table) -> pa.Table:
    import pyarrow as pa

    if not isinstance(rows, Rows):
        return rows.rename_columns(unique(rows.column_names))
    columns = list(zip(*rows.records, strict=True)) or [()] * len(rows.columns)
    arrays = []
    for values in columns:
        kinds = {type(value) for value in values if value is not None}
        if kinds <= {int, float, bool} and len(kinds) == 1:
            arrays.append(pa.array(values))
        else:
            arrays.append(pa.array([None if v is None else str(plain(v)) for v in values], pa.string()))
    return pa.Table.from_arrays(arrays, names=unique(rows.columns))
