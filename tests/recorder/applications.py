"""The same small application in four frameworks, on real HTTP servers.

`POST /work/DRIVER/KEY?fails=0|1` does the work of `recorder.drivers` with the id that the client sent.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import fastapi
import flask
import litestar
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from werkzeug.serving import make_server

from flux import recorder
from recorder.drivers import Driver
from servers.server import free_port, listens

Drivers = dict[str, Driver]


def starlette_app(drivers: Drivers) -> Any:
    async def work(request: Request) -> JSONResponse:
        given = request.path_params
        fails = request.query_params["fails"] == "1"
        await drivers[given["driver"]].in_loop(given["key"], request.headers["x-request-id"], fails)
        return JSONResponse({"key": given["key"]})

    app = Starlette(routes=[Route("/work/{driver}/{key}", work, methods=["POST"])])
    app.add_middleware(recorder.ASGI)
    return app


def fastapi_app(drivers: Drivers) -> Any:
    app = fastapi.FastAPI()

    @app.post("/work/{driver}/{key}")
    async def work(request: fastapi.Request, driver: str, key: str, fails: int) -> dict[str, str]:
        await drivers[driver].in_loop(key, request.headers["x-request-id"], bool(fails))
        return {"key": key}

    return recorder.ASGI(app)


def litestar_app(drivers: Drivers) -> Any:
    @litestar.post("/work/{driver:str}/{key:str}")
    async def work(request: litestar.Request[Any, Any, Any]) -> dict[str, str]:
        given, fails = request.path_params, request.query_params["fails"] == "1"
        await drivers[given["driver"]].in_loop(given["key"], request.headers["x-request-id"], fails)
        return {"key": given["key"]}

    # Litestar reads the handler's annotations, which are text here.
    return recorder.ASGI(litestar.Litestar([work], signature_namespace={"litestar": litestar, "Any": Any}))


def flask_app(drivers: Drivers) -> Any:
    app = flask.Flask(__name__)

    @app.post("/work/<driver>/<key>")
    def work(driver: str, key: str) -> dict[str, str]:
        fails = flask.request.args["fails"] == "1"
        drivers[driver].threaded(key, flask.request.headers["x-request-id"], fails)
        return {"key": key}

    app.wsgi_app = recorder.WSGI(app.wsgi_app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def asgi_server(app: Any) -> AsyncIterator[int]:
    """Serve an ASGI application in this event loop; yield its port."""
    port = free_port()
    # The client's idle connections must not be closed just as it takes one again.
    options: dict[str, Any] = {"log_level": "warning", "ws": "none", "timeout_keep_alive": 600}
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, **options))
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(20):
            while not listens(port):
                await asyncio.wait([serving], timeout=0.02)
        yield port
    finally:
        server.should_exit = True
        await serving


@contextmanager
def wsgi_server(app: Any) -> Iterator[int]:
    """Serve a WSGI application, a thread for each request; yield its port."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def django_app(drivers: Drivers, *, asynchronous: bool) -> Any:
    """Return Django as a WSGI or as an ASGI application; `django.conf.settings` are those of `configure`."""
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler

    views = sys.modules[__name__]
    views.__dict__["urlpatterns"] = _django_urls(drivers, asynchronous)
    _clear_urls()
    return ASGIHandler() if asynchronous else WSGIHandler()


def configure_django(port: int, database: str) -> None:
    """Settings for a database behind a pooler; once in a process."""
    import django
    from django.conf import settings

    place = {"HOST": "127.0.0.1", "PORT": port, "USER": "postgres", "NAME": database}
    if settings.configured:
        settings.DATABASES["default"].update(place)
        return
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "DISABLE_SERVER_SIDE_CURSORS": True,
                **place,
            }
        },
        MIDDLEWARE=["flux.recorder.django.Middleware"],
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["127.0.0.1", "testserver"],
        SECRET_KEY="for tests",
        DEBUG=False,
        LOGGING_CONFIG=None,
    )
    django.setup()


def _clear_urls() -> None:
    from django.urls import clear_url_caches

    clear_url_caches()


def _django_urls(drivers: Drivers, asynchronous: bool) -> list[Any]:
    from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
    from django.urls import path

    def work(request: HttpRequest, driver: str, key: str) -> JsonResponse:
        fails = request.GET["fails"] == "1"
        drivers[driver].threaded(key, request.headers["x-request-id"], fails)
        return JsonResponse({"key": key})

    async def work_async(request: HttpRequest, driver: str, key: str) -> JsonResponse:
        fails = request.GET["fails"] == "1"
        await drivers[driver].in_loop(key, request.headers["x-request-id"], fails)
        return JsonResponse({"key": key})

    def echo(request: HttpRequest, name: str) -> HttpResponse:
        body = request.read() if name == "stream" else request.body
        return HttpResponse(body, content_type=request.headers["content-type"], status=201)

    def fail(_request: HttpRequest) -> HttpResponse:
        raise LookupError("no such thing")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000

    def stream(_request: HttpRequest) -> StreamingHttpResponse:
        made = chunks() if asynchronous else (b"x" * 10_000 for _ in range(100))
        return StreamingHttpResponse(made, content_type="text/plain")

    view: Any = work_async if asynchronous else work
    return [
        path("work/<driver>/<key>", view),
        path("echo/<name>", echo),
        path("fail", fail),
        path("stream", stream),
    ]
