"""One writer per ledger: an advisory lock on the file `lock`, which names its holder."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from flux.model.errors import LedgerError, LedgerLocked


def holder(file: Path) -> int | None:
    """Return the process id of the writer that holds the lock now, None when nobody does."""
    try:
        handle = os.open(file, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named(handle)
    else:
        return None
    finally:
        os.close(handle)


def _named(handle: int) -> int | None:
    try:
        written = json.loads(os.pread(handle, 4096, 0))
        return int(written["pid"])
    except (ValueError, KeyError, TypeError):
        return None


class Lock:
    """Held from the moment it is made until `release`, or the end of the process however it ends."""

    def __init__(self, file: Path) -> None:
        """Take the lock; raises `LedgerLocked` when another process holds it."""
        try:
            self._handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LedgerError(
                f"cannot write the ledger at {file.parent}",
                why=str(error),
                hint="check the folder's permissions",
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = _named(self._handle)
            os.close(self._handle)
            raise LedgerLocked(
                f"the ledger at {file.parent} is being written by another process",
                why=f"process {pid} holds its lock" if pid is not None else "its lock is held",
                hint=f"stop it (kill {pid}), or use another ledger" if pid is not None else "stop it",
            ) from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps({"pid": os.getpid()}).encode(), 0)

    def release(self) -> None:
        """Let another writer in."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
