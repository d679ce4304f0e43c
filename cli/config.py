"""`flux config show`: every setting, its value, and where the value came from."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from flux.cli import console, redaction
from flux.cli.options import DsnOption, FormatOption, JsonOption, LedgerOption, OutputOption
from flux.cli.render import Rows, write_rows
from flux.cli.settings import Setting, connection_settings, source_dsn
from flux.cli.window import target
from flux.model.errors import FluxError


def show(
    dsn: DsnOption = None,
    ledger: LedgerOption = None,
    form: FormatOption = None,
    json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Show which ledger and which database a command would use, and why. Connects to nothing."""
    from flux.ledger.location import locate

    where = target(form, json, output)
    folder, origin = locate(ledger)
    settings = [Setting("ledger", str(folder), origin)]
    settings += _sources(ledger)
    settings += redaction.settings(folder)
    found = source_dsn(dsn)
    if found.value is None:
        settings.append(Setting("dsn", None, "not set: libpq's own settings decide"))
    settings += [
        Setting(f"connection.{part.name}", part.value, part.origin) for part in connection_settings(found)
    ]
    zone = os.environ.get("TZ")
    settings.append(Setting("time zone", str(where.zone), "TZ" if zone else "this machine"))
    settings.append(Setting("colour", "yes" if console.has_colour(sys.stdout) else "no", _colour_origin()))
    write_rows(Rows(("setting", "value", "from"), [(s.name, s.value, s.origin) for s in settings]), where)


def _sources(option: object) -> Iterator[Setting]:
    """Yield what is captured into the ledger, if there is one that can be read."""
    from flux.ledger import sources
    from flux.ledger.location import locate

    folder, _ = locate(option)  # type: ignore[arg-type]
    try:
        listed = sources.read(folder)
    except FluxError as error:
        console.warn(error.what)
        return
    for source in listed:
        described = f"plugin {source.plugin}, slot {source.slot}, database {source.database}"
        yield Setting(f"source {source.name}", described, str(folder / "sources.json"))


def _colour_origin() -> str:
    for variable in ("NO_COLOR", "FORCE_COLOR"):
        if os.environ.get(variable):
            return variable
    if os.environ.get("TERM") == "dumb":
        return "TERM=dumb"
    return "stdout is a terminal" if sys.stdout.isatty() else "stdout is no terminal"
