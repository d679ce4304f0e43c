"""Which database and which ledger a command means, and where each value came from.

The order is the contract's: the option, the environment, `flux.toml`, the default. No value of a
password ever leaves this module: `redacted` is what may be shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from flux.model.errors import UsageError

_DRIVER = re.compile(r"postgres(?:ql)?\+[a-z0-9_]+://", re.IGNORECASE)
_VARIABLES = ("FLUX_DSN", "DATABASE_URL")
_LIBPQ = {
    "service": "PGSERVICE",
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "sslmode": "PGSSLMODE",
}
_SECRET = {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it was resolved."""

    name: str
    value: str | None
    origin: str
    """Where it came from: `--dsn`, `FLUX_DSN`, `PGHOST`, a file's path, `default`."""


def source_dsn(option: str | None, environment: Mapping[str, str] = os.environ) -> Setting:
    """Return the connection string; its value is None when libpq's own settings decide."""
    if option is not None:
        return Setting("dsn", _for_libpq(option), "--dsn")
    for variable in _VARIABLES:
        if value := environment.get(variable):
            return Setting("dsn", _for_libpq(value), variable)
    return Setting("dsn", None, "libpq")


def _for_libpq(dsn: str) -> str:
    """SQLAlchemy's `postgresql+psycopg://` is what many a DATABASE_URL holds: libpq wants it plain."""
    return _DRIVER.sub("postgresql://", dsn, count=1)


def connection_settings(dsn: Setting, environment: Mapping[str, str] = os.environ) -> list[Setting]:
    """Return each part of the connection that is set, with its origin; passwords as `***`.

    Raises `UsageError` for a connection string that libpq cannot read.
    """
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(dsn.value or "")
    except Exception as error:  # whatever libpq says may quote the string, and so a password
        raise UsageError(
            f"the connection string from {dsn.origin} cannot be read",
            hint="write it as postgresql://user@host:5432/database or 'host=… dbname=… user=…'",
        ) from error
    found = []
    for name, value in parts.items():
        found.append(Setting(name, "***" if name in _SECRET else str(value), dsn.origin))
    for name, variable in _LIBPQ.items():
        value = environment.get(variable)
        if name not in parts and value:
            found.append(Setting(name, "***" if name in _SECRET else value, variable))
    return found
