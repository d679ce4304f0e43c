"""A ledger that captures what the oracle plays, and its answers held against the truth and the fold.

`at`, the typed views, history and blame are asked of a reader as a user would; what they should say comes
from the tables of the source and from `fold`, never from another answer of Flux.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from flux.capture.daemon import run
from flux.capture.settings import Bounds, Settings
from flux.decoder.slot import drop_slot
from flux.ledger import Ledger, create_ledger, open_ledger
from flux.ledger.reader import FEW_ROWS
from oracle import check, fold
from oracle.fold import Change, FoldedTable
from oracle.recording import rows_of
from oracle.script import Checkpoint, Played
from oracle.truth import LOSSY_TYPES, Rows, Table, frozen, without_special
from servers import Database

BOUNDS = Bounds(flush_interval_s=0.05, heartbeat_urgent_s=0.05, heartbeat_interval_s=1.0)
KEYS_ASKED_MAX = 2
"""History and blame are asked of so many rows of a table."""
MOMENTS_ASKED_MAX = 1
"""The whole table is asked for so many moments of the past."""
SOURCE = "oracle"


class Kept:
    """A ledger, and the capture into it."""

    def __init__(self, database: Database, plugin: str, folder: Path, *, slot: str = "oracle_ledger") -> None:
        self.settings = Settings(
            ledger=create_ledger(folder / "ledger"),
            source=SOURCE,
            slot=slot,
            plugin=plugin,
            dsn=database.dsn,
            once=True,
            bounds=BOUNDS,
        )
        self.plugin = plugin
        self.said: list[str] = []

    def catch_up(self) -> None:
        """Capture everything up to now, the outcome of attempts included."""
        summary = run(self.settings, say=self.said.append)
        assert summary.complete, self.said
        assert summary.open_attempts == 0, self.said

    def drop(self) -> None:
        """Drop its slot."""
        drop_slot(self.settings.dsn, self.settings.slot)

    def read(self) -> Stored:
        """Return what the ledger's tables hold."""
        with open_ledger(self.settings.ledger) as ledger:
            return Stored(ledger)


class Stored:
    """The rows of the ledger's own tables."""

    def __init__(self, ledger: Ledger) -> None:
        self.changes, self.contexts, self.transactions, self.relations, self.baselines, self.ddl = (
            rows_of(ledger.sql(f"select * from {name}"))
            for name in ("changes", "contexts", "transactions", "relations", "baselines", "ddl")
        )

    @property
    def streamed(self) -> list[Change]:
        """Changes that came from the stream, not from a baseline."""
        copied = {each["lsn"] - 1 for each in self.baselines}
        return [change for change in self.changes if change["commit_lsn"] not in copied]


def check_kept(
    played: Played, stored: Stored, ledger: Ledger, *, plugin: str, unseen: frozenset[int] = frozenset()
) -> None:
    """Hold the ledger against everything that was seen of a case."""
    lossy = plugin == "wal2json"
    seed = random.Random(played.case.name)
    for relation_id, table in played.checkpoints[-1].tables.items():
        name = table.relation.partition(".")[2]
        if name in played.case.unseen or relation_id in unseen:
            continue
        what = f"{played.case.name}: {table.relation}"
        versions = fold.versions_of(stored.relations, relation_id)
        if lossy:
            check_lossy(versions[-1], what)
        anew = [each["lsn"] for each in stored.baselines if each["relation_id"] == relation_id]
        mine = [change for change in fold.committed(stored.changes) if change["relation_id"] == relation_id]
        folded = FoldedTable(relation_id, versions, strict=len(anew) == 1)
        for change in mine:
            folded.apply(change)
        folded.reshape(1 << 63)
        check.compare(folded.rows(), table, lossy=lossy, what=f"{what} in `changes`")
        check_at(ledger, table, None, lossy, what)
        check_view(ledger, table, what)
        moments = [each for each in played.checkpoints if relation_id in each.tables]
        for moment in seed.sample(moments, min(MOMENTS_ASKED_MAX, len(moments))) if len(anew) == 1 else ():
            check_at(ledger, moment.tables[relation_id], moment, lossy, f"{what} after {moment.after!r}")
        keys = sorted({key for key, _ in table.rows if key is not None})
        for key in seed.sample(keys, min(KEYS_ASKED_MAX, len(keys))):
            row = dict(next(items for each, items in table.rows if each == key))
            owners = folded.owners[key] if len(anew) == 1 else None
            check_row(ledger, table, key, row, owners, stored, lossy, f"{what} key {key!r}")
    for relation_id, table in played.checkpoints[0].tables.items():
        if relation_id not in played.checkpoints[-1].tables:
            assert relation_id in {each["relation_id"] for each in stored.relations}, table.relation


