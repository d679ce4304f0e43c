"""Databases for the tests of redaction: each plugin on the oldest and the newest server."""

from __future__ import annotations

from servers.fixtures import database_on

database = database_on((15, "wal2json"), (18, "pgoutput"))
