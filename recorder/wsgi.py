"""Middleware for WSGI (PEP 3333): Flask, Django under WSGI, Pyramid, Bottle.

Chunks pass as they come. A file handed to the server's `wsgi.file_wrapper` stays what it is, and its bytes
are not looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flux.recorder.ambient import current, in_force
from flux.recorder.entry import RESPONSE_HEADER, Entry, with_request_id
from flux.recorder.fault import failing_open
from flux.recorder.life import Recorder, active
from flux.recorder.work import fail

Environ = dict[str, Any]
Application = Callable[[Any, Any], Iterable[bytes]]


class WSGI:
    """`app.wsgi_app = recorder.WSGI(app.wsgi_app)`, or around any WSGI application."""

    def __init__(self, app: Application) -> None:
        self.app = app
        """The application."""

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Run the application for one request."""
        recorder = active()
        entry = None
        if recorder is not None:
            with failing_open("the WSGI middleware"):
                _hear_flask()
                entry = _begin(recorder, environ)
        if entry is None:
            return self.app(environ, start_response)
        try:
            with in_force(entry.request):
                answer = self.app(environ, _Starting(entry, environ, start_response))
        except BaseException as error:
            _end(entry, environ, error)
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(answer, wrapper):
            _end(entry, environ, None)
            return answer
        if type(answer) in {list, tuple}:
            # Handed on as it is: a server may take the length of a list for the content's.
            with failing_open("a response"):
                for chunk in answer:
                    entry.response_body.add(chunk)
            _end(entry, environ, None)
            return answer
        return _Answer(entry, environ, answer)


class _Starting:
    """`start_response`, which also says the request's id."""

    __slots__ = ("_entry", "_environ", "_start")

    def __init__(self, entry: Entry, environ: Environ, start: Any) -> None:
        self._entry, self._environ, self._start = entry, environ, start

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        with failing_open("a response"):
            added = with_request_id(headers, self._entry.request.request_id)
            if added is not None:
                headers = [*headers, added]
            self._entry.answered(int(status[:3]), headers)
            self._entry.route = _route(self._environ)
        return self._start(status, headers, exc_info) if exc_info else self._start(status, headers)


class _Answer:
    """The response's chunks on their way to the server, made while the request is in force."""

    __slots__ = ("_chunks", "_entry", "_environ", "_source")

    def __init__(self, entry: Entry, environ: Environ, source: Iterable[bytes]) -> None:
        self._entry, self._environ, self._source = entry, environ, source
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> _Answer:
        return self

    def __next__(self) -> bytes:
        entry = self._entry
        try:
            with in_force(entry.request):
                if self._chunks is None:
                    self._chunks = iter(self._source)
                chunk = next(self._chunks)
        except StopIteration:
            entry.complete()
            raise
        except BaseException as error:
            _end(entry, self._environ, error)
            raise
        with failing_open("a response"):
            entry.response_body.add(chunk)
        return chunk

    def close(self) -> None:
        """End the response: every server calls it, also when the client is gone."""
        try:
            close = getattr(self._source, "close", None)
            if close is not None:
                with in_force(self._entry.request):
                    close()
        finally:
            _end(self._entry, self._environ, None)


class Input:
    """A request's body as the application reads it (`wsgi.input`, Django's stream)."""

    def __init__(self, entry: Entry, source: Any) -> None:
        self._entry, self._source = entry, source

    def _seen(self, chunk: bytes) -> bytes:
        with failing_open("a request's body"):
            self._entry.request_body.add(chunk)
        return chunk

    def read(self, *size: Any) -> bytes:
        """Read, as a file does."""
        return self._seen(self._source.read(*size))

    def readline(self, *size: Any) -> bytes:
        """Read a line, as a file does."""
        return self._seen(self._source.readline(*size))

    def readlines(self, *hint: Any) -> list[bytes]:
        """Read lines, as a file does."""
        return [self._seen(line) for line in self._source.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        for line in self._source:
            yield self._seen(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def _begin(recorder: Recorder, environ: Environ) -> Entry:
    headers = [
        (name[5:].replace("_", "-").lower(), value)
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    ]
    plain = ("CONTENT_TYPE", "CONTENT_LENGTH")
    headers += [(name.replace("_", "-").lower(), environ[name]) for name in plain if environ.get(name)]
    path = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")) or "/"
    entry = Entry(
        recorder,
        method=environ["REQUEST_METHOD"],
        path=path.encode("latin-1", "replace").decode("utf-8", "replace"),
        query=environ.get("QUERY_STRING", ""),
        headers=headers,
        client=environ.get("REMOTE_ADDR"),
        request_id=environ.get("HTTP_X_REQUEST_ID", ""),
        traceparent=environ.get("HTTP_TRACEPARENT", ""),
    )
    if environ.get("wsgi.input") is not None:
        environ["wsgi.input"] = Input(entry, environ["wsgi.input"])
    return entry


def _end(entry: Entry, environ: Environ, error: BaseException | None) -> None:
    with failing_open("a route"):
        entry.route = entry.route or _route(environ)
    entry.finish(error)


def _route(environ: Environ) -> str | None:
    """Return the path's template while werkzeug's request is there: Flask takes it away before the end."""
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return str(rule.rule) if rule is not None else None


_heard = False


def _hear_flask() -> None:
    """Have Flask tell the exceptions that it answers for; once, when the application uses Flask."""
    global _heard  # noqa: PLW0603 (a signal is connected once in a process)
    flask = sys.modules.get("flask")
    if flask is not None and not _heard:
        _heard = True
        flask.got_request_exception.connect(_note_exception, weak=False)


def _note_exception(_sender: object, exception: BaseException, **_: object) -> None:
    request = current()
    if request is not None:
        fail(request, exception)


__all__ = ["RESPONSE_HEADER", "WSGI", "Input"]
