"""sources.json: what is captured into a ledger, so that `flux up` needs no arguments.

It never holds a password: connections come from the command line or the environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from flux.ledger import durability
from flux.ledger.layout import Layout
from flux.model.errors import LedgerDamaged


@dataclass(frozen=True, slots=True)
class Source:
    """One captured database."""

    name: str
    """The short name its rows carry in the ledger."""
    plugin: str
    """`pgoutput` or `wal2json`."""
    slot: str
    """Its replication slot."""
    database: str = ""
    """The database's name, for people."""
    host: str = ""
    """Where it was when `flux init` ran, for people."""


def read(path: Path) -> list[Source]:
    """Return the sources of the ledger at `path`; none before `flux init`."""
    file = Layout(path).sources
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))["sources"]
        return [Source(**{name: str(value) for name, value in entry.items()}) for entry in listed]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerDamaged(
            f"cannot read {file}", why="it is damaged", hint="run `flux init` again to write it anew"
        ) from error


def write(path: Path, *sources: Source) -> None:
    """Add `sources`, replacing those of the same name."""
    names = {source.name for source in sources}
    kept = [source for source in read(path) if source.name not in names]
    _store(path, [*kept, *sources])


def remove(path: Path, name: str) -> None:
    """Forget source `name`; what was captured from it stays."""
    _store(path, [source for source in read(path) if source.name != name])


def _store(path: Path, sources: Iterable[Source]) -> None:
    listed = [asdict(source) for source in sources]
    durability.write_file(Layout(path).sources, json.dumps({"sources": listed}, indent=2) + "\n")
