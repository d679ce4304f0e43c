"""An export's bytes as a message of OTLP, and the answers as bytes. Protobuf and JSON, plain and gzip.

OTLP's JSON is protobuf's with one difference: ids are hexadecimal. Some exporters send them in base64 as
protobuf says; the lengths tell which. Unknown fields are ignored, as the specification demands.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from enum import Enum
from http import HTTPStatus
from typing import Any

import orjson
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from flux.capture.otlp.refusal import Refused

_GZIP = 16 + zlib.MAX_WBITS
_CHUNK_BYTES = 1 << 20
"""Unpacked at once: what goes beyond the bound is never held whole."""
_NESTING_MAX = 100
"""Levels of JSON; protobuf's own bound for its binary form."""
_ID_FIELDS = {"traceId": 16, "spanId": 8, "parentSpanId": 8}
_SNAKE = {"traceId": "trace_id", "spanId": "span_id", "parentSpanId": "parent_span_id"}


class Encoding(Enum):
    """How an export is written, by its media type; it is answered in the same."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


def unpacked(body: bytes, *, gzipped: bool, bytes_max: int) -> bytes:
    """Return the content of `body`. Raises `Refused` 400 when it is no gzip, 413 beyond `bytes_max`."""
    if not gzipped:
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        return body
    content = bytearray()
    rest = body
    try:
        while rest:
            # One file of gzip may be several, one after the other.
            member = zlib.decompressobj(_GZIP)
            while not member.eof:
                piece = member.decompress(rest, _CHUNK_BYTES)
                rest = member.unconsumed_tail
                content += piece
                if len(content) > bytes_max:
                    raise _too_large(bytes_max)
                if not piece and not rest and not member.eof:
                    raise Refused(HTTPStatus.BAD_REQUEST, "the gzip body ends too early")
            rest = member.unused_data
    except zlib.error:
        raise Refused(HTTPStatus.BAD_REQUEST, "the body is not gzip") from None
    return bytes(content)


def _too_large(bytes_max: int) -> Refused:
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the export is larger than {bytes_max:,} bytes unpacked; send fewer spans at once",
    )


def parsed(content: bytes, encoding: Encoding) -> ExportTraceServiceRequest:
    """Return the message that `content` holds. Raises `Refused` 400 when it holds none."""
    if encoding is Encoding.JSON:
        return _from_json(content)
    try:
        return ExportTraceServiceRequest.FromString(content)
    except DecodeError:
        raise Refused(
            HTTPStatus.BAD_REQUEST, "the body is no ExportTraceServiceRequest in protobuf"
        ) from None


def _from_json(content: bytes) -> ExportTraceServiceRequest:
    refused = Refused(HTTPStatus.BAD_REQUEST, "the body is no ExportTraceServiceRequest in JSON")
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise refused from None
    if not isinstance(document, dict):
        raise refused
    for span in _spans(document):
        _ids_as_base64(span)
        for link in _dicts(span, "links"):
            _ids_as_base64(link)
    try:
        return json_format.ParseDict(
            document,
            ExportTraceServiceRequest(),
            ignore_unknown_fields=True,
            max_recursion_depth=_NESTING_MAX,
        )
    except (json_format.Error, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        # Of odd types in odd places the library raises what comes.
        raise refused from None


def _spans(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        span
        for resource in _dicts(document, "resourceSpans", "resource_spans")
        for scope in _dicts(resource, "scopeSpans", "scope_spans")
        for span in _dicts(scope, "spans")
    ]


def _dicts(parent: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    """Return the objects in the lists of these names; whatever else is there is the parser's to refuse."""
    found = [each for name in names if isinstance(parent.get(name), list) for each in parent[name]]
    return [each for each in found if isinstance(each, dict)]


def _ids_as_base64(owner: dict[str, Any]) -> None:
    """Rewrite hexadecimal ids. One that is neither becomes one that the mapping refuses by its length."""
    for camel, size in _ID_FIELDS.items():
        for name in (camel, _SNAKE[camel]):
            text = owner.get(name)
            if isinstance(text, str) and text:
                owner[name] = base64.b64encode(_id(text, size)).decode()


def _id(text: str, size: int) -> bytes:
    try:
        if len(text) == 2 * size:
            return bytes.fromhex(text)
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b"\0"


def accepted(encoding: Encoding, refused: int, why: str) -> bytes:
    """Return the body that says an export was taken, and how many of its spans were not."""
    answer = ExportTraceServiceResponse()
    if refused:
        answer.partial_success.rejected_spans = refused
        answer.partial_success.error_message = why
    if encoding is Encoding.JSON:
        return json_format.MessageToJson(answer, indent=None).encode()
    return answer.SerializeToString()


def refusal(encoding: Encoding, why: Refused) -> bytes:
    """Return the `Status` message of a refusal."""
    if encoding is Encoding.JSON:
        return orjson.dumps({"code": why.rpc_code, "message": why.text})
    # google.rpc.Status: field 1 the code, field 2 the text. Its Python class is in a package of its own.
    text = why.text.encode()[:127]
    return bytes((0x08, why.rpc_code, 0x12, len(text))) + text
