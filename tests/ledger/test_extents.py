"""A question reads the files that may have its rows, and no others: every answer is that of all files."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flux.ledger import Ledger, Writer, catalog, compaction, create_ledger, open_ledger
from flux.ledger.catalog import Extent, File
from flux.ledger.layout import Layout
from ledger.log import Log, delete, insert, ledger_with, relation, truncate, update

KEYS = ("", "1", "10", "2", "9", "O'Hara", "zebra", "\u00e9", "\U0001f600", "\uffff", "k" * 5_000)
"""In UTF-16 the last but two would come before the last but one; of the last one a file has no bounds."""


@pytest.mark.property
@given(
    values=st.lists(st.none() | st.text(max_size=4), min_size=1, max_size=6),
    sought=st.lists(st.text(max_size=4), min_size=1, max_size=4),
    is_known=st.booleans(),
    is_ended=st.booleans(),
)
@example(values=["a", "c"], sought=["c", "a"], is_known=True, is_ended=True)
@example(values=["a", "c"], sought=["a"], is_known=True, is_ended=True)
@example(values=[None], sought=["a"], is_known=True, is_ended=False)
def test_what_may_be_there_is_not_left_out(
    values: list[str | None], sought: list[str], is_known: bool, is_ended: bool
) -> None:
    filled = sorted(value for value in values if value is not None)
    low, high = (filled[0], filled[-1]) if filled and is_known else (None, None)
    extent = Extent(low, high, values.count(None) if is_known else None, len(values))
    there = set(filled) & set(sought)
    assert extent.has_text(sorted(sought)) or not there
    first, last = sought[0], sought[-1] if is_ended else None
    between = any(value >= first and (last is None or value <= last) for value in filled)
    assert extent.has_between(first, last) or not between
    assert extent.has_values or not filled
    assert extent.has_nulls or None not in values
    if is_known:
        assert extent.has_text(sorted(sought)) == any(filled and low <= one <= high for one in sought)  # type: ignore[operator]
        assert (extent.has_values, extent.has_nulls) == (bool(filled), None in values)


def test_numbers_are_compared_as_numbers() -> None:
    extent = Extent("9", "100", 0, 5)
    assert extent.has_number([1, 10])
    assert not extent.has_number([8, 101])
    assert not Extent(None, None, 5, 5).has_number([1])
    assert Extent(None, None, None, 5).has_number([1])


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has a file for every few rows."""
    monkeypatch.setattr(compaction, "GROUP_ROWS", {"changes": 7, "contexts": 3})
    monkeypatch.setattr(compaction, "FILE_BYTES", {"changes": 1, "contexts": 1})
    monkeypatch.setattr(compaction, "FILES", 1 << 40)


def filled(path: Path, *, merges: int) -> None:
    """Make a ledger with rows that move, go and come back, under two names, in merged files and in others."""
    draw = random.Random(3)
    log = Log()
    people, orders = relation(), relation("public.orders", oid=16500)
    loose = relation("public.loose", oid=16600, key=())
    for one in (people, orders, loose):
        log.shape(one)
    with Writer.open(path, source="shop") as writer:
        for number in range(12):
            if number == 8:
                people = relation("public.people", lsn=log.next_lsn())
                log.shape(people)
            for _ in range(6):
                table, key = draw.choice([people, orders]), draw.choice(KEYS)
                row: dict[str, str | None] = {"id": key, "email": f"{number}", "plan": draw.choice("ab")}
                steps: list[dict[str, Any]] = [
                    draw.choice(
                        [
                            insert(table, key, row),
                            update(table, key, row, before=row),
                            delete(table, key, before=row),
                            update(table, key, row, before=row, old_key=draw.choice(KEYS)),
                            insert(table, key, row, outcome="savepoint_rolled_back"),
                        ]
                    ),
                    insert(loose, None, row),
                ]
                if draw.randrange(20) == 0:
                    steps.append(truncate(table))
                log.transaction(*steps, request=f"r{log.lsn}")
            log.rolled_back(update(orders, draw.choice(KEYS), row, before=row), request="never")
            log.store(writer)
            if number < 2 * merges and number % 2:
                writer.maintain(force=True)


