"""Rows that wait: the newest in memory, the rest in files without a name, which end with the process.

Nothing here has to survive: what waits is still in the source's log, and is read again after a restart. Where
values are redacted before they are stored these rows are not redacted yet: their files are encrypted then
(AES-256-GCM), with a key that is in this process's memory and nowhere else.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from flux.decoder.frames import Ints
from flux.model.errors import LedgerError

MEMORY_BYTES_MAX = 32 << 20
"""What waits in memory."""
TABLES_MAX = 64
"""Tables kept apart in memory before they are joined: joining copies, walking many of them is slow."""
PIECE_ROWS = 65_536
PIECE_BYTES = 2 << 20
"""What is read, and handed on, at once, by the mean size of a row: there may be millions, and large ones."""
_NONCE_BYTES = 12

Piece = Callable[[], tuple[Ints, pa.Table]]
"""Loads rows of some runs; of each row, the place of its run."""


class _Stored(NamedTuple):
    """Rows `first` to `end`."""

    first: int
    end: int
    load: Callable[[], pa.Table]
    size: int
    """Bytes in memory, once loaded."""
    in_memory: bool


class Rows:
    """Rows of one schema, numbered as they come. Those who wait for them name them as runs of numbers."""

    def __init__(self, folder: Path | None, *, conceal: bool = False) -> None:
        """`folder` is where files go; None for the system's temporary one. `conceal`: encrypted."""
        self._folder = folder
        self._cipher = _Cipher() if conceal else None
        self._stored: list[_Stored] = []

    def append(self, table: pa.Table) -> int:
        """Take in rows; return the number of the first."""
        first = self._stored[-1].end if self._stored else 0
        self._stored.append(_in_memory(first, table))
        return first

    def keep(self, first: Ints, size: Ints) -> Ints:
        """Forget all but these runs, in ascending order; return the numbers that they begin with now.

        Raises `LedgerError` when the disk does not take what memory cannot hold.
        """
        self._stored = _used(self._stored, first, size)
        memory = [each for each in self._stored if each.in_memory]
        is_large = sum(each.size for each in memory) > MEMORY_BYTES_MAX
        if len(memory) <= TABLES_MAX and not is_large:
            return first
        begin = memory[0].first
        mine = first >= begin
        table = _gather(memory, _numbers(first[mine], size[mine])).combine_chunks()
        del self._stored[-len(memory) :]
        # What is left of much may be little. Half of the bound: the next batch must not do this again.
        if table.nbytes > MEMORY_BYTES_MAX // 2:
            self._stored += self._written(begin, table)
        else:
            self._stored.append(_in_memory(begin, table))
        kept = first.copy()
        kept[mine] = begin + np.cumsum(size[mine]) - size[mine]
        return kept

    def pieces(self, first: Ints, size: Ints) -> list[Piece]:
        """Return the rows of these runs, which ascend, as pieces to be loaded one by one.

        What is kept meanwhile makes no difference to them.
        """
        stored, ends = _used(self._stored, first, size), np.cumsum(size)
        if not stored:
            return []

        def piece(begin: int, end: int) -> tuple[Ints, pa.Table]:
            place = np.arange(begin, end)
            run = np.searchsorted(ends, place, side="right")
            return run, _gather(stored, (first + size - ends)[run] + place)

        bounds = _bounds(stored, first, size)
        return [partial(piece, *pair) for pair in itertools.pairwise(bounds)]

    def _written(self, first: int, table: pa.Table) -> Iterator[_Stored]:
        """Move rows to a file of their own."""
        rows = int(PIECE_BYTES / max(table.nbytes, 1) * table.num_rows)
        batches = table.to_batches(max_chunksize=max(1, min(PIECE_ROWS, rows)))
        try:
            file = _File(self._folder, self._cipher)
            places = [file.write(batch) for batch in batches]
            file.flush()
        except OSError as error:
            raise LedgerError(
                f"cannot set aside the open attempts in {self._folder or tempfile.gettempdir()}",
                why=os.strerror(error.errno) if error.errno else type(error).__name__,
                hint="make room there; nothing of this batch was stored, and it is read again",
            ) from error
        for batch, place in zip(batches, places, strict=True):
            load = partial(file.read, *place)
            yield _Stored(first, first + batch.num_rows, load, batch.nbytes, in_memory=False)
            first += batch.num_rows


