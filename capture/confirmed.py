"""What was confirmed to a source's server, kept durably beside the ledger.

A position that brought no rows is confirmed without a commit of the ledger. It is written here
first, so that after a restart a slot that we advanced ourselves is told from one that someone else
read from. Also keeps what the ledger's tables have no place for: when this generation of the slot
began, the tables that still wait for a new baseline, and the last commit read.

The file is `confirmed-<source>.json`; each writing is whole or not there (new file, fsync, rename).
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flux.model.batch import Position
from flux.model.errors import LedgerDamaged, LedgerError


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The content of the file."""

    slot: str
    system_identifier: str
    timeline: int
    generation_lsn: int
    """Where this generation of the slot began; an older baseline does not count for it."""
    confirmed_lsn: int
    """The highest position that may have been confirmed beyond the ledger's own."""
    commit_lsn: int = 0
    """The ledger's position when this was written; a ledger below it was put back."""
    pending: tuple[int, ...] = ()
    """OIDs of tables that wait for a new baseline."""
    last: Position | None = None
    """The last commit read when this was written, with rows for the ledger or without."""

    @property
    def start_lsn(self) -> int:
        """Where to read on: no later than the last commit read.

        That one is looked for in the log (`position.check_log`); of a log that has it nothing is left out.
        """
        return self.confirmed_lsn if self.last is None else min(self.confirmed_lsn, self.last.end_lsn)

    def with_pending(self, pending: tuple[int, ...]) -> Confirmed:
        """Return a copy with other tables waiting."""
        return replace(self, pending=pending)


def file_of(ledger: Path, source: str) -> Path:
    """Return where the file of `source` lies."""
    return ledger / f"confirmed-{_plain(source)}.json"


def read(ledger: Path, source: str) -> Confirmed | None:
    """Return what was confirmed; None when nothing was. Raises `LedgerDamaged`."""
    path = file_of(ledger, source)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerError(f"cannot read {path}", why=error.strerror or "") from None
    try:
        content = json.loads(text)
        content["pending"] = tuple(content["pending"])
        content["last"] = Position(**content["last"]) if content.get("last") else None
        return Confirmed(**content)
    except (ValueError, TypeError, KeyError):
        raise LedgerDamaged(
            f"{path} is not what Flux wrote",
            hint="put it back from a backup, or move it away and run `flux up --resnapshot`",
        ) from None


def write(ledger: Path, source: str, confirmed: Confirmed) -> None:
    """Write durably: when this returns, a power failure does not undo it."""
    replace_file(file_of(ledger, source), json.dumps(asdict(confirmed), indent=1) + "\n", durable=True)


def replace_file(path: Path, text: str, *, durable: bool) -> None:
    """Put `text` in place of the file at `path`, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
        if durable:
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise LedgerError(
            f"cannot write {path}",
            why=error.strerror or "",
            hint="free some space there, then run `flux up` again",
        ) from None


def _plain(source: str) -> str:
    """Return `source` as a part of a file name; two sources never share one."""
    return "".join(c if c.isalnum() or c in "-_" else f"%{ord(c):x}%" for c in source)
