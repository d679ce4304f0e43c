"""A body as it passes by: its first bytes, how many there were, and the text that is recorded.

Chunks are looked at, never held: memory is bounded by `limit`, and nothing waits for the end.
"""

from __future__ import annotations

import zlib

from flux.recorder import mask
from flux.recorder.settings import Settings

TEXTUAL = ("text/", "application/json", "application/xml", "application/x-www-form-urlencoded")
"""Beginnings of the content types that are recorded as text; so are `…+json` and `…+xml`."""


class Body:
    """Collects the first `limit` bytes of what passes."""

    __slots__ = ("_kept", "_limit", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.size = 0
        """Bytes that passed."""

    @property
    def kept(self) -> int:
        """Bytes that are held."""
        return len(self._kept)

    def add(self, chunk: bytes | bytearray | memoryview) -> None:
        """Look at the next bytes."""
        if not chunk:
            return
        self.size += len(chunk)
        room = self._limit - len(self._kept)
        if room > 0:
            self._kept += chunk[:room]

    def text(self, content_type: str, encoding: str, settings: Settings) -> str | None:
        """Return what is recorded of it, None for an empty body or when no bodies are kept."""
        if not self.size or not self._limit:
            return None
        kind = content_type.partition(";")[0].strip().lower()
        kept = bytes(self._kept)
        if not _textual(kind, kept):
            return f"[flux: {self.size:,} bytes of {kind or 'unknown type'}]"
        if encoding.strip().lower() in {"gzip", "x-gzip", "deflate"}:
            return self._unpacked(kept, kind, settings)
        if encoding.strip().lower() not in {"", "identity"}:
            return f"[flux: {self.size:,} bytes of {kind or 'unknown type'}, {encoding.strip().lower()}]"
        return self._noted(kept, self.size, settings)

    def _unpacked(self, kept: bytes, kind: str, settings: Settings) -> str:
        # 32: whichever of gzip and zlib it is. What is longer than the limit is not unpacked.
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            plain = unpacking.decompress(kept, self._limit)
        except zlib.error:
            return f"[flux: {self.size:,} bytes of {kind or 'unknown type'}, compressed]"
        text = mask.body(plain.decode("utf-8", "replace"), settings)
        if unpacking.eof:
            return text
        return f"{text}\n[flux: cut, {len(plain):,} bytes unpacked; {self.size:,} compressed in all]"

    def _noted(self, kept: bytes, size: int, settings: Settings) -> str:
        text = mask.body(kept.decode("utf-8", "ignore" if len(kept) < size else "replace"), settings)
        return text if len(kept) == size else f"{text}\n[flux: cut, {len(kept):,} of {size:,} bytes]"


def _textual(kind: str, kept: bytes) -> bool:
    if kind:
        return kind.startswith(TEXTUAL) or kind.endswith(("+json", "+xml"))
    return b"\x00" not in kept and kept[:1] in b'{["<'
