"""Rows that wait, against a list of them: in memory, on disk, joined, read while others are forgotten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flux.decoder import spill
from flux.model.errors import LedgerError

NUMBERS = st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=8)
"""Runs that one append brings: how long each is, and whether it is forgotten afterwards."""


def rows(first: int, size: int) -> pa.Table:
    names = [f"row {number}" * (1 + number % 7) for number in range(first, first + size)]
    return pa.table({"number": range(first, first + size), "name": names})


@pytest.mark.property
@settings(max_examples=200, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=12), st.integers(1, 5), st.integers(60, 4000))
def test_what_is_kept_is_read_whatever_becomes_of_the_rest(
    steps: list[list[tuple[int, bool]]], tables_max: int, memory_max: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "TABLES_MAX", tables_max)
        patch.setattr(spill, "MEMORY_BYTES_MAX", memory_max)
        patch.setattr(spill, "PIECE_ROWS", 4)
        patch.setattr(spill, "PIECE_BYTES", 300)
        waiting = spill.Rows(None)
        first, size, ours = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        made = 0
        for step in steps:
            lengths = np.array([length for length, _ in step], np.int64)
            total = int(lengths.sum())
            if total:
                begin = waiting.append(rows(made, total)) + np.cumsum(lengths) - lengths
                first, size = np.concatenate([first, begin]), np.concatenate([size, lengths])
                ours = np.concatenate([ours, made + np.cumsum(lengths) - lengths])
                made += total
            gone = np.zeros(first.size, np.bool_)
            gone[first.size - len(step) :] = [forgotten for _, forgotten in step]
            gone[: first.size // 3 : 2] = True
            pieces = waiting.pieces(first[gone], size[gone])
            expected = [list(range(at, at + n)) for at, n in zip(ours[gone], size[gone], strict=True)]
            first, size, ours = waiting.keep(first[~gone], size[~gone]), size[~gone], ours[~gone]
            # Read after the rest has moved, and twice: nothing is used up.
            for _ in range(2):
                found: list[list[int]] = [[] for _ in expected]
                for piece in pieces:
                    run, table = piece()
                    assert 0 < table.num_rows <= 4
                    assert table == rows(0, made).take(table.column("number"))
                    for place, number in zip(run, table.column("number").to_pylist(), strict=True):
                        found[place].append(number)
                assert found == expected
        left = [
            number for piece in waiting.pieces(first, size) for number in piece()[1]["number"].to_pylist()
        ]
        assert left == [number for at, n in zip(ours, size, strict=True) for number in range(at, at + n)]


def test_large_rows_are_read_in_small_pieces(tmp_path: Path) -> None:
    """What is in memory at once is bounded in bytes, but for a row that is larger."""
    count, large = 40, 3 * spill.PIECE_BYTES
    waiting = spill.Rows(tmp_path)
    for number in range(count):
        text = "x" * (large if number == 7 else spill.PIECE_BYTES // 4)
        waiting.append(pa.table({"number": [number], "text": [text]}))
        waiting.keep(np.arange(number + 1), np.ones(number + 1, np.int64))
    assert not list(tmp_path.iterdir()), "files have no name: nothing is left of a process that was killed"
    tables = [piece()[1] for piece in waiting.pieces(np.arange(count), np.ones(count, np.int64))]
    assert [number for table in tables for number in table["number"].to_pylist()] == list(range(count))
    for table in tables:
        extra = large if 7 in table["number"].to_pylist() else 0
        assert table.nbytes <= extra + 2 * spill.PIECE_BYTES


def test_a_disk_that_does_not_take_it_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "MEMORY_BYTES_MAX", 0)
    waiting = spill.Rows(tmp_path / "gone")
    waiting.append(rows(0, 3))
    with pytest.raises(LedgerError, match="No such file") as caught:
        waiting.keep(np.array([0]), np.array([3]))
    assert "make room" in caught.value.hint
