"""Markers: texts that must not be found in a ledger, and the search for them in every byte of it."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet


@dataclass
class Markers:
    """Makes markers, and remembers where each was planted."""

    planted: dict[str, str] = field(default_factory=dict)
    """The part of a marker that is sought → where it was planted."""
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def text(self, where: str) -> str:
        """Return a marker that a rule by column, header or path has to redact. Its end may stay."""
        number = next(self._count)
        sought = f"mKr{number:03d}zQxWv"
        self.planted[sought] = where
        return f"{sought}-tail"

    def card(self, where: str) -> str:
        """Return a marker that only a rule by pattern can know: 16 digits from 4."""
        sought = f"4{next(self._count):03d}55667788{'9912'}"
        self.planted[sought] = where
        return sought

    def found(self, content: bytes) -> dict[str, str]:
        """Return the markers in `content` with where they were planted."""
        return {marker: where for marker, where in self.planted.items() if marker.encode() in content}


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file below `folder` with its bytes, and what they hold once unpacked."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name = str(path.relative_to(folder))
        raw = path.read_bytes()
        yield name, raw
        if raw[:4] == b"PAR1":
            yield f"{name} (unpacked)", "\n".join(_texts_of(parquet.read_table(path))).encode()
            yield f"{name} (footer)", str(parquet.read_metadata(path).to_dict()).encode()
        elif raw[:15] == b"SQLite format 3":
            yield f"{name} (tables)", "\n".join(_rows(path)).encode()


def spilled(folder: Path) -> bytes:
    """Return what this process has in open files without a name below `folder`."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
            if target.endswith("(deleted)") and target.startswith(str(folder)):
                found.append(entry.read_bytes())
        except OSError:
            continue
    return b"".join(found)


def _rows(path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (table,) in tables:
            for row in connection.execute(f'select * from "{table}"'):
                yield repr(row)


def _texts_of(table: pa.Table) -> Iterator[str]:
    for column in table.columns:
        for value in column.to_pylist():
            yield from _texts(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from (name, *_texts(each))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
