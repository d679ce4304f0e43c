"""urllib3, and so requests: one call for each `urlopen`, its retries and redirects inside."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from types import ModuleType
from typing import Any

from flux.recorder.fault import failing_open
from flux.recorder.outbound.call import Call, called
from flux.recorder.patches import Patches

_inside: ContextVar[bool] = ContextVar("flux_urllib3", default=False)


def patch(patches: Patches, library: ModuleType) -> None:
    """Hook `urllib3.connectionpool`."""
    pool = library.HTTPConnectionPool
    original = pool.urlopen

    @wraps(original)
    def urlopen(
        self: Any, method: str, url: str, body: Any = None, headers: Any = None, *rest: Any, **named: Any
    ) -> Any:
        call = None
        if not _inside.get():
            call, headers = _begin(self, method, url, body, headers)
        if call is None:
            return original(self, method, url, body, headers, *rest, **named)
        token = _inside.set(True)
        try:
            response = original(self, method, url, body, headers, *rest, **named)
        except BaseException as error:
            call.finish(error)
            raise
        finally:
            _inside.reset(token)
        call.answered(response.status, response.headers.items())
        with failing_open("urllib3's response"):
            _follow(response, call)
        return response

    patches.replace(pool, "urlopen", urlopen)


def _begin(pool: Any, method: str, url: str, body: Any, headers: Any) -> tuple[Call | None, Any]:
    sent = dict(headers if headers is not None else pool.headers or {})
    port = f":{pool.port}" if pool.port else ""
    full = url if "://" in url else f"{pool.scheme}://{pool.host}{port}{url}"
    pairs = [(_text(name), _text(value)) for name, value in sent.items()]
    call = called(method, full, pairs)
    if call is None:
        return None, headers
    with failing_open("urllib3's request"):
        call.mark(sent)
        if isinstance(body, str):
            body = body.encode("utf-8", "replace")
        if isinstance(body, bytes | bytearray):
            call.request_body.add(body)
        return call, sent
    return call, headers


def _follow(response: Any, call: Call) -> None:
    """Look at the body as it is read; with its connection given back, or with the response, the call ends."""
    kept = getattr(response, "_body", None)
    if isinstance(kept, bytes):  # read already, and unpacked
        call.response_body.add(kept)
        call.plain()
        call.finish()
        return
    for name in ("_fp_read", "_handle_chunk"):
        read = getattr(response, name, None)
        if read is not None:
            setattr(response, name, _seen(read, call))
    for name in ("release_conn", "close"):
        setattr(response, name, _ending(getattr(response, name), call))
    weakref.finalize(response, call.finish)


def _seen(read: Callable[..., Any], call: Call) -> Callable[..., Any]:
    def reading(*arguments: Any, **named: Any) -> Any:
        chunk = read(*arguments, **named)
        if isinstance(chunk, bytes):
            call.response_body.add(chunk)
        return chunk

    return reading


def _ending(end: Callable[[], Any], call: Call) -> Callable[[], Any]:
    def ending() -> Any:
        call.finish()
        return end()

    return ending


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
