"""What the recorder is told at its start, and every bound it keeps.

The values come from `install(...)`, else from the environment, else from here. Nothing in this room
reads the environment later.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ENDPOINT = "http://127.0.0.1:4318/v1/traces"
"""Where `flux up` takes spans when nothing else is said."""
BODY_BYTES_MAX = 16 * 1024
"""Bytes of a request's or response's body that are kept: a JSON document of an API, not an upload."""
STATEMENT_CHARS_MAX = 16 * 1024
"""Characters of a statement that are kept."""
PARAMETER_CHARS_MAX = 1024
"""Characters of one parameter that are kept."""
PARAMETERS_MAX = 200
"""Parameters of one statement that are kept; a bulk insert may have 65,535."""
EXCHANGES_MAX = 1000
"""Exchanges of one request that become spans; those after them are counted."""
ATTRIBUTES_MAX = 1024
"""Attributes of one span; OpenTelemetry's own 128 are too few for headers and parameters."""
QUEUE_SPANS_MAX = 8192
"""Spans that wait for the exporter."""
QUEUE_BYTES_MAX = 32 * 1024 * 1024
"""Characters in the attributes of the spans that wait: the recorder's share of the process's memory."""
BATCH_SPANS_MAX = 512
"""Spans of one export; with bodies about 2 MB before compression."""
FLUSH_INTERVAL_S = 0.5
"""How long a span waits at most for others before its batch goes out."""
SEND_TIMEOUT_S = 10.0
"""One attempt to deliver a batch, connecting included."""
BACKOFF_S_MIN = 0.5
"""Wait after the first failed attempt; doubled with each further one."""
BACKOFF_S_MAX = 30.0
"""The longest wait between two attempts, also when the server asks for more."""
SPOOL_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of batches on disk while the capture daemon is away."""
SPOOL_FILES_MAX = 1024
"""Batches on disk while the capture daemon is away."""
EXIT_S_MAX = 2.0
"""How long the end of the process waits for the last batches; what is left goes to the spool."""
LIFE_S_MAX = 300.0
"""How long tasks and threads that outlive their request still count as its work."""

MASKED_HEADERS = (
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrftoken",
    "x-xsrf-token",
)
"""Headers whose values never leave the process."""
MASKED_FIELDS = (
    "access_token",
    "api_key",
    "apikey",
    "client_secret",
    "credit_card",
    "cvv",
    "id_token",
    "passwd",
    "password",
    "refresh_token",
    "secret",
    "sig",
    "signature",
    "token",
)
"""Fields of JSON and form bodies and of queries whose values never leave the process."""


@cache
def own_version() -> str:
    """Return Flux's version: from its metadata, for `flux` itself would tie us to all it exports."""
    try:
        return version("flux-ledger")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True, slots=True)
class Settings:
    """How one process records."""

    service: str
    """`service.name`."""
    endpoint: str = ENDPOINT
    """URL of the intake."""
    token: str | None = field(default=None, repr=False)
    """Sent as `authorization: Bearer …`."""
    spool: Path | None = None
    """Folder for batches that cannot be delivered; None keeps none."""
    root: Path = field(default_factory=Path.cwd)
    """Where the user's code lies; file names are told relative to it."""
    body_bytes_max: int = BODY_BYTES_MAX
    """Bytes of each body that are kept; 0 keeps none."""
    parameters: bool = True
    """Whether the values of SQL parameters are kept."""
    masked_headers: frozenset[str] = frozenset(MASKED_HEADERS)
    """Lower-case names."""
    masked_fields: frozenset[str] = frozenset(MASKED_FIELDS)
    """Lower-case names."""
    spool_bytes_max: int = SPOOL_BYTES_MAX
    """Bytes of the spool."""
    spool_files_max: int = SPOOL_FILES_MAX
    """Files of the spool."""
    tag_message: bool = False
    """Whether tags are written as messages too, for tables without a trigger."""
    queue_spans_max: int = QUEUE_SPANS_MAX
    """Spans that wait in memory."""


def switched_off(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `FLUX_RECORDER` says that nothing is to be recorded."""
    return environment.get("FLUX_RECORDER", "").strip().lower() in {"off", "0", "false", "no"}


def settled(
    *,
    service: str | None,
    endpoint: str | None,
    token: str | None,
    spool: str | os.PathLike[str] | None,
    root: str | os.PathLike[str] | None,
    mask: Sequence[str],
    tag_message: bool | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Return the settings: arguments before `FLUX_…` variables before defaults.

    `mask` adds names of headers and fields; a spool of "" is none.
    """
    service = service or environment.get("FLUX_SERVICE") or environment.get("OTEL_SERVICE_NAME") or "app"
    place = spool if spool is not None else environment.get("FLUX_SPOOL")
    if place is None:
        state = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        place = Path(state) / "flux" / "spool"
    added = frozenset(name.lower() for name in mask)
    return Settings(
        service=service,
        endpoint=endpoint or environment.get("FLUX_OTLP_ENDPOINT") or ENDPOINT,
        token=token or environment.get("FLUX_OTLP_TOKEN"),
        spool=Path(place) / _file_name(service) if str(place) else None,
        root=Path(root).resolve() if root is not None else Path.cwd(),
        masked_headers=frozenset(MASKED_HEADERS) | added,
        masked_fields=frozenset(MASKED_FIELDS) | added,
        tag_message=_is_on(environment.get("FLUX_TAG_MESSAGE", "")) if tag_message is None else tag_message,
    )


def _is_on(text: str) -> bool:
    return text.strip().lower() in {"on", "1", "true", "yes"}


def _file_name(service: str) -> str:
    """Return the service's name as a folder's."""
    return "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in service)[:100] or "app"
