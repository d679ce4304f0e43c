"""DuckDB's and the system's failures as ledger errors with a remedy, without any row's value."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from flux.model.errors import LedgerDamaged, LedgerError, LedgerLocked

_REMEDIES: tuple[tuple[re.Pattern[str], type[LedgerError], str, str], ...] = (
    (
        re.compile(r"no space left|disk is full|database or disk is full|disk quota", re.IGNORECASE),
        LedgerError,
        "the disk is full",
        "free space on it, then run the command again: nothing that was committed is lost",
    ),
    (
        re.compile(r"database is locked", re.IGNORECASE),
        LedgerLocked,
        "another process holds the catalog's lock",
        "run it again in a moment",
    ),
    (
        re.compile(r"read-?only file system|permission denied|readonly database", re.IGNORECASE),
        LedgerError,
        "the ledger's folder cannot be written",
        "check the folder's owner and permissions",
    ),
    (
        re.compile(
            r"malformed|not a database|no such table|no magic bytes|footer|corrupt|"
            r"does not exist|no files found|cannot open file|unable to open|too small",
            re.IGNORECASE,
        ),
        LedgerDamaged,
        "a file of it is damaged or missing",
        "restore the folder from a backup; `flux doctor` says what else is wrong",
    ),
)


def ledger_error(root: Path, operation: str, error: BaseException) -> LedgerError:
    """Return what to tell the user about `error`, met while doing `operation` on the ledger at `root`."""
    text = str(error)
    what = f"cannot {operation} the ledger at {root}"
    for pattern, kind, why, hint in _REMEDIES:
        if pattern.search(text):
            return kind(what, why=why, hint=hint)
    # DuckDB quotes the statement and sometimes values below its first line, and values within
    # quotes in it; neither may reach a log.
    first = re.sub(r"'[^']*'|\"[^\"]*\"", "…", text.splitlines()[0] if text else "")
    return LedgerError(
        what,
        why=f"{type(error).__name__}: {first[:300]}",
        hint="nothing of it was stored; run `flux doctor`",
    )


@contextmanager
def translated(root: Path, operation: str) -> Iterator[None]:
    """Raise the failures of DuckDB, SQLite and the system inside the block as `LedgerError`."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        # Of the source whose rows are being written: a ledger has no network.
        raise
    except (duckdb.Error, sqlite3.Error, OSError) as error:
        raise ledger_error(root, operation, error) from error