def answers(ledger: Ledger) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for table in ("public.people", "public.orders"):
        for key in KEYS:
            found[table, key] = (
                ledger.history(table, key).to_pylist(),
                ledger.blame(table, key).to_pylist(),
                ledger.at(table, key).to_pylist(),
            )
        found[table] = (
            ledger.history(table, where={"plan": "a"}).to_pylist(),
            ledger.history(table).to_pylist(),
            [ledger.at(table, limit=count).to_pylist() for count in (1, 5, 100)],
        )
    found["loose"] = ledger.history("public.loose", where={"plan": "a"}).to_pylist()
    return found


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("merges", [0, 3, 6])
def test_every_answer_is_that_of_all_files(tmp_path: Path, merges: int) -> None:
    path = create_ledger(tmp_path / "ledger")
    filled(path, merges=merges)
    with open_ledger(path) as ledger:
        found = answers(ledger)
    with open_ledger(path) as ledger:
        part = ledger._part
        ledger._part = lambda name, files: part(name, ledger._files(name))  # type: ignore[method-assign] # noqa: ARG005
        assert answers(ledger) == found
    assert any(history for history, _, _ in (found["public.people", key] for key in KEYS))


@pytest.mark.usefixtures("small_files")
def test_what_is_known_of_files_is_not_read_again(tmp_path: Path) -> None:
    place = Layout(create_ledger(tmp_path / "ledger"))
    log, users = Log(), relation()
    log.shape(users)
    known = catalog.read(place.catalog, place.data)
    with Writer.open(place.root, source="shop") as writer:
        for number in range(6):
            for key in "abc":
                log.transaction(insert(users, f"{key}{number}", {"id": f"{key}{number}"}), request="r")
            log.store(writer)
            if number % 3 == 2:
                writer.maintain(force=True)
            before, known = known, catalog.read(place.catalog, place.data, known)
            assert known == catalog.read(place.catalog, place.data)
            assert known.version > before.version
    assert all(len(file.extents) == 3 for file in known.files["changes"])


def test_a_key_that_no_row_can_have(tmp_path: Path) -> None:
    log, users = Log(), relation()
    log.shape(users)
    log.transaction(insert(users, "a", {"id": "a"}))
    with open_ledger(ledger_with(tmp_path / "ledger", log)) as ledger:
        assert ledger.history("users", "a\0b").num_rows == ledger.at("users", "\0").num_rows == 0


@pytest.mark.usefixtures("small_files")
def test_a_question_leaves_out_what_it_need_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = create_ledger(tmp_path / "ledger")
    log, users = Log(), relation()
    log.shape(users)
    with Writer.open(path, source="shop") as writer:
        for start in (0, 500):
            for number in range(start, start + 500):
                log.transaction(insert(users, f"{number:04}", {"id": f"{number:04}"}), request=f"r{number}")
            log.store(writer)
        writer.maintain(force=True)
    place = Layout(path)
    files = {table: len(every) for table, every in catalog.read(place.catalog, place.data).files.items()}
    assert files["changes"] > 100
    assert files["contexts"] > 300
    read: list[tuple[str, int]] = []
    with open_ledger(path) as ledger:
        real = ledger._part

        def counted(table: str, files: Sequence[File]) -> str:
            read.append((table, len(files)))
            return real(table, files)

        monkeypatch.setattr(ledger, "_part", counted)
        assert len(ledger.history("users", "0123")) == 1
        # No change of a key and no truncate; the row; its context.
        assert read == [("changes", 0), ("changes", 1), ("changes", 0), ("contexts", 1)]
        read.clear()
        assert [row["key"] for row in ledger.at("users", limit=3).to_pylist()] == ["0000", "0001", "0002"]
        assert sum(count for _, count in read) < 10
        assert len(ledger.at("users", limit=900)) == 900