def _in_memory(first: int, table: pa.Table) -> _Stored:
    return _Stored(first, first + table.num_rows, lambda: table, table.nbytes, in_memory=True)


class _Cipher:
    """Encrypts what is set aside, with a key that ends with the process. A nonce is used once: it counts."""

    def __init__(self) -> None:
        # Imported here: only who redacts needs it.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead = AESGCM(AESGCM.generate_key(bit_length=256))
        self._count = itertools.count()

    def seal(self, content: bytes) -> bytes:
        """Return `content` encrypted, with its nonce before it."""
        nonce = next(self._count).to_bytes(_NONCE_BYTES, "big")
        return nonce + self._aead.encrypt(nonce, content, None)

    def open(self, sealed: bytes) -> bytes:
        """Return what was sealed."""
        return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)


class _File:
    """Record batches in a file without a name, which ends with the last one who reads it."""

    def __init__(self, folder: Path | None, cipher: _Cipher | None) -> None:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as its rows
        weakref.finalize(self, file.close)
        self._file = file
        self._cipher = cipher
        self._size = 0

    def write(self, batch: pa.RecordBatch) -> tuple[int, int]:
        """Append a batch; return its place and size in bytes."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(
            sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")
        ) as writer:
            writer.write_batch(batch)
        content = sink.getvalue()
        if self._cipher is not None:
            content = self._cipher.seal(content.to_pybytes())
        place, size = self._size, len(content)
        self._file.write(content)
        self._size += size
        return place, size

    def flush(self) -> None:
        """Let reads see what was written."""
        self._file.flush()

    def read(self, place: int, size: int) -> pa.Table:
        """Return the batch at a place."""
        content = os.pread(self._file.fileno(), size, place)
        if self._cipher is not None:
            content = self._cipher.open(content)
        return pa.ipc.open_stream(content).read_all()


def _used(stored: list[_Stored], first: Ints, size: Ints) -> list[_Stored]:
    """Return the tables in which these runs lie."""
    if not stored:
        return []
    starts = np.array([each.first for each in stored])
    change = np.zeros(len(stored) + 1, np.int64)
    np.add.at(change, np.searchsorted(starts, first, side="right") - 1, 1)
    np.add.at(change, np.searchsorted(starts, first + size - 1, side="right"), -1)
    return [each for each, runs in zip(stored, np.cumsum(change).tolist(), strict=False) if runs]


def _bounds(stored: list[_Stored], first: Ints, size: Ints) -> list[int]:
    """Return where pieces of these runs begin, counted in rows of theirs, and where the last one ends."""
    starts = np.array([each.first for each in stored])
    ends = np.array([each.end for each in stored])
    cost = np.array(
        [max(1 / PIECE_ROWS, each.size / (each.end - each.first) / PIECE_BYTES) for each in stored]
    )
    # Rows of the runs before row n, for the first and the last row of each table.
    before = np.concatenate([[0], np.cumsum(size)])

    def wanted(number: Ints) -> Ints:
        run = np.searchsorted(first, number, side="right") - 1
        inside = np.clip(number - first[run], 0, size[run])
        return np.where(run < 0, 0, before[run] + inside)

    low, high = wanted(starts), wanted(ends)
    spent = np.concatenate([[0.0], np.cumsum((high - low) * cost)])
    cuts = np.arange(1, spent[-1])
    table = np.searchsorted(spent, cuts, side="right") - 1
    places = low[table] + np.ceil((cuts - spent[table]) / cost[table]).astype(np.int64)
    return [int(place) for place in np.unique(np.concatenate([[0], places, [before[-1]]]))]


def _numbers(first: Ints, size: Ints) -> Ints:
    """Return the numbers of all rows of these runs."""
    ends = np.cumsum(size)
    total = int(ends[-1]) if ends.size else 0
    numbers: Ints = np.arange(total) + np.repeat(first + size - ends, size)
    return numbers


def _gather(stored: list[_Stored], numbers: Ints) -> pa.Table:
    """Return these rows, whose numbers ascend."""
    starts = np.array([each.first for each in stored])
    owner = np.searchsorted(starts, numbers, side="right") - 1
    parts = []
    for which in np.unique(owner).tolist():
        local = numbers[owner == which] - starts[which]
        table = stored[which].load()
        if local.size == local[-1] - local[0] + 1:
            parts.append(table.slice(local[0], local.size))
        else:
            parts.append(table.take(pa.array(local)))
    return pa.concat_tables(parts)
