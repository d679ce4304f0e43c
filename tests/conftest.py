"""Fixtures for all tests: real PostgreSQL servers, see tests/servers."""

from __future__ import annotations

pytest_plugins = ["servers.fixtures"]
