"""All SQL of Flux, as files: `text` reads one, `files` lists those of a folder."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def text(name: str) -> str:
    """Return the text of `name`, for instance `postgres/010_schema.sql`."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


@cache
def files(folder: str) -> list[str]:
    """Return the sorted names of the `.sql` files in `folder`, each as `text` takes it."""
    listed = resources.files(__name__).joinpath(folder).iterdir()
    return sorted(f"{folder}/{entry.name}" for entry in listed if entry.name.endswith(".sql"))
