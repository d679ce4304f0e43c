"""The ledger: storage of what was captured, and every question asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flux.ledger.layout import create_ledger
from flux.ledger.location import locate
from flux.ledger.reader import Ledger, open_ledger

if TYPE_CHECKING:
    from flux.ledger.writer import StoredPosition, Writer

__all__ = ["Ledger", "StoredPosition", "Writer", "create_ledger", "locate", "open_ledger"]


def __getattr__(name: str) -> Any:
    # Asking needs none of what writing imports: 100 ms of a command's 400.
    if name in {"StoredPosition", "Writer"}:
        from flux.ledger import writer

        return getattr(writer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
