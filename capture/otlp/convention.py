"""What OpenTelemetry's semantic conventions say about a span: the request it is, the exchange it is.

HTTP and database spans, by the stable names and by those before them; the recorder's own attributes
(`flux.…`) come first where they say more. Pure functions over texts.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import orjson

from flux.capture.otlp.attribute import Attributes, listed, number

_STATUS_MAX = 999
_COUNT_MAX = (1 << 63) - 1

_METHOD = ("http.request.method", "http.method")
_URL = ("url.full", "http.url")
_STATUS = ("http.response.status_code", "http.status_code")
_SYSTEM = ("db.system.name", "db.system")
_STATEMENT = ("db.query.text", "db.statement")
_OPERATION = ("db.operation.name", "db.operation")
_DATABASE = ("db.namespace", "db.name", "server.address", "net.peer.name", *_SYSTEM)
_PEER = ("server.address", "http.host", "net.peer.name", "http.server_name")

_REQUEST_HEADER, _RESPONSE_HEADER = "http.request.header.", "http.response.header."
_PARAMETER = "db.query.parameter."
_AFTER_PATH = re.compile(r"[?#]")
_BEFORE_PATH = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong in a span."""

    type: str | None
    message: str | None
    stack: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """What an entry span says of its request."""

    method: str | None
    route: str | None
    path: str | None
    status: int | None
    location: str | None
    """Of its error, in the application's own code."""
    request: dict[str, Any]
    """headers, body."""
    response: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a client span says of its exchange."""

    kind: str
    target: str
    fingerprint: str
    seq: int | None
    """None: the sender did not count."""
    occurrence: int | None
    request: str
    response: str | None
    error: str | None


def fingerprint(*parts: str) -> str:
    """Return 16 hexadecimal digits that tell exchanges apart: of a statement, or of method, URL and body."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def failure_of(
    attributes: Attributes, events: list[dict[str, Any]], *, failed: bool, said: str
) -> Failure | None:
    """Return why a span failed, None if it did not; `failed` and `said` are its status.

    An exception that was handled leaves the status as it was, and is no failure.
    """
    if not failed and "error.type" not in attributes:
        return None
    thrown: Attributes = next(
        (event["attributes"] for event in reversed(events) if event["name"] == "exception"), {}
    )
    return Failure(
        thrown.get("exception.type") or attributes.get("error.type") or _first(attributes, _STATUS),
        thrown.get("exception.message") or said or None,
        thrown.get("exception.stacktrace"),
    )


def request_of(name: str, attributes: Attributes) -> Request:
    """Return the request that a SERVER or CONSUMER span is; one without HTTP is a job."""
    method = _method(attributes)
    return Request(
        method=method,
        route=attributes.get("http.route") if method else name,
        path=_path(attributes) if method else None,
        status=number(_first(attributes, _STATUS), _STATUS_MAX),
        location=attributes.get("flux.error.location"),
        request=_message(attributes, _REQUEST_HEADER, "flux.request.body"),
        response=_message(attributes, _RESPONSE_HEADER, "flux.response.body"),
    )


def exchange_of(attributes: Attributes, failure: Failure | None) -> Exchange | None:
    """Return the exchange that a CLIENT span is, None for one that is neither HTTP nor a database's.

    A database span without a statement or an operation (a connection that is opened) asks for nothing.
    """
    if _first(attributes, _STATEMENT) is not None or (
        _first(attributes, _SYSTEM) is not None and _first(attributes, _OPERATION) is not None
    ):
        return _sql(attributes, failure)
    if _first(attributes, _METHOD) is not None:
        return _http(attributes, failure)
    return None


def _sql(attributes: Attributes, failure: Failure | None) -> Exchange:
    statement = _first(attributes, _STATEMENT) or _first(attributes, _OPERATION) or ""
    rows = number(attributes.get("db.response.returned_rows"), _COUNT_MAX)
    code = attributes.get("db.response.status_code")
    return _exchange(
        "sql",
        _first(attributes, _DATABASE) or "",
        fingerprint(statement),
        attributes,
        {"statement": statement, "parameters": _parameters(attributes)},
        {"rows": rows},
        _error(failure, code),
    )


def _http(attributes: Attributes, failure: Failure | None) -> Exchange:
    method, url = _method(attributes) or "", _url(attributes)
    status = number(_first(attributes, _STATUS), _STATUS_MAX)
    request = _message(attributes, _REQUEST_HEADER, "flux.request.body")
    response = _message(attributes, _RESPONSE_HEADER, "flux.response.body")
    return _exchange(
        "http",
        f"{method} {_AFTER_PATH.split(url, maxsplit=1)[0]}",
        fingerprint(method, url, request["body"] or ""),
        attributes,
        {"method": method, "url": url, **request},
        {"status": status, **response},
        _error(failure, None),
    )


def _exchange(
    kind: str,
    target: str,
    mark: str,
    attributes: Attributes,
    request: dict[str, Any],
    response: dict[str, Any],
    error: dict[str, Any],
) -> Exchange:
    return Exchange(
        kind,
        target,
        attributes.get("flux.exchange.fingerprint") or mark,
        number(attributes.get("flux.exchange.seq"), _COUNT_MAX),
        number(attributes.get("flux.exchange.occurrence"), _COUNT_MAX),
        _json(request) or "{}",
        _json(response),
        _json(error),
    )


def _json(fields: dict[str, Any]) -> str | None:
    """Return the fields that have a value; None when none has."""
    given = {name: value for name, value in fields.items() if value is not None}
    return orjson.dumps(given).decode() if given else None


def _error(failure: Failure | None, code: str | None) -> dict[str, Any]:
    if failure is None:
        return {}
    return {"type": failure.type, "code": code, "message": failure.message}


def _parameters(attributes: Attributes) -> list[str | None] | dict[str, str | None] | None:
    """Return a statement's parameters: a list when they are numbered from 0, else by name."""
    found = {
        name.removeprefix(_PARAMETER): value
        for name, value in attributes.items()
        if name.startswith(_PARAMETER)
    }
    found |= dict.fromkeys(listed(attributes.get("flux.db.null_parameters")))
    if not found:
        return None
    numbered = [str(place) for place in range(len(found))]
    if found.keys() == set(numbered):
        return [found[place] for place in numbered]
    return found


def _message(attributes: Attributes, prefix: str, body: str) -> dict[str, Any]:
    """Return headers and body of a request or a response, None for what is not known."""
    headers = {
        name.removeprefix(prefix).lower(): ", ".join(listed(value))
        for name, value in attributes.items()
        if name.startswith(prefix)
    }
    return {"headers": headers or None, "body": attributes.get(body)}


def _method(attributes: Attributes) -> str | None:
    method = _first(attributes, _METHOD)
    return attributes.get("http.request.method_original") or method if method == "_OTHER" else method


def _url(attributes: Attributes) -> str:
    whole = _first(attributes, _URL)
    if whole is not None:
        return whole
    scheme = attributes.get("url.scheme") or attributes.get("http.scheme") or "http"
    return f"{scheme}://{_first(attributes, _PEER) or ''}{attributes.get('http.target') or ''}"


def _path(attributes: Attributes) -> str | None:
    path = attributes.get("url.path")
    if path is not None:
        return path
    target = attributes.get("http.target") or _first(attributes, _URL)
    if target is None:
        return None
    return _AFTER_PATH.split(_BEFORE_PATH.sub("", target), maxsplit=1)[0] or "/"


def _first(attributes: Attributes, names: tuple[str, ...]) -> str | None:
    """Return the value of the first of these attributes that has one."""
    for name in names:
        value = attributes.get(name)
        if value:
            return value
    return None
