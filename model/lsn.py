"""Log positions (LSN): 64-bit byte offsets in the write-ahead log, printed as `16/B374D848`.

Source: PostgreSQL documentation, "pg_lsn Type".
"""

from __future__ import annotations

import re

from flux.model.errors import UsageError

_TEXT = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")

LSN_MAX = (1 << 64) - 1
"""No position is beyond this one; as a bound it means "everything"."""


def lsn_text(lsn: int) -> str:
    """Return `lsn` as PostgreSQL prints it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """Return the position that `text` names; raise `UsageError` when it names none."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise UsageError(f"not a log position: {text!r}", hint="write it as 16/B374D848")
    return int(match[1], 16) << 32 | int(match[2], 16)
