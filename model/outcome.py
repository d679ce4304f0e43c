"""What a change is (`Op`) and what became of it (`Outcome`)."""

from __future__ import annotations

from enum import StrEnum


class Op(StrEnum):
    """The kind of a change, as stored in `changes.op`."""

    BASELINE = "baseline"
    """The row was there when capture began (or began again)."""
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"
    """Ends every row of its relation; has no key."""


class Outcome(StrEnum):
    """What became of a change, as stored in `changes.outcome`."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    """Its transaction was aborted: by ROLLBACK, an error, or a crash."""
    SAVEPOINT_ROLLED_BACK = "savepoint_rolled_back"
    """Its transaction committed, but the savepoint it ran in was rolled back."""
