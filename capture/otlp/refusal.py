"""Why an export is not taken: the HTTP status, what it says, and whether it may be sent again.

As the OTLP specification has it: 429 and 503 are worth a retry, after `Retry-After`; every other refusal
is final.
"""

from __future__ import annotations

from http import HTTPStatus

_RPC_CODES = {
    HTTPStatus.UNAUTHORIZED: 16,
    HTTPStatus.FORBIDDEN: 7,
    HTTPStatus.NOT_FOUND: 5,
    HTTPStatus.METHOD_NOT_ALLOWED: 12,
    HTTPStatus.REQUEST_TIMEOUT: 4,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: 8,
    HTTPStatus.TOO_MANY_REQUESTS: 8,
    HTTPStatus.INTERNAL_SERVER_ERROR: 13,
    HTTPStatus.SERVICE_UNAVAILABLE: 14,
}
_RPC_INVALID = 3


class Refused(Exception):
    """An export is refused; the text is shown to its sender and holds nothing of what it sent."""

    def __init__(self, status: HTTPStatus, text: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.retry_after_s = retry_after_s
        """Seconds; None where sending it again is no use."""

    @property
    def rpc_code(self) -> int:
        """The status as gRPC numbers it, which is what a `Status` message holds."""
        return _RPC_CODES.get(self.status, _RPC_INVALID)
