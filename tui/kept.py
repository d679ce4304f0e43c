"""What the browser remembers between two runs: the panes' split, the theme, the queries of the SQL console.

Kept in the user's state folder as JSON. A file that cannot be read or written is no reason to fail: the
browser then begins as if there were none.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import orjson
import platformdirs

SPLIT_MIN, SPLIT_MAX = 20, 80
"""Percent of the width that the left pane may have."""
QUERIES_MAX = 200
"""Queries of the console that are remembered."""


@dataclass(slots=True)
class Kept:
    """What is remembered."""

    split: int = 50
    """Percent of the width that the left pane has."""
    theme: str = ""
    queries: list[str] = field(default_factory=list)
    """Of the SQL console, the newest last."""

    def remember_query(self, query: str) -> None:
        """Put a query last."""
        if query in self.queries:
            self.queries.remove(query)
        self.queries = [*self.queries, query][-QUERIES_MAX:]


def state_file() -> Path:
    """Return where it is kept."""
    return platformdirs.user_state_path("flux") / "tui.json"


def read(file: Path) -> Kept:
    """Return what is kept in `file`."""
    kept = Kept()
    with contextlib.suppress(OSError, ValueError):
        found = orjson.loads(file.read_bytes())
        for one in fields(Kept):
            value = found.get(one.name) if isinstance(found, dict) else None
            if isinstance(value, type(getattr(kept, one.name))):
                setattr(kept, one.name, value)
    kept.split = max(SPLIT_MIN, min(kept.split, SPLIT_MAX))
    kept.queries = [str(query) for query in kept.queries]
    return kept


def write(file: Path, kept: Kept) -> None:
    """Keep it."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(orjson.dumps(asdict(kept), option=orjson.OPT_INDENT_2))
