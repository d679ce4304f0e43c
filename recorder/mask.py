"""What must not leave the process: values of secret headers, of secret fields in bodies, queries and URLs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

from flux.recorder import otlp
from flux.recorder.settings import ATTRIBUTES_MAX, Settings

MASKED = "[masked]"

Pair = tuple[str, str] | tuple[bytes, bytes]
"""A header; bytes are Latin-1."""


def headers(pairs: Iterable[tuple[str, str]], settings: Settings) -> dict[str, list[str]]:
    """Return the headers by lower-case name, the secret ones masked."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        key = name.lower()
        found.setdefault(key, []).append(MASKED if key in settings.masked_headers else value)
    return found


def encoded_headers(
    side: str, pairs: Sequence[Pair], settings: Settings
) -> tuple[list[bytes], tuple[str, str]]:
    """Return `http.SIDE.header.NAME` of each header as OTLP, and content type and encoding."""
    found: dict[str, list[str]] = {}
    for name, value in pairs[:ATTRIBUTES_MAX]:
        key = _name(name)
        if key in settings.masked_headers:
            shown = MASKED
        else:
            shown = value.decode("latin-1") if isinstance(value, bytes) else value
        if key in found:
            found[key].append(shown)
        else:
            found[key] = [shown]
    encoded = [
        otlp.list_of_one(f"http.{side}.header.{key}", values[0])
        if len(values) == 1
        else otlp.attribute(f"http.{side}.header.{key}", values)
        for key, values in found.items()
    ]
    return encoded, (found.get("content-type", [""])[-1], found.get("content-encoding", [""])[-1])


@lru_cache(maxsize=otlp.CACHED)
def _name(name: str | bytes) -> str:
    return (name.decode("latin-1") if isinstance(name, bytes) else name).lower()


def query(text: str, settings: Settings) -> str:
    """Return a query string, or a form, with the values of secret fields masked."""
    if not text:
        return text
    return "&".join(_form_field(part, settings.masked_fields) for part in text.split("&"))


def url(text: str, settings: Settings) -> str:
    """Return a URL without user and password, its secret parameters masked."""
    parts = urlsplit(text)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, place, parts.path, query(parts.query, settings), ""))


def body(text: str, settings: Settings) -> str:
    """Return JSON or form text with the values of secret fields masked, cut or malformed as it may be."""
    if text.lstrip()[:1] in {"{", "["}:
        return _json_fields(settings.masked_fields).sub(rf'\1"{MASKED}"', text)
    if "=" in text and "\n" not in text and "<" not in text:
        return query(text, settings)
    return text


def _form_field(part: str, names: frozenset[str]) -> str:
    name, sign, _ = part.partition("=")
    return f"{name}={MASKED}" if sign and name.lower() in names else part


@lru_cache(maxsize=8)
def _json_fields(names: frozenset[str]) -> re.Pattern[str]:
    """A field with one of the names, and a text (closed, or cut off) or a plain value after it."""
    choice = "|".join(sorted(map(re.escape, names)))
    return re.compile(
        rf'("(?:{choice})"\s*:\s*)(?:"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[^\s",\[\]{{}}]+)', re.IGNORECASE
    )
