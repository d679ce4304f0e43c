"""The shop's web application. Two lines of it are Flux's: `install` and `recorder.ASGI`.

SHOP_DSN=postgresql:///shop PAYMENTS_URL=http://127.0.0.1:9100 uvicorn examples.shop.app:app
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, HTTPException
from psycopg_pool import ConnectionPool
from pydantic import BaseModel

from flux import recorder

from . import payments, pricing

recorder.install(service="shop")

pool = ConnectionPool(os.environ["SHOP_DSN"], min_size=1, max_size=10, open=False)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    with pool:
        yield
    recorder.flush()


shop = FastAPI(title="shop", lifespan=lifespan)


class NewUser(BaseModel):
    email: str


class Profile(BaseModel):
    name: str


class Order(BaseModel):
    product: int
    coupon: str | None = None
    voucher: str | None = None


class VoucherExpired(Exception):
    pass


@shop.post("/signup", status_code=201)
def sign_up(new: NewUser) -> dict[str, int]:
    with pool.connection() as db:
        found = db.execute(
            "insert into users (email, plan) values (%s, 'free') returning id", (new.email,)
        ).fetchone()
    assert found is not None
    return {"id": found[0]}


@shop.get("/users/{user}")
def show(user: int) -> dict[str, object]:
    with pool.connection() as db:
        found = db.execute("select email, name, plan, credit from users where id = %s", (user,)).fetchone()
    if found is None:
        raise HTTPException(404, "no such user")
    return dict(zip(("email", "name", "plan", "credit"), found, strict=True))


@shop.post("/users/{user}/profile")
def rename(user: int, profile: Profile) -> dict[str, str]:
    with pool.connection() as db:
        db.execute("update users set name = %s where id = %s", (profile.name, user))
    return {"name": profile.name}


@shop.post("/users/{user}/upgrade")
def upgrade(user: int) -> dict[str, str]:
    with pool.connection() as db:
        db.execute("update users set plan = 'pro', credit = credit + 100 where id = %s", (user,))
    return {"plan": "pro"}


@shop.post("/users/{user}/checkout")
def check_out(user: int, order: Order) -> dict[str, object]:
    with pool.connection() as db:
        found = db.execute("select plan from users where id = %s", (user,)).fetchone()
        if found is None:
            raise HTTPException(404, "no such user")
        if order.voucher:
            with suppress(VoucherExpired), db.transaction():
                db.execute("update users set credit = credit + 500 where id = %s", (user,))
                raise VoucherExpired
        made = db.execute(
            "insert into orders (user_id, product_id) values (%s, %s) returning id", (user, order.product)
        ).fetchone()
        taken = db.execute(
            "update products set stock = stock - 1 where id = %s returning price", (order.product,)
        ).fetchone()
        if made is None or taken is None:
            raise HTTPException(404, "no such product")
        plan = pricing.plan_after(found[0], order.coupon)
        db.execute("update users set credit = credit - %s, plan = %s where id = %s", (taken[0], plan, user))
        reference = payments.charge(made[0], taken[0], plan)
        db.execute(
            "insert into payments (order_id, reference, amount) values (%s, %s, %s)",
            (made[0], reference, taken[0]),
        )
        db.execute("update orders set state = 'paid' where id = %s", (made[0],))
    return {"order": made[0], "paid": taken[0]}


app = recorder.ASGI(shop)
