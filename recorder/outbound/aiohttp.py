"""aiohttp's client, through its own tracing: a session made after `install` gets one more TraceConfig.

A body is seen when it is read whole (`read`, `text`, `json`); a call whose body is streamed ends with its
response.
"""

from __future__ import annotations

import weakref
from functools import wraps
from types import ModuleType, SimpleNamespace
from typing import Any

from flux.recorder.fault import failing_open
from flux.recorder.outbound.call import Call, called
from flux.recorder.patches import Patches


def patch(patches: Patches, library: ModuleType) -> None:
    """Hook `aiohttp.ClientSession`."""
    original = library.ClientSession.__init__

    @wraps(original)
    def init(self: Any, *arguments: Any, **named: Any) -> None:
        with failing_open("aiohttp's session"):
            named = {**named, "trace_configs": [*(named.get("trace_configs") or ()), _tracing(library)]}
        original(self, *arguments, **named)

    patches.replace(library.ClientSession, "__init__", init)


def _tracing(library: Any) -> Any:
    tracing = library.TraceConfig()
    tracing.on_request_start.append(_started)
    tracing.on_request_chunk_sent.append(_sent)
    tracing.on_request_exception.append(_failed)
    tracing.on_request_end.append(_answered)
    tracing.on_response_chunk_received.append(_received)
    return tracing


async def _started(_session: Any, context: SimpleNamespace, given: Any) -> None:
    context.flux = None
    call = called(given.method, str(given.url), given.headers.items())
    if call is not None:
        with failing_open("aiohttp's request"):
            call.mark(given.headers)
            context.flux = call


async def _sent(_session: Any, context: SimpleNamespace, given: Any) -> None:
    call: Call | None = context.flux
    if call is not None:
        with failing_open("aiohttp's request"):
            call.request_body.add(given.chunk)


async def _failed(_session: Any, context: SimpleNamespace, given: Any) -> None:
    call: Call | None = context.flux
    if call is not None:
        call.finish(given.exception)


async def _answered(_session: Any, context: SimpleNamespace, given: Any) -> None:
    call: Call | None = context.flux
    if call is not None:
        with failing_open("aiohttp's response"):
            call.answered(given.response.status, given.response.headers.items())
            weakref.finalize(given.response, call.finish)


async def _received(_session: Any, context: SimpleNamespace, given: Any) -> None:
    call: Call | None = context.flux
    if call is not None:
        with failing_open("aiohttp's response"):
            call.response_body.add(given.chunk)
            call.plain()  # aiohttp has unpacked it
            call.finish()
