"""Streams that are damaged: bytes and messages changed, lost, doubled and moved, and what may come of it.

Promises: the same random state gives the same damage; nothing here looks into what the decoder does.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HEADER_BYTES = 25
"""Of XLogData: the wire has looked at it, but the decoder may not trust it either."""

CPU_S_MAX = 5.0
MEMORY_BYTES_MAX = 256 << 20
"""For one input, which is 256 KiB at most."""

COUNTS = tuple(
    value.to_bytes(size, "big")
    for size, values in (
        (2, (0, 1, 0x7FFF, 0xFFFF)),
        (4, (0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)),
        (8, (0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)),
    )
    for value in values
)
"""Lengths, counts and positions as the protocol writes them, where arithmetic goes wrong."""

TEXTS = (
    *(
        b"",
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"/",
        b" ",
        b"\0",
        b"\xff",
        b"\xc3",
        b"null",
        b"true",
    ),
    *(b"0", b"-1", b"2147483648", b"4294967296", b"9223372036854775808", b"18446744073709551616", b"9" * 400),
    *(b"1e999", b"1e300", b"[]", b"{}", b"\\u0000", b"\\ud800", b"1970-01-01 00:00:00+00", b"infinity"),
    *(b"FFFFFFFF/FFFFFFFF", b"0/0", b"t", b"n", b"u", b"N", b"K", b"O", b"\n", b"\t", b"\r"),
)
"""What numbers and JSON are made of, likewise."""


def pack(messages: list[bytes]) -> bytes:
    """Return messages as one text: each with its length before it, 4 bytes."""
    return b"".join(struct.pack("!I", len(message)) + message for message in messages)


def unpack(text: bytes) -> list[bytes]:
    """Return the messages of any text at all; a length that leads past its end takes the rest."""
    messages, place = [], 0
    while place + 4 <= len(text):
        size = int.from_bytes(text[place : place + 4], "big")
        messages.append(text[place + 4 : place + 4 + size])
        place += 4 + size
    return messages


def damage_bytes(message: bytes, chance: random.Random) -> bytes:
    """Change one thing about a message."""
    place = chance.randrange(len(message) + 1)
    if len(message) > HEADER_BYTES and chance.random() < 0.9:
        place = chance.randrange(HEADER_BYTES, len(message))
    size = chance.choice((1, 1, 1, 2, 4, 8, 20))
    kind = chance.randrange(8)
    if kind == 0:  # a bit
        changed = bytearray(message)
        if changed:
            changed[min(place, len(message) - 1)] ^= 1 << chance.randrange(8)
        return bytes(changed)
    if kind == 1:  # a byte
        return message[:place] + chance.randbytes(1) + message[place + 1 :]
    if kind == 2:  # bytes more
        return message[:place] + chance.randbytes(size) + message[place:]
    if kind == 3:  # bytes less
        return message[:place] + message[place + size :]
    if kind == 4:  # cut short
        return message[:place]
    if kind == 5:  # a piece twice
        return message[:place] + message[place : place + size * 4] + message[place:]
    put = chance.choice(COUNTS if kind == 6 else TEXTS)
    return message[:place] + put + message[place + (len(put) if chance.random() < 0.7 else 0) :]


def damage(messages: list[bytes], chance: random.Random) -> list[bytes]:
    """Change one thing about a stream: a message, or their order."""
    result = list(messages)
    if not result:
        return result
    here, there = chance.randrange(len(result)), chance.randrange(len(result))
    kind = chance.randrange(12)
    if kind == 0:
        del result[here]
    elif kind == 1:
        result.insert(there, result[here])
    elif kind == 2:
        result[here], result[there] = result[there], result[here]
    elif kind == 3:
        del result[here:]
    elif kind == 4:  # the head of one, the tail of another
        cut, other = chance.randrange(len(result[here]) + 1), chance.randrange(len(result[there]) + 1)
        result[here] = result[here][:cut] + result[there][other:]
    elif kind == 5:  # two in one
        result[here] += result.pop(there)[HEADER_BYTES:] if here != there and there > here else b""
    else:
        result[here] = damage_bytes(result[here], chance)
    return result


class TookTooLong(BaseException):
    """Not an Exception: nothing under test may catch it."""


@contextmanager
def bounded(cpu_s: float, memory_bytes: int) -> Iterator[None]:
    """Run what is inside within so much CPU time, and so much memory more than there is now.

    Time raises `TookTooLong`, memory `MemoryError` (on Linux). By CPU time, for the machine is shared with
    other tests, and pytest-timeout has the other timer.
    """

    def stop(_signal: int, _frame: object) -> None:
        raise TookTooLong(f"more than {cpu_s} s of CPU")

    before = signal.signal(signal.SIGVTALRM, stop)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGESIZE") + memory_bytes, limits[1]))
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGVTALRM, before)


def shrink(messages: list[bytes], fails: Callable[[list[bytes]], bool]) -> list[bytes]:
    """Leave out messages, larger runs first, as long as it still fails."""
    size = len(messages) // 2
    while size:
        place = 0
        while place < len(messages):
            fewer = messages[:place] + messages[place + size :]
            if fails(fewer):
                messages = fewer
            else:
                place += size
        size //= 2
    return messages
