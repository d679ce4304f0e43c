"""Where the ledger is, and which of the places to name it did."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from flux.model.errors import UsageError

FOLDER = ".flux"
"""The ledger's folder in a project, found up the tree as git finds `.git`."""
SETTINGS = "flux.toml"
VARIABLE = "FLUX_LEDGER"


def locate(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    start: Path | None = None,
) -> tuple[Path, str]:
    """Return the ledger's folder, which need not exist, and what named it.

    The first that names one wins: the argument, `FLUX_LEDGER`, `ledger` in the nearest `flux.toml`
    up the tree (relative to that file), the nearest `.flux` up the tree, the user's data folder.
    """
    environ = os.environ if environ is None else environ
    start = (Path.cwd() if start is None else start).absolute()
    if path is not None:
        return Path(path).expanduser().absolute(), "--ledger"
    if environ.get(VARIABLE):
        return Path(environ[VARIABLE]).expanduser().absolute(), VARIABLE
    folders = (start, *start.parents)
    for folder in folders:
        named = _named_in(folder / SETTINGS)
        if named is not None:
            return (folder / Path(named).expanduser()).absolute(), str(folder / SETTINGS)
    for folder in folders:
        if (folder / FOLDER / "ledger.json").is_file():
            return folder / FOLDER, f"{FOLDER} in {folder}"
    return platformdirs.user_data_path("flux") / "ledger", "user data folder"


def configured(name: str, *, start: Path | None = None) -> tuple[object, Path] | None:
    """Return the value of `name` in the nearest `flux.toml` up the tree that has one, and that file."""
    start = (Path.cwd() if start is None else start).absolute()
    for folder in (start, *start.parents):
        value = read_settings(folder / SETTINGS).get(name)
        if value is not None:
            return value, folder / SETTINGS
    return None


def read_settings(file: Path) -> dict[str, Any]:
    """Return what a settings file says; nothing where there is none. Raises `UsageError`."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {file}", why=str(error), hint="mend or remove the file") from error


def _named_in(file: Path) -> str | None:
    named = read_settings(file).get("ledger")
    if named is not None and not isinstance(named, str):
        raise UsageError(f"cannot read {file}", why="`ledger` is not a text", hint='write ledger = "PATH"')
    return named
