"""httpx, through its transports: every hop of a redirect is a call. A custom transport is not seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import wraps
from types import ModuleType
from typing import Any

from flux.recorder.fault import failing_open
from flux.recorder.outbound.call import Call, called
from flux.recorder.patches import Patches


def patch(patches: Patches, library: ModuleType) -> None:
    """Hook httpx's transports."""
    handle = library.HTTPTransport.handle_request

    @wraps(handle)
    def handle_request(self: Any, request: Any) -> Any:
        call = _begin(request)
        if call is None:
            return handle(self, request)
        try:
            response = handle(self, request)
        except BaseException as error:
            call.finish(error)
            raise
        call.answered(response.status_code, response.headers.multi_items())
        with failing_open("httpx's response"):
            response.stream = stream(response.stream, call)
        return response

    handle_async = library.AsyncHTTPTransport.handle_async_request

    @wraps(handle_async)
    async def handle_async_request(self: Any, request: Any) -> Any:
        call = _begin(request)
        if call is None:
            return await handle_async(self, request)
        try:
            response = await handle_async(self, request)
        except BaseException as error:
            call.finish(error)
            raise
        call.answered(response.status_code, response.headers.multi_items())
        with failing_open("httpx's response"):
            response.stream = stream_async(response.stream, call)
        return response

    stream = type("Stream", (_Stream, library.SyncByteStream), {})
    stream_async = type("AsyncStream", (_AsyncStream, library.AsyncByteStream), {})
    patches.replace(library.HTTPTransport, "handle_request", handle_request)
    patches.replace(library.AsyncHTTPTransport, "handle_async_request", handle_async_request)


class _Stream:
    """A response's body on its way to the application."""

    def __init__(self, source: Any, call: Call) -> None:
        self._source, self._call = source, call

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._source:
                self._call.response_body.add(chunk)
                yield chunk
        except Exception as error:
            self._call.finish(error)
            raise

    def close(self) -> None:
        """End the call: httpx closes every response."""
        self._source.close()
        self._call.finish()


class _AsyncStream:
    """A response's body on its way to the application."""

    def __init__(self, source: Any, call: Call) -> None:
        self._source, self._call = source, call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._source:
                self._call.response_body.add(chunk)
                yield chunk
        except Exception as error:
            self._call.finish(error)
            raise

    async def aclose(self) -> None:
        """End the call: httpx closes every response."""
        await self._source.aclose()
        self._call.finish()


def _begin(request: Any) -> Call | None:
    call = called(request.method, str(request.url), request.headers.multi_items())
    if call is not None:
        with failing_open("httpx's request"):
            call.mark(request.headers)
            # There when the body is no stream.
            call.request_body.add(getattr(request, "_content", b""))
    return call
