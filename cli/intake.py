"""Where `flux up` listens for OpenTelemetry's spans: options, environment, `[otlp]` in flux.toml, defaults.

The token comes from FLUX_OTLP_TOKEN or a file, never from the command line, which every user of a machine
can read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from flux.capture.settings import IntakeSettings
from flux.ledger.location import configured
from flux.model.errors import UsageError

TOKEN_VARIABLE = "FLUX_OTLP_TOKEN"  # noqa: S105 - its name
TABLE = "otlp"
_KINDS: dict[str, type] = {"enabled": bool, "host": str, "port": int, "token_file": str}
_HINT = "known under [otlp] are enabled (true or false), host, port and token_file"


def intake_settings(
    host: str | None, port: int | None, *, once: bool, environment: Mapping[str, str] = os.environ
) -> IntakeSettings | None:
    """Return where to listen; None where not to: `enabled = false`, or a run of `once` without --otlp-port.

    Raises `UsageError` for a table in flux.toml or a token file that cannot be read.
    """
    table, file = _table()
    if port is None and (once or table.get("enabled") is False):
        return None
    usual = IntakeSettings()
    return IntakeSettings(
        host=host or str(table.get("host", usual.host)),
        port=port if port is not None else int(str(table.get("port", usual.port))),
        token=_token(table.get("token_file"), file, environment),
        required=port is not None,
    )


def _table() -> tuple[dict[str, object], Path]:
    found = configured(TABLE)
    if found is None:
        return {}, Path()
    table, file = found
    if not isinstance(table, dict):
        raise UsageError(f"cannot use {file}", why="`otlp` is not a table", hint=_HINT)
    for name, value in table.items():
        if name not in _KINDS:
            raise UsageError(f"cannot use {file}", why=f"`{name}` under [otlp] is not known", hint=_HINT)
        if type(value) is not _KINDS[name]:
            kind = _KINDS[name].__name__
            raise UsageError(
                f"cannot use {file}", why=f"`{name}` under [otlp] is not of type {kind}", hint=_HINT
            )
    port = table.get("port", 0)
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise UsageError(f"cannot use {file}", why="`port` under [otlp] is not between 0 and 65535")
    return table, file


def _token(named: object, file: Path, environment: Mapping[str, str]) -> str | None:
    token = environment.get(TOKEN_VARIABLE)
    if token:
        origin = TOKEN_VARIABLE
    elif named is not None:
        path = file.parent / Path(str(named)).expanduser()
        origin = str(path)
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not text"
            raise UsageError(
                f"cannot read the token in {path}", why=why, hint=f"or set {TOKEN_VARIABLE}"
            ) from None
    else:
        return None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"the token from {origin} cannot be used",
            why="it is empty, or holds white space or letters that no HTTP header may",
            hint="for instance: openssl rand -hex 32",
        )
    return token
