"""Values come from strangers: what reaches a terminal can neither command nor deceive it."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux.cli.console import escape, escape_cell, escape_json, paint

# Format characters (Cf) that have a shape of their own or join letters of ordinary scripts.
UNSEEN = {"Cc", "Cf", "Zl", "Zp", "Cs"}
VISIBLE_FORMATS = {0x200C, 0x200D, *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
VISIBLE_FORMATS |= set(range(0x13430, 0x13456))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("Zoë 日本 👩‍🔬", "Zoë 日本 👩‍🔬"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff", "\\udcff"),
    ],
)
def test_escape(text: str, expected: str) -> None:
    assert escape(text) == expected


def test_no_control_or_unseen_character_is_forgotten() -> None:
    passed = [
        code
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in UNSEEN and escape(chr(code)) == chr(code)
    ]
    assert set(passed) <= VISIBLE_FORMATS


def test_a_cell_keeps_its_line_ends() -> None:
    assert escape_cell("a\nb\tc\x1b\r") == "a\nb\tc\\x1b\\r"


@given(st.text())
def test_json_keeps_its_values_and_is_safe(text: str) -> None:
    document = escape_json(json.dumps({"value": text}, ensure_ascii=False))
    assert json.loads(document) == {"value": text}
    assert escape(document) == document


def test_paint_changes_nothing_but_colour() -> None:
    assert paint("  x ", "31", colour=True) == "  \x1b[31mx\x1b[0m "
    assert paint("  x ", "31", colour=False) == "  x "
    assert paint("  ", "31", colour=True) == "  "
