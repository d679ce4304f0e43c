"""Where the connection comes from, and that no password is shown."""

from __future__ import annotations

import pytest

from flux.cli.settings import Setting, connection_settings, source_dsn
from flux.cli.setup import slot_name
from flux.model.errors import UsageError


def test_the_option_wins_over_the_environment() -> None:
    environment = {"FLUX_DSN": "dbname=flux", "DATABASE_URL": "dbname=url", "PGHOST": "h"}
    assert source_dsn("dbname=x", environment) == Setting("dsn", "dbname=x", "--dsn")
    assert source_dsn(None, environment) == Setting("dsn", "dbname=flux", "FLUX_DSN")
    del environment["FLUX_DSN"]
    assert source_dsn(None, environment) == Setting("dsn", "dbname=url", "DATABASE_URL")
    assert source_dsn(None, {"PGHOST": "h", "FLUX_DSN": ""}) == Setting("dsn", None, "libpq")


def test_an_sqlalchemy_url_is_understood() -> None:
    found = source_dsn(None, {"DATABASE_URL": "postgresql+psycopg://u@h/d"})
    assert found.value == "postgresql://u@h/d"


def test_each_part_says_where_it_came_from() -> None:
    dsn = Setting("dsn", "postgresql://alice:hunter2@db.example:6432/shop", "FLUX_DSN")
    environment = {"PGSSLMODE": "require", "PGHOST": "elsewhere", "PGPASSWORD": "hunter3"}
    found = {part.name: (part.value, part.origin) for part in connection_settings(dsn, environment)}
    assert found == {
        "user": ("alice", "FLUX_DSN"),
        "password": ("***", "FLUX_DSN"),
        "dbname": ("shop", "FLUX_DSN"),
        "host": ("db.example", "FLUX_DSN"),
        "port": ("6432", "FLUX_DSN"),
        "sslmode": ("require", "PGSSLMODE"),
    }


def test_a_malformed_connection_string_is_not_quoted() -> None:
    with pytest.raises(UsageError) as caught:
        connection_settings(Setting("dsn", "password=hunter2 hos", "--dsn"), {})
    assert "hunter2" not in str(caught.value)
    assert "--dsn" in caught.value.what


@pytest.mark.parametrize(
    ("source", "slot"),
    [("shop", "flux_shop"), ("My-Shop é", "flux_my_shop__"), ("x" * 80, "flux_" + "x" * 58)],
)
def test_the_slot_has_a_name_that_postgresql_allows(source: str, slot: str) -> None:
    assert slot_name(source) == slot
