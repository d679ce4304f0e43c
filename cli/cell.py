"""A value as text: for a table cell, for JSON, for CSV. Pure.

In a table NULL is `null`, the empty string `''`, a value with blanks at its ends stands in quotes, a long
one is shortened in its middle; what a terminal would obey is written out. JSON and CSV never shorten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

import orjson
from rich.cells import cell_len

from flux.cli.console import escape, escape_cell, escape_json

WIDTH_MAX = 48
"""Columns a value may take in a table before it is shortened in the middle."""

BLANKS_MAX = 8
"""Blanks that are shown as they are when a value has nothing else."""

_INT64 = range(-(1 << 63), 1 << 64)


def shorten(text: str, width: int = WIDTH_MAX) -> str:
    """Return `text` with its middle replaced by `…` if it is wider than `width` columns."""
    if len(text) <= width // 2 or cell_len(text) <= width:
        return text
    head = (width - 1) - (width - 1) // 2
    return _fitting(text, head) + "…" + _fitting(text[::-1], width - 1 - head)[::-1]


def _fitting(text: str, width: int) -> str:
    """Return as much of the start of `text` as fits into `width` columns."""
    taken = 0
    for index, character in enumerate(text):
        taken += cell_len(character)
        if taken > width:
            return text[:index]
    return text


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill `text` with blanks to `width` columns of a terminal."""
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks


def value_text(value: str | None, *, lossy: bool = False, full: bool = False) -> str:
    """Return a row's value for people: `null`, `''`, or its text, escaped and shortened.

    Blanks at its ends are shown by quotes, and many blanks alone are counted (char(n) is full of them).
    `lossy` says that the plugin sends NaN and infinities of this column as NULL too.
    """
    if value is None:
        return "null or NaN" if lossy else "null"
    if not value:
        return "''"
    safe = escape(value)
    if value[0] != " " and value[-1] != " ":
        return safe if full else shorten(safe)
    if not full and len(value) > BLANKS_MAX and not value.strip(" "):
        return f"' ' × {len(value)}"
    return f"'{safe}'" if full else f"'{shorten(safe, WIDTH_MAX - 2)}'"


def cell_text(value: Any, zone: tzinfo, *, full: bool = False) -> str:
    """Return any value of an answer for a table: times are local, nested values JSON."""
    if value is None or isinstance(value, str):
        return value_text(value, full=full)
    if isinstance(value, datetime):
        return local_time(value, zone) if value.tzinfo else value.isoformat(sep=" ")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (Mapping, list, tuple)):
        return value_text(json_text(value), full=full)
    return value_text(str(plain(value)), full=full)


def cell_csv(value: Any) -> str:
    """Return a value as a CSV field: NULL is nothing at all, the empty string is `""`."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = json_text(value) if isinstance(value, (dict, list)) else escape_cell(str(value))
    if not text or text != text.strip() or any(mark in text for mark in ',"\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def plain(value: Any) -> Any:
    """Return `value` as JSON knows it; what JSON cannot say exactly becomes text."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value if value in _INT64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return utc_time(value) if value.tzinfo else value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "\\x" + bytes(value).hex()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds()}s"
    return str(value)


def json_text(value: Any, *, indent: bool = False) -> str:
    """Return `value` as JSON, one line or indented, safe to print."""
    options = orjson.OPT_INDENT_2 if indent else 0
    return escape_json(_dump(plain(value), options))


def _dump(value: Any, options: int) -> str:
    try:
        return orjson.dumps(value, option=options).decode()
    except TypeError:  # a lone surrogate: no UTF-8, so orjson refuses it
        import json

        return json.dumps(value, indent=2 if options else None, ensure_ascii=True)


def utc_time(value: datetime) -> str:
    """Return `value` (aware) as RFC 3339 in UTC: `2026-03-10T14:22:01.5Z` has micros only if any."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def local_time(value: datetime, zone: tzinfo) -> str:
    """Return `value` (aware) as a person in `zone` reads it off a clock."""
    return value.astimezone(zone).replace(tzinfo=None).isoformat(sep=" ")
