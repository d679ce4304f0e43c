"""Phenomena of PostgreSQL that a reader of its log must get right, a module for each family."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from oracle.script import Case

FAMILIES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def cases(family: str) -> tuple[Case, ...]:
    """Return the cases of a family."""
    found: tuple[Case, ...] = import_module(f"oracle.corpus.{family}").CASES
    return found
