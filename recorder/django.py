"""Middleware for Django, under WSGI and ASGI, for synchronous and asynchronous views.

    MIDDLEWARE = ["flux.recorder.django.Middleware", …]

First in the list it sees what the others answer. Transactions of `ATOMIC_REQUESTS` begin inside it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from flux.recorder.ambient import in_force
from flux.recorder.entry import Entry, with_request_id
from flux.recorder.fault import failing_open
from flux.recorder.life import Recorder, active
from flux.recorder.wsgi import Input

KEY = "flux.recorder.entry"
"""Where a request's `META` holds its entry, for `process_exception`."""


class Middleware:
    """Django's middleware protocol, both ways."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        """What comes after it."""
        self._asynchronous = iscoroutinefunction(get_response)
        if self._asynchronous:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Answer a request; a coroutine when what comes after is asynchronous."""
        if self._asynchronous:
            return self._answer(request)
        entry = _begin(request)
        if entry is None:
            return self.get_response(request)
        try:
            with in_force(entry.request):
                response = self.get_response(request)
        except BaseException as error:
            _end(entry, request, error)
            raise
        return _answered(entry, request, response)

    async def _answer(self, request: Any) -> Any:
        following: Callable[[Any], Awaitable[Any]] = self.get_response
        entry = _begin(request)
        if entry is None:
            return await following(request)
        try:
            with in_force(entry.request):
                response = await following(request)
        except BaseException as error:
            _end(entry, request, error)
            raise
        return _answered(entry, request, response)

    def process_exception(self, request: Any, exception: BaseException) -> None:
        """Take note of a view's exception; Django answers it."""
        entry = request.META.get(KEY)
        if entry is not None:
            entry.failed(exception)


def _begin(request: Any) -> Entry | None:
    recorder = active()
    if recorder is None:
        return None
    with failing_open("the Django middleware"):
        entry = _entry(recorder, request)
        request.META[KEY] = entry
        # Not `request.body`: reading it here would take the stream from the view.
        if hasattr(request, "_stream") and not getattr(request, "_read_started", False):
            request._stream = Input(entry, request._stream)
        return entry
    return None


def _entry(recorder: Recorder, request: Any) -> Entry:
    return Entry(
        recorder,
        method=request.method or "",
        path=request.path,
        query=request.META.get("QUERY_STRING", ""),
        headers=[(name, value) for name, value in request.headers.items() if isinstance(value, str)],
        client=request.META.get("REMOTE_ADDR"),
        request_id=request.META.get("HTTP_X_REQUEST_ID", ""),
        traceparent=request.META.get("HTTP_TRACEPARENT", ""),
    )


def _answered(entry: Entry, request: Any, response: Any) -> Any:
    with failing_open("a response"):
        headers = list(response.items())
        added = with_request_id(headers, entry.request.request_id)
        if added is not None:
            response[added[0]] = added[1]
            headers.append(added)
        headers += [("set-cookie", morsel.OutputString()) for morsel in response.cookies.values()]
        entry.answered(response.status_code, headers)
        if getattr(response, "streaming", False):
            wrapped = _stream_async if response.is_async else _stream
            response.streaming_content = wrapped(entry, request, response.streaming_content)
            # Django calls these when the response is closed, also when it was never read.
            response._resource_closers.append(lambda: _end(entry, request, None))
            return response
        entry.response_body.add(response.content)
    _end(entry, request, None)
    return response


def _stream(entry: Entry, request: Any, chunks: Any) -> Iterator[bytes]:
    source = iter(chunks)
    try:
        while True:
            with in_force(entry.request):
                chunk = next(source, None)
            if chunk is None:
                break
            with failing_open("a response"):
                entry.response_body.add(chunk)
            yield chunk
    except BaseException as error:
        _end(entry, request, error if isinstance(error, Exception) else None)
        raise
    entry.complete()
    _end(entry, request, None)


async def _stream_async(entry: Entry, request: Any, chunks: Any) -> AsyncIterator[bytes]:
    source = aiter(chunks)
    try:
        while True:
            with in_force(entry.request):
                chunk = await anext(source, None)
            if chunk is None:
                break
            with failing_open("a response"):
                entry.response_body.add(chunk)
            yield chunk
    except BaseException as error:
        _end(entry, request, error if isinstance(error, Exception) else None)
        raise
    entry.complete()
    _end(entry, request, None)


def _end(entry: Entry, request: Any, error: BaseException | None) -> None:
    with failing_open("a route"):
        match = getattr(request, "resolver_match", None)
        if match is not None:
            entry.route = "/" + str(match.route).removeprefix("/")
    with suppress(AttributeError, KeyError):
        del request.META[KEY]
    entry.finish(error)
