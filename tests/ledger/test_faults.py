"""A fault at the n-th durability step, n growing until none fires: the ledger is the model's all the while.

The steps: syncing a file or a folder, the commit of the catalog (also done, but not heard of), DuckLake's
commit, the renaming of the confirmed position's file, the deletion of a file. An *error* is what a failing
disk gives; at a *crash* nothing of ours changes the disk any more. Either way the ledger is opened again and
the stream goes on from its position, as the daemon does.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from flux.capture import confirmed
from flux.capture.confirmed import Confirmed
from flux.ledger import Ledger, Writer, compaction, create_ledger, open_ledger, upkeep
from flux.model.batch import Batch
from flux.model.errors import LedgerError
from ledger.log import Log, commit, insert, relation, update

Kind = Literal["error", "crash"]

STRIDE = 1 if os.environ.get("FLUX_SOAK_MINUTES") else 16
"""Every sixteenth step is enough for each run of the tests; `make soak` takes them all."""
BEFORE = 4
"""Transactions that the ledger has at the start; with as many files a merge is due."""
USERS = relation()


class Crash(BaseException):
    """The process is no more."""


class Steps:
    """Counts the steps, and makes the n-th one fail."""

    def __init__(self, kind: Kind, nth: int) -> None:
        self.kind = kind
        self.nth = nth
        self.count = 0
        self.is_on = False

    def step(self, error: Exception) -> None:
        if not self.is_on:
            return
        self.count += 1
        if self.count == self.nth and self.kind == "error":
            raise error
        if self.count >= self.nth and self.kind == "crash":
            raise Crash

    @property
    def has_fired(self) -> bool:
        return self.count >= self.nth


BROKEN = OSError(errno.EIO, "Input/output error")
BROKEN_CATALOG = sqlite3.OperationalError("disk I/O error")


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[Steps], None]:
    """Let all durability steps of this process tell a `Steps`."""
    telling: list[Steps] = []

    def step(error: Exception) -> None:
        for each in telling:
            each.step(error)

    class Watched(sqlite3.Connection):
        def commit(self) -> None:
            step(BROKEN_CATALOG)
            super().commit()
            step(BROKEN_CATALOG)  # done, but nobody hears of it

    def before(real: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
        def watched(*words: Any, **more: Any) -> Any:
            step(BROKEN)
            result = real(*words, **more)
            if after:
                step(BROKEN)
            return result

        return watched

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *words, **more: connect(*words, factory=Watched, **more))
    monkeypatch.setattr(os, "fsync", before(os.fsync))
    monkeypatch.setattr(Path, "replace", before(Path.replace, after=True))
    monkeypatch.setattr(Path, "unlink", before(Path.unlink))
    monkeypatch.setattr(Writer, "_commit_lake", before(Writer._commit_lake, after=True))
    monkeypatch.setattr(compaction, "TIERS", ((1 << 20, BEFORE),))
    monkeypatch.setattr(upkeep, "READER_GRACE_S", 0)
    monkeypatch.setattr(upkeep, "VERSIONS_MIN", 1)
    monkeypatch.setattr(upkeep, "POSITIONS_INLINED_MAX", 1)

    def tell(steps: Steps) -> None:
        telling[:] = [steps]

    return tell


def stream(stored_lsn: int) -> Iterator[Batch]:
    """The source's log from a position on, a transaction at a time; always the same."""
    log = Log()
    log.shape(USERS)
    for number in range(BEFORE + 2):
        if number == BEFORE + 1:
            log.shape(relation(columns=("id", "email", "plan", "since")))
        key = str(number % 3)
        made = insert if number < 3 else update
        row = {"id": key, "email": f"{number}@x", "plan": None}
        log.transaction(made(USERS, key, row), made(USERS, f"b{key}", row), request=f"r{number}")
        batch = log.batch()
        if batch.position.commit_lsn > stored_lsn:
            yield batch


def capture(path: Path, transactions: int | None = None) -> None:
    """What the daemon does with a stream: store, confirm, look after the ledger."""
    with Writer.open(path, source="shop") as writer:
        stored = writer.position()
        for number, batch in enumerate(stream(stored.commit_lsn if stored else 0)):
            if number == transactions:
                return
            writer.append(batch)
            commit(writer)
            known = Confirmed("flux_test", "7342", 1, 1, batch.position.end_lsn, batch.position.commit_lsn)
            confirmed.write(path, "shop", replace(known, confirmed_lsn=batch.position.end_lsn))
            if transactions is None:
                writer.maintain(wait=True)


def rows_of(ledger: Ledger) -> list[tuple[Any, ...]]:
    table = ledger.sql("select commit_lsn, seq, key, after::varchar, request_id from changes order by all")
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def check(path: Path, whole: list[tuple[Any, ...]]) -> None:
    """The ledger holds what the stream had up to its position, and nothing beyond it was confirmed."""
    with open_ledger(path) as ledger:
        (found,) = ledger.sql(
            "select max(commit_lsn) as lsn, max(end_lsn) as end_lsn, "
            "(select count(*) from transactions) as done, "
            "(select count(*) from contexts) as told from positions"
        ).to_pylist()
        held = rows_of(ledger)
    assert held == [row for row in whole if row[0] <= found["lsn"]]
    assert (found["done"], found["told"]) == (len(held) // 2, len(held) // 2)
    known = confirmed.read(path, "shop")
    assert known is not None
    assert known.confirmed_lsn <= found["end_lsn"]


@pytest.mark.crash
@pytest.mark.parametrize("kind", ["error", "crash"])
@pytest.mark.timeout(3600)
def test_a_fault_at_each_step(tmp_path: Path, watched: Callable[[Steps], None], kind: Kind) -> None:
    start, whole = create_ledger(tmp_path / "start"), tmp_path / "whole"
    capture(start, BEFORE)
    shutil.copytree(start, whole)
    capture(whole)
    with open_ledger(whole) as ledger:
        model = rows_of(ledger)
    assert len(model) == 2 * (BEFORE + 2)

    nth = 1 if kind == "error" else 1 + STRIDE // 2
    while True:
        steps = Steps(kind, nth)
        watched(steps)
        path = tmp_path / f"{kind}-{nth}"
        shutil.copytree(start, path)
        steps.is_on = True
        try:
            capture(path)
        except (LedgerError, Crash):
            assert steps.has_fired
        steps.is_on = False
        check(path, model)
        capture(path)  # and on, from where the ledger is
        with open_ledger(path) as ledger:
            assert rows_of(ledger) == model, f"after a fault at step {nth}"
        shutil.rmtree(path)
        if not steps.has_fired:
            break
        nth += STRIDE
    assert nth > 30