def check_lossy(version: Change, what: str) -> None:
    """The columns whose NaN and infinities wal2json before 2.6 sends as null are named, and no others."""
    expected = {
        column["name"]
        for column in version["columns"]
        if column["type"].partition("(")[0] in LOSSY_TYPES and not column["type"].endswith("]")
    }
    assert set(version["lossy"] or ()) == expected, what


def check_at(ledger: Ledger, table: Table, moment: Checkpoint | None, lossy: bool, what: str) -> None:
    """The whole table, as Flux says it was."""
    # The next commit record may begin at the very position of a checkpoint.
    as_of = None if moment is None else moment.lsn - 1
    answer = rows_of(ledger.at(table.relation, as_of=as_of))
    if moment is None and len(answer) < FEW_ROWS:  # they are read in another way
        few = rows_of(ledger.at(table.relation, as_of=as_of, limit=FEW_ROWS))
        assert sorted(few, key=repr) == sorted(answer, key=repr), f"{what}: at, with a limit"
    found: Rows = Counter(
        frozen(row["key"], dict(row["row"])) for row in answer if row["relation_id"] == table.relation_id
    )
    expected = table.rows
    if lossy:
        found, expected = without_special(found, table.lossy), without_special(expected, table.lossy)
    check.compare(found, replace(table, rows=expected), lossy=lossy, what=f"{what}: at")


def check_view(ledger: Ledger, table: Table, what: str) -> None:
    """The typed view has as many rows, and in its text columns the same texts."""
    name = '"' + table.relation.replace('"', '""') + '"'
    count = ledger.sql(f"select count(*) as n from current.{name}").column("n").to_pylist()
    assert count == [table.rows.total()], f"{what}: current view"
    for column, kind in table.columns:
        if kind == "text" and count[0]:
            label = f"_{column}" if column.startswith("_") else column
            label = '"' + label.replace('"', '""') + '"'
            found = Counter(ledger.sql(f"select {label} as v from current.{name}").column("v").to_pylist())
            expected = Counter(dict(items)[column] for _, items in table.rows.elements())
            assert found == expected, f"{what}: column {column} of the current view"
            break


def check_row(
    ledger: Ledger,
    table: Table,
    key: str,
    row: dict[str, str | None],
    owners: dict[str, tuple[int, int] | None] | None,
    stored: Stored,
    lossy: bool,
    what: str,
) -> None:
    """One row: at, history and blame agree with the table, and name the change that gave each value."""
    one = rows_of(ledger.at(table.relation, key))
    assert len(one) == 1, f"{what}: at"
    assert equal(dict(one[0]["row"]), row, lossy), f"{what}: at"
    blamed = {line["column"]: line for line in rows_of(ledger.blame(table.relation, key))}
    assert blamed.keys() == row.keys(), f"{what}: blame"
    assert equal({name: line["value"] for name, line in blamed.items()}, row, lossy), f"{what}: blame"
    if owners is not None:
        for name, line in blamed.items():
            owner = owners[name]
            found = None if line["op"] == "ddl" else (line["commit_lsn"], line["seq"])
            assert found == owner, f"{what}: blame of {name}: {found} and not {owner}"
    lines = rows_of(ledger.history(table.relation, key))
    for line in lines:
        assert not line["mismatch"], f"{what}: history says the ledger is broken"
    told = {(line["commit_lsn"], line["seq"], line["lsn"]) for line in lines}
    for change in stored.changes:
        if change["relation_id"] == table.relation_id and change["key"] == key:
            assert (change["commit_lsn"], change["seq"], change["lsn"]) in told, (
                f"{what}: {check.line_of(change)}"
            )
    assert len(told) == len(lines), f"{what}: a line twice"


def equal(found: dict[str, Any], expected: dict[str, str | None], lossy: bool) -> bool:
    """Return whether two rows are equal."""
    if found.keys() != expected.keys():
        return False
    return all(
        value == found[name] or (lossy and fold.same(found[name], value)) for name, value in expected.items()
    )
