"""Middleware for ASGI: Starlette, FastAPI, Litestar, Quart, and Django under ASGI.

Specification: https://asgi.readthedocs.io/en/latest/specs/www.html. Chunks pass as they come; WebSockets and
the lifespan are left alone. Work after the last byte (background tasks) still belongs to the request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from flux.recorder.ambient import current, in_force
from flux.recorder.entry import RESPONSE_HEADER, Entry
from flux.recorder.fault import failing_open, fault
from flux.recorder.life import Recorder, active
from flux.recorder.work import fail

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]


_RESPONSE_HEADER = RESPONSE_HEADER.encode()


class ASGI:
    """`app = recorder.ASGI(app)`, or `app.add_middleware(recorder.ASGI)`.

    Outermost it also sees what other middlewares answer.
    """

    def __init__(self, app: Application) -> None:
        self.app = app
        """The application."""
        # Litestar answers exceptions itself and tells them to its hooks only.
        hooks = getattr(app, "after_exception", None)
        if isinstance(hooks, list):
            hooks.append(_note_exception)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one connection."""
        recorder = active()
        entry = None
        if recorder is not None and scope["type"] == "http":
            with failing_open("the ASGI middleware"):
                entry = _begin(recorder, scope)
        if entry is None:
            await self.app(scope, receive, send)
            return
        try:
            with in_force(entry.request):
                await self.app(scope, _Receiving(entry, receive), _Sending(entry, send))
        except BaseException as error:
            _end(entry, scope, error)
            raise
        _end(entry, scope, None)

    def __getattr__(self, name: str) -> Any:
        # Servers and tests look at the application: `app.state`, `app.routes`.
        return getattr(self.app, name)


class _Receiving:
    """The application's way to the request's body."""

    __slots__ = ("_entry", "_receive")

    def __init__(self, entry: Entry, receive: Receive) -> None:
        self._entry, self._receive = entry, receive

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            with failing_open("a request's body"):
                self._entry.request_body.add(message.get("body", b""))
        return message


class _Sending:
    """The application's way to the client."""

    __slots__ = ("_entry", "_send")

    def __init__(self, entry: Entry, send: Send) -> None:
        self._entry, self._send = entry, send

    def __call__(self, message: Message) -> Awaitable[None]:
        try:
            if message["type"] == "http.response.start":
                message = _answered(self._entry, message)
            elif message["type"] == "http.response.body":
                self._entry.response_body.add(message.get("body", b""))
                if not message.get("more_body", False):
                    return self._last(message)
        except Exception as error:  # noqa: BLE001 (the application goes on)
            fault("a response", error)
        return self._send(message)

    async def _last(self, message: Message) -> None:
        await self._send(message)
        self._entry.complete()


async def _note_exception(error: BaseException, *_: object) -> None:
    """Record an exception that a framework answers for."""
    request = current()
    if request is not None:
        fail(request, error)


def _begin(recorder: Recorder, scope: Scope) -> Entry:
    client = scope.get("client")
    headers = scope["headers"]
    request_id = traceparent = b""
    for name, value in headers:
        # Lower-case, the specification says.
        if name == b"x-request-id":
            request_id = value
        elif name == b"traceparent":
            traceparent = value
    return Entry(
        recorder,
        method=scope["method"],
        path=scope["path"],
        query=scope.get("query_string", b"").decode("latin-1"),
        # A copy: a framework may put another list's content in its place.
        headers=list(headers),
        client=client[0] if client else None,
        request_id=request_id.decode("latin-1"),
        traceparent=traceparent.decode("latin-1"),
    )


def _answered(entry: Entry, message: Message) -> Message:
    headers = list(message.get("headers", ()))
    if _RESPONSE_HEADER not in [name.lower() for name, _ in headers]:
        added = entry.request.request_id.encode("latin-1", "replace")
        headers.append((_RESPONSE_HEADER, added))
        message = {**message, "headers": headers}
    entry.answered(message["status"], headers)
    return message


def _end(entry: Entry, scope: Scope, error: BaseException | None) -> None:
    with failing_open("a route"):
        entry.route = _route(scope)
    entry.finish(error)


def _route(scope: Scope) -> str | None:
    """Return the path's template, from what the framework left in the scope."""
    template = scope.get("path_template")  # Litestar
    if isinstance(template, str):
        return template
    path = getattr(scope.get("route"), "path", None)  # FastAPI, Starlette
    if isinstance(path, str):
        return path
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return None
    router = scope.get("router") or scope.get("app")
    for route in getattr(router, "routes", ()):
        if getattr(route, "endpoint", None) is endpoint:
            found = getattr(route, "path", None)
            return str(found) if found is not None else None
    return None
