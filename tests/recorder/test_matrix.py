"""Frameworks × drivers behind a pooler in transaction mode: every change is its own request's."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from flux import recorder
from recorder import applications
from recorder.drivers import drivers
from recorder.pooler import pooler
from recorder.shop import Shop

EACH = 12
"""Requests of each driver: with five drivers sixty at once, over the pooler's five connections."""
DRIVERS = ("psycopg", "psycopg2", "asyncpg", "sqlalchemy", "django")
ASGI: dict[str, Any] = {
    "starlette": applications.starlette_app,
    "fastapi": applications.fastapi_app,
    "litestar": applications.litestar_app,
    "django-asgi": partial(applications.django_app, asynchronous=True),
}
WSGI: dict[str, Any] = {
    "flask": applications.flask_app,
    "django-wsgi": partial(applications.django_app, asynchronous=False),
}

pytestmark = pytest.mark.usefixtures("recording")


@asynccontextmanager
async def serving(framework: str, made: Any) -> AsyncIterator[int]:
    """Serve the application; yield its port."""
    if framework in ASGI:
        async with applications.asgi_server(ASGI[framework](made)) as port:
            yield port
    else:
        with applications.wsgi_server(WSGI[framework](made)) as port:
            yield port


@pytest.mark.parametrize("framework", [*ASGI, *WSGI])
def test_concurrent_requests_never_mix(shop: Shop, framework: str) -> None:
    prefix, untagged = shop.prefix(), recorder.stats().get("untagged", 0)
    sent: dict[str, str] = {}

    async def send(client: httpx.AsyncClient, driver: str, number: int) -> None:
        key = f"{prefix}{driver}-{number}"
        sent[key] = f"{driver}/{uuid.uuid4()}"
        fails = int(number % 3 == 0)
        headers = {"x-request-id": sent[key]}
        answer = await client.post(f"/work/{driver}/{key}", params={"fails": fails}, headers=headers)
        assert answer.status_code in {200, 201}, answer.text
        assert answer.json() == {"key": key}
        assert answer.headers.get_list("x-request-id") == [sent[key]]

    async def send_all(pooled: int) -> None:
        async with drivers(pooled, shop.database.name) as made, serving(framework, made) as port:
            limits = httpx.Limits(max_connections=EACH * len(DRIVERS))
            base = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=base, limits=limits, timeout=60, trust_env=False) as client:
                work = itertools.product(DRIVERS, range(EACH))
                await asyncio.gather(*(send(client, driver, number) for driver, number in work))

    with pooler(shop.database.server.port) as pooled:
        applications.configure_django(pooled, shop.database.name)
        asyncio.run(send_all(pooled))
    changes = shop.changes(prefix)
    assert {change.key: change.request_id for change in changes} == {
        f"{key}-{half}": request_id for key, request_id in sent.items() for half in (1, 2)
    }
    assert len(changes) == 2 * len(sent)
    assert [change for change in changes if change.request != change.request_id] == []
    rolled_back = sum(change.outcome == "rolled_back" for change in changes)
    assert rolled_back == len(DRIVERS) * len(range(0, EACH, 3))
    assert recorder.stats().get("untagged", 0) == untagged
