"""Messages under our prefixes that are not ours: any role may write a message under any prefix.

The content of each message that Flux's functions write begins with a secret of its database and a space
(sql/postgres/015_secret.sql). Marks have none: a position that no attempt names means nothing. Nor have tags,
which the application writes: a role can tag by them what it changes itself, as it can by its settings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flux.decoder.events import MARK, OTHER, TAG
from flux.decoder.frames import Bytes, Ints


def leave_out_forged(
    buffer: Bytes, message: npt.NDArray[np.uint8], start: Ints, length: Ints, secret: str
) -> int:
    """Make OTHER of the messages without the secret, step over it in the rest; return how many were forged.

    `message` is the kind of each event, `start` and `length` its content's place; all three are changed.
    """
    if not secret:
        return 0
    opening = f"{secret} ".encode()
    which = np.flatnonzero((message != OTHER) & (message != MARK) & (message != TAG))
    every = np.ndarray((max(buffer.size - len(opening) + 1, 0),), f"S{len(opening)}", buffer, 0, (1,))
    ours = length[which] >= len(opening)
    ours[ours] = every[start[which[ours]]] == opening
    message[which[~ours]] = OTHER
    start[which[ours]] += len(opening)
    length[which[ours]] -= len(opening)
    return int((~ours).sum())
