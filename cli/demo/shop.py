"""The demo's shop: an application like any other, with an incident in it.

Every request tags its transaction, as a web framework's middleware would; the hot-fix by hand does not.
Nothing here knows Flux: the tag is three settings, the rest is an ordinary driver at work.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from flux import sql
from flux.model.errors import invariant

TABLES = ("users", "products", "orders", "payments")
USER = 42
"""The row of the story: the user who signs up, is upgraded, and cannot check out."""
TEAPOT = 7

SIGN_UP = "c81d4e2e-bcf2-41d6-869b-7df92533d2db"
RENAME = "a3c91ef0-6f3b-4c1d-9f0a-2b7c5e8d1a64"
UPGRADE = "4f9a3b2c-1d5e-4a7b-8c6d-0e9f8a7b6c5d"
CHECKOUT = "550e8400-e29b-41d4-a716-446655440000"
"""The request that fails."""
RETRY = "9b2e6c71-03fa-4e8d-b5a2-7d1c0f4e6a93"

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Visit:
    """One thing that happened to the shop."""

    what: str
    result: str
    """As its log would say it."""
    request_id: str | None
    xid: int
    """Its transaction, committed or not."""
    error: str = ""
    """What the database refused."""


class VoucherExpired(Exception):
    """The shop's own error; it is handled."""


def open_shop(dsn: str) -> None:
    """Make the shop's database, its tables, and a few users and goods."""
    with psycopg.connect(dsn, dbname="postgres", autocommit=True) as connection:
        connection.execute(statement("database"))
    with psycopg.connect(dsn, application_name="shop") as connection:
        connection.execute(statement("schema"))


def visits(dsn: str) -> Iterator[Visit]:
    """Let the story happen, one visit after another."""
    with psycopg.connect(dsn, application_name="shop", autocommit=True) as shop:
        yield _sign_up(shop)
        yield _rename(shop)
        yield _upgrade(shop)
        yield _hot_fix(dsn)
        yield _failing_checkout(shop)
        yield _checkout(shop)


def row(dsn: str) -> tuple[str | None, int]:
    """Return what the database says of the user: plan and credit."""
    with psycopg.connect(dsn) as connection:
        plan, credit = _one(connection, "row", user=USER)
    return plan, credit


def _sign_up(shop: Connection) -> Visit:
    with _request(shop, SIGN_UP, "POST /signup") as xid:
        _one(shop, "sign_up", email="alice@example.com")
    return Visit("POST /signup", "201 alice@example.com is user 42", SIGN_UP, xid)


def _rename(shop: Connection) -> Visit:
    with _request(shop, RENAME, "POST /profile") as xid:
        _do(shop, "rename", user=USER, name="Alice Smith")
    return Visit("POST /profile", "200", RENAME, xid)


def _upgrade(shop: Connection) -> Visit:
    with _request(shop, UPGRADE, "POST /upgrade") as xid:
        _do(shop, "upgrade", user=USER)
    return Visit("POST /upgrade", "200", UPGRADE, xid)


def _hot_fix(dsn: str) -> Visit:
    """Somebody mends data by hand: no request, no tag."""
    with psycopg.connect(dsn, user="carol", application_name="psql") as psql:
        xid = _xid(psql)
        _do(psql, "hot_fix")
    return Visit("psql, by hand", "UPDATE 1", None, xid)


def _failing_checkout(shop: Connection) -> Visit:
    """Its bug: the pricing code finds no plan, and the payment then refuses the user's missing one."""
    xid, message = 0, ""
    try:
        with _request(shop, CHECKOUT, "POST /checkout") as xid:
            _buy(shop, TEAPOT, plan=None)
    except psycopg.errors.NotNullViolation as error:
        message = error.diag.message_primary or ""
    return Visit("POST /checkout", "500, rolled back", CHECKOUT, xid, message)


def _checkout(shop: Connection) -> Visit:
    """The customer tries again, with a voucher that has expired: that part goes back to its savepoint."""
    with _request(shop, RETRY, "POST /checkout") as xid:
        with contextlib.suppress(VoucherExpired), shop.transaction():
            _do(shop, "voucher", user=USER)
            raise VoucherExpired
        _buy(shop, TEAPOT, plan="pro")
    return Visit("POST /checkout", "200 paid; the voucher was refused", RETRY, xid)


def _buy(shop: Connection, product: int, *, plan: str | None) -> None:
    (order,) = _one(shop, "order", user=USER, product=product)
    (price,) = _one(shop, "stock", product=product)
    _do(shop, "charge", user=USER, price=price, plan=plan)
    _do(shop, "pay", user=USER, order=order, price=price)
    _do(shop, "ship", order=order)


@contextlib.contextmanager
def _request(shop: Connection, request_id: str, route: str) -> Iterator[int]:
    """Run a request's transaction, tagged; yields its number."""
    with shop.transaction():
        tag = {"request_id": request_id, "actor": "alice", "attributes": json.dumps({"route": route})}
        _do(shop, "tag", **tag)
        yield _xid(shop)


def _xid(connection: Connection) -> int:
    (xid,) = _one(connection, "xid")
    return int(xid)


def _do(connection: Connection, name: str, /, **values: object) -> None:
    connection.execute(statement(name), values)


def _one(connection: Connection, name: str, /, **values: object) -> tuple[Any, ...]:
    found: tuple[Any, ...] | None = connection.execute(statement(name), values).fetchone()
    invariant(found is not None, f"the demo's {name}.sql returns a row")
    return found or ()


def statement(name: str) -> str:
    """Return the statement of a file, without the file's comment: the ledger keeps what was sent."""
    lines = sql.text(f"demo/{name}.sql").splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))
