"""Flux: `git log` and `git blame` for the rows of a PostgreSQL database.

`connect(path)` opens a ledger for reading and is the door for Python, pandas and polars users;
the command line (`flux`) is built on the same functions. `request(…)` marks a job of an application
that runs `flux.recorder`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from flux.ledger import Ledger
    from flux.recorder import request

__version__ = "0.1.0"

__all__ = ["__version__", "connect", "request"]


def connect(path: str | os.PathLike[str] | None = None) -> Ledger:
    """Open the ledger at `path` for reading, as of now; None finds it as the command line does.

    Raises `flux.model.errors.LedgerMissing` when there is none.
    """
    # Imported here: `import flux` alone must not load DuckDB.
    from flux.ledger import open_ledger

    return open_ledger(path)


def __getattr__(name: str) -> Any:
    # Not imported before it is asked for: the recorder needs OpenTelemetry, an extra.
    if name == "request":
        from flux.recorder import request

        return request
    raise AttributeError(f"module 'flux' has no attribute {name!r}")
