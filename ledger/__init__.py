"""The ledger: storage of what was captured, and every question asked of it."""

from __future__ import annotations

from flux.ledger.layout import create_ledger
from flux.ledger.location import locate
from flux.ledger.reader import Ledger, open_ledger
from flux.ledger.writer import StoredPosition, Writer

__all__ = ["Ledger", "StoredPosition", "Writer", "create_ledger", "locate", "open_ledger"]
