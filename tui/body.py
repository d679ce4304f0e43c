"""Headers and bodies as lines: JSON indented, everything escaped. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from rich.text import Text

from flux.cli.cell import json_text
from flux.cli.console import escape
from flux.tui.listing import Line

BODY_LINES_MAX = 5_000
"""Lines of a body that are shown."""


def body_lines(title: str, part: Mapping[str, Any] | None) -> list[Line]:
    """Return `{"headers", "body"}` under a title; an empty list if nothing was recorded."""
    if not part or (not part.get("headers") and part.get("body") is None):
        return []
    lines = [Line(Text(title, "bold"), mark=title)]
    headers = part.get("headers") or {}
    for name, value in dict(headers).items():
        lines.append(Line(Text(f"  {escape(str(name))}: ", "cyan").append(escape(_told(value)), "default")))
    if part.get("body") is not None:
        lines += [Line(Text(f"  {line}")) for line in text_lines(part["body"])]
    return [*lines, Line(Text())]


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


def text_lines(value: Any) -> list[str]:
    """Return a value, or a text that may be JSON, in lines."""
    found = value
    if isinstance(value, str):
        try:
            found = orjson.loads(value)
        except orjson.JSONDecodeError:
            found = value
    if isinstance(found, (dict, list)):
        lines = json_text(found, indent=True).split("\n")
    else:
        lines = [escape(line.expandtabs(4)) for line in str(value).split("\n")]
    if len(lines) > BODY_LINES_MAX:
        return [*lines[:BODY_LINES_MAX], f"… and {len(lines) - BODY_LINES_MAX:,} more lines"]
    return lines
