"""What lies in a ledger's folder: making one, and telling that a folder is one.

    ledger.json      {"format": 1, …}: what makes the folder a ledger
    catalog.sqlite   the DuckLake catalog
    data/            Parquet files, immutable once the catalog names them
    sources.json     what is captured into it (no password)
    lock             held by the one process that writes
    redacted         there if values were ever redacted: capture then goes on with rules only

docs/FORMAT.md is the normative description.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from flux import __version__, sql
from flux.ledger import durability, engine, questions
from flux.model.errors import LedgerDamaged, LedgerError, LedgerMissing

FORMAT = 1
"""The format this version writes and reads; docs/FORMAT.md tells what changed in which."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The places in one ledger's folder."""

    root: Path

    @property
    def mark(self) -> Path:
        """The file that makes the folder a ledger."""
        return self.root / "ledger.json"

    @property
    def catalog(self) -> Path:
        """The DuckLake catalog."""
        return self.root / "catalog.sqlite"

    @property
    def data(self) -> Path:
        """The folder of the Parquet files."""
        return self.root / "data"

    @property
    def sources(self) -> Path:
        """What is captured into the ledger."""
        return self.root / "sources.json"

    @property
    def redacted(self) -> Path:
        """There if values were ever redacted."""
        return self.root / "redacted"

    @property
    def lock(self) -> Path:
        """Held by the writer."""
        return self.root / "lock"


def create_ledger(path: str | os.PathLike[str]) -> Path:
    """Make an empty ledger at `path` and return its folder; leave one that is there as it is.

    It appears whole or not at all: it is built beside `path` and renamed into place.
    Raises `LedgerDamaged` when something else is there, `LedgerError` when it cannot be written.
    """
    root = Path(path).absolute()
    if Layout(root).mark.exists():
        inspect(root)
        return root
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise LedgerDamaged(
            f"cannot create a ledger at {root}",
            why="something else is there",
            hint="name an empty or a new folder: --ledger PATH",
        )
    draft = root.with_name(f".{root.name.lstrip('.')}-new-{os.getpid()}")
    try:
        # Row values are as private as the database they come from.
        draft.mkdir(parents=True, mode=0o700)
        _build(Layout(draft))
        draft.rename(root)
        durability.flush_folder(root.parent)
    except (OSError, duckdb.Error) as error:
        raise LedgerError(
            f"cannot create a ledger at {root}",
            why=str(error).splitlines()[0],
            hint="check the folder's permissions and the free space of its disk",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return root


def _build(layout: Layout) -> None:
    layout.data.mkdir()
    lake = engine.open_engine(threads=1)
    try:
        engine.attach(lake, layout.catalog, layout.data, read_only=False)
        lake.execute("begin")
        lake.execute(sql.text("ledger/010_tables.sql"))
        lake.execute(sql.text("ledger/015_order.sql"))
        questions.install(lake)
        lake.execute("commit")
        lake.execute(sql.text("ledger/020_options.sql"))
    finally:
        lake.close()
    _write_mark(layout)
    durability.flush_folder(layout.root)


def _write_mark(layout: Layout) -> None:
    mark = {"format": FORMAT, "made_by": f"flux {__version__}", "macros": questions.digest()}
    durability.write_file(layout.mark, json.dumps(mark, indent=2) + "\n")


def upgrade(layout: Layout, lake: duckdb.DuckDBPyConnection) -> None:
    """Give the ledger, attached for writing, this version's macros if it has another's."""
    mark = json.loads(layout.mark.read_text(encoding="utf-8"))
    if mark.get("macros") != questions.digest():
        lake.execute("begin")
        questions.install(lake)
        lake.execute("commit")
        _write_mark(layout)


def inspect(root: Path) -> Layout:
    """Return the layout of the ledger at `root`.

    Raises `LedgerMissing` when nothing is there, and `LedgerDamaged` when what is there is not a
    ledger, is not whole, or is of a format that this version cannot read.
    """
    layout = Layout(root)
    if not root.exists():
        raise LedgerMissing(
            f"there is no ledger at {root}",
            hint="make one with `flux init`, or name another: --ledger PATH",
        )
    try:
        mark = json.loads(layout.mark.read_text(encoding="utf-8"))
        format_number = mark["format"]
    except FileNotFoundError as error:
        raise LedgerDamaged(
            f"{root} is not a ledger",
            why="it has no ledger.json",
            hint="name the ledger's folder: --ledger PATH",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LedgerDamaged(
            f"cannot read the ledger at {root}",
            why=f"{layout.mark} is damaged: {type(error).__name__}",
            hint="restore the file from a backup; it is two lines, see docs/FORMAT.md",
        ) from error
    if not isinstance(format_number, int) or format_number > FORMAT:
        raise LedgerDamaged(
            f"cannot read the ledger at {root}",
            why=f"its format is {format_number}, this version reads up to {FORMAT}",
            hint="upgrade flux: pip install --upgrade flux-ledger",
        )
    for part in (layout.catalog, layout.data):
        if not part.exists():
            raise LedgerDamaged(
                f"the ledger at {root} is not whole",
                why=f"{part.name} is missing",
                hint="restore the folder from a backup",
            )
    return layout
