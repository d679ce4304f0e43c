"""The keys as a table of docs/tui.md: made of the table of actions, between two marks in the page.

python -m flux.tui.reference docs/tui.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from flux.tui.actions import ACTIONS

BEGIN, END = "<!-- keys -->\n", "<!-- end of keys -->\n"


def table() -> str:
    """Return the table of keys in Markdown."""
    lines = ["| keys | | where | does |", "|---|---|---|---|"]
    for action in ACTIONS:
        keys = " ".join(f"`{key}`" for key in action.shown_keys)
        lines.append(f"| {keys} | {action.label} | {', '.join(action.where)} | {action.meaning} |")
    return "\n".join(lines) + "\n"


def renewed(page: str, begin: str, end: str, text: str) -> str:
    """Return a page with other text between two marks."""
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    return head + begin + text + end + tail


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.write_text(renewed(place.read_text(encoding="utf-8"), BEGIN, END, table()), encoding="utf-8")
