"""Raw replication messages gathered into one buffer, and vector reads from it.

Source: PostgreSQL documentation, "Streaming Replication Protocol", XLogData: a byte `w`, the start
position of the data, the end of the server's log, its clock (8 bytes each, big-endian), the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flux.model.errors import DecodeError

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Lsns = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

HEADER_BYTES = 25
"""Length of an XLogData header."""

PADDING_BYTES = 16
"""Zero bytes behind the last message, so that a wide read near the end stays inside the buffer."""

BUFFER_BYTES_MAX = 1 << 31
"""A view says in 32 bits where in its buffer a text begins. The server's largest message is half of it."""

INLINE_BYTES = 12
"""Longest text that an Arrow string view holds in itself (Arrow columnar format, "Variable-size
Binary View Layout")."""

_LOW_BYTES = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
"""By text length up to 8: a mask of its bytes."""

_TAIL_BYTES = np.array([(1 << 8 * max(size - 8, 0)) - 1 for size in range(INLINE_BYTES + 1)] + [0], np.uint32)
"""By text length: a mask of its bytes 8 to 12; longer texts keep none there."""


@dataclass(frozen=True, slots=True)
class Frames:
    """`n` messages in one buffer; `start[i]:end[i]` is the data of message i, header left out."""

    buffer: Bytes
    start: Ints
    end: Ints
    lsn: Lsns
    """The header's start position: for a row change the start of its record."""


def gather(messages: list[bytes]) -> Frames:
    """Copy `messages` (whole XLogData payloads) into one buffer."""
    buffer = np.frombuffer(bytearray().join([*messages, bytes(PADDING_BYTES)]), np.uint8)
    length = np.fromiter(map(len, messages), np.int64, len(messages))
    end = np.cumsum(length)
    start = end - length
    if length.size and int(length.min()) <= HEADER_BYTES:
        short = int(length.argmin())
        raise DecodeError("a message without data", offset=int(length[short]))
    if not (buffer[start] == ord("w")).all():
        raise DecodeError("not an XLogData message", offset=0)
    return Frames(buffer, start + HEADER_BYTES, end, big_endian(buffer, start + 1, 8))


def big_endian(buffer: Bytes, position: Ints, width: int) -> Lsns:
    """Return the unsigned `width`-byte big-endian integers at each `position`, as uint64."""
    kind = {2: ">u2", 4: ">u4", 8: ">u8"}[width]
    every = np.ndarray((buffer.size - width + 1,), kind, buffer, 0, (1,))
    return every[position].astype(np.uint64)


def little_endian(buffer: Bytes, position: Ints, width: int) -> npt.NDArray[np.unsignedinteger]:
    """Return `width` raw bytes at each `position` as one little-endian integer."""
    kind = {4: "<u4", 8: "<u8"}[width]
    every = np.ndarray((buffer.size - width + 1,), kind, buffer, 0, (1,))
    taken: npt.NDArray[np.unsignedinteger] = every[position]
    return taken


def text_views(buffer: Bytes, start: Ints, length: Ints, null: Bools | None = None) -> pa.Array:
    """Return texts as `string_view`: short ones inlined, long ones pointing into `buffer`."""
    count = start.size
    views = np.empty((count, 2), np.uint64)
    size = length.astype(np.uint64)
    # Bytes past the text are masked to zero: Arrow compares inlined views as a whole.
    head = little_endian(buffer, start, 8) & _LOW_BYTES[np.minimum(length, 8)]
    tail = little_endian(buffer, start + 8, 4) & _TAIL_BYTES[np.minimum(length, INLINE_BYTES + 1)]
    np.left_shift(head, 32, out=views[:, 0])
    views[:, 0] |= size
    # Inlined: bytes 4..12 of the text. Pointing: buffer number (0) and offset.
    inlined = (head >> 32) | (tail.astype(np.uint64) << 32)
    views[:, 1] = np.where(length <= INLINE_BYTES, inlined, start.astype(np.uint64) << 32)
    if buffer.size > BUFFER_BYTES_MAX:
        raise DecodeError("more than 2 GiB in one batch", offset=BUFFER_BYTES_MAX)
    validity = None
    if null is not None and null.any():
        views[null] = 0
        validity = pa.py_buffer(np.packbits(~null, bitorder="little"))
    return pa.Array.from_buffers(
        pa.string_view(), count, [validity, pa.py_buffer(views), pa.py_buffer(buffer)]
    )


def texts(buffer: Bytes, start: Ints, length: Ints) -> pa.Array:
    """Return texts as a plain `string` array (copied)."""
    return text_views(buffer, start, length).cast(pa.string())
