"""The errors of Flux, split by what the reader can do about them.

An error says what failed, why, and what to do next, one line each; `exit_code` is the process's.
No message holds a row's value or a password.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

LISTED_MAX = 10
"""Names that one line of an error holds."""


def listed(names: Sequence[str]) -> str:
    """Return the names for a line of text: the first ones, and how many more there are."""
    more = f" and {len(names) - LISTED_MAX} more" if len(names) > LISTED_MAX else ""
    return ", ".join(names[:LISTED_MAX]) + more


class FluxError(Exception):
    """What failed, why, and what to do next. Base of every error a user may see."""

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        """What failed: operation and object."""
        self.why = why
        """The cause, as far as it is known; empty when `what` says it all."""
        self.hint = hint
        """What to type or change next."""

    def __str__(self) -> str:
        return "\n".join(line for line in (self.what, self.why, self.hint) if line)


class UsageError(FluxError):
    """The command, its options or the configuration are wrong (exit 2)."""

    exit_code = 2


class NoAnswer(FluxError):
    """The question was understood and its answer is no: no such row, a fault found (exit 1)."""

    exit_code = 1


class SourceError(FluxError):
    """The source database refuses for a reason that a retry will not mend (exit 2)."""

    exit_code = 2


class SlotError(SourceError):
    """The replication slot is missing, lost, in use, or not where the ledger left it (exit 2)."""


class SlotBusy(SlotError):
    """Another process reads the replication slot (exit 2)."""


class SlotLost(SlotError):
    """What lies between the ledger and the slot is gone: only a new baseline mends it (exit 2)."""


class Unreachable(FluxError):
    """The source database cannot be reached, or went away; worth a retry (exit 3)."""

    exit_code = 3


class DecodeError(FluxError):
    """The stream holds what the protocol does not allow (exit 3). Nothing of it was stored."""

    exit_code = 3

    def __init__(self, what: str, *, offset: int, lsn: int = 0) -> None:
        super().__init__(
            f"cannot decode the log: {what}",
            why=f"at byte {offset} of the message, log position {lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}",
            hint="nothing of this batch was stored; run `flux doctor`, then `flux up` to read it again",
        )
        self.offset = offset
        """Offset in bytes from the start of the message."""
        self.lsn = lsn
        """Log position of the message, 0 when it is not known."""


class TimedOut(FluxError):
    """A wait reached its bound (exit 4)."""

    exit_code = 4


class Interrupted(FluxError):
    """A wait was ended by our own stop request (exit 130)."""

    exit_code = 130


class LedgerError(FluxError):
    """The ledger is missing, locked, damaged, foreign, or cannot be written (exit 5)."""

    exit_code = 5


class LedgerMissing(LedgerError):
    """There is no ledger where one was looked for."""


class LedgerLocked(LedgerError):
    """Another process writes this ledger."""


class LedgerDamaged(LedgerError):
    """The folder is not a ledger of ours, or not one this version can read."""


class Invariant(AssertionError):
    """A promise that Flux makes to itself is broken: a bug. Survives `python -O`."""


def invariant(holds: bool, promise: str) -> None:
    """Raise `Invariant` with `promise` unless `holds`."""
    if not holds:
        raise Invariant(f"broken invariant, please report it: {promise}")
