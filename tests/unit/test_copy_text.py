"""COPY's text format: every value comes back as it went in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.decoder.copy_text import parse_rows
from flux.model.errors import DecodeError

ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
AWKWARD = st.sampled_from([*ESCAPES, "N", "n", "t", "\\N", "", "é", "😀", '"', ",", "\x01"])
VALUE = st.none() | st.lists(AWKWARD | st.characters(codec="utf-8", exclude_characters="\0")).map("".join)


def write(value: str | None) -> str:
    """Print a value as the server does."""
    return "\\N" if value is None else "".join(ESCAPES.get(letter, letter) for letter in value)


@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[VALUE] * width), min_size=1)))
def test_round_trip(rows: list[tuple[str | None, ...]]) -> None:
    text = "".join("\t".join(map(write, row)) + "\n" for row in rows)
    batch = parse_rows(text.encode(), [f"c{place}" for place in range(len(rows[0]))])
    batch.validate(full=True)
    assert list(zip(*(column.to_pylist() for column in batch.columns), strict=True)) == rows


def test_nothing_and_rows_without_columns() -> None:
    assert parse_rows(b"", ["a"]).num_rows == 0
    assert parse_rows(b"\n\n", []).num_rows == 2


@pytest.mark.parametrize("rows", [b"a\tb\nc\n", b"a\tb", b"a\nb\tc\td\n", b"a\tb\tc\n"])
def test_rows_of_another_width_are_refused(rows: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_rows(rows, ["a", "b"])
