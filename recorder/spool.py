"""Batches that could not be delivered yet, in a bounded folder.

A file is one export, as it is sent: a gzip of an ExportTraceServiceRequest. Its name is
`<nanoseconds>-<pid>-<ordinal>-<spans>.otlp.gz`, so that names sort by age and a dropped file can be counted
in spans. All processes of a service share the folder; whoever holds its lock sends. The oldest
file is dropped first. Files are for the user alone: they hold bodies of requests.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flux.recorder.fault import count

_SUFFIX = ".otlp.gz"
_ordinals = itertools.count()


class Spool:
    """One folder of batches."""

    def __init__(self, folder: Path, *, bytes_max: int, files_max: int) -> None:
        self.folder = folder
        """Where the files are; made when the first batch comes."""
        self._bytes_max = bytes_max
        self._files_max = files_max

    def put(self, payload: bytes, spans: int) -> int:
        """Keep a batch; return how many spans the bounds made it drop. Raises OSError."""
        if len(payload) > self._bytes_max:
            return spans
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{time.time_ns():020d}-{os.getpid()}-{next(_ordinals):08d}-{spans}"
        partial = self.folder / f".{name}"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(payload)
            partial.rename(self.folder / f"{name}{_SUFFIX}")
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise
        count("spans_spooled", spans)
        return self._drop_oldest()

    def batches(self) -> list[Path]:
        """Return the files, the oldest first."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.folder) if entry.name.endswith(_SUFFIX))
        except FileNotFoundError:
            return []
        return [self.folder / name for name in names]

    @contextmanager
    def sending(self) -> Iterator[bool]:
        """Hold the folder's lock; False when another process sends."""
        try:
            descriptor = os.open(self.folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError:
            yield False
            return
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True
        finally:
            os.close(descriptor)

    def _drop_oldest(self) -> int:
        sizes = []
        for path in self.batches():
            with suppress(OSError):  # sent by another process meanwhile
                sizes.append((path, path.stat().st_size))
        total, dropped = sum(size for _, size in sizes), 0
        while len(sizes) > self._files_max or total > self._bytes_max:
            path, size = sizes.pop(0)
            total -= size
            with suppress(OSError):
                path.unlink()
                dropped += spans_in(path)
        return dropped


def spans_in(path: Path) -> int:
    """Return how many spans a file of the spool holds."""
    digits = path.name.removesuffix(_SUFFIX).rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0
