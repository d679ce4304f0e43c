"""From the bytes of the write-ahead log to columnar batches.

`wire` is the one module that speaks replication; everything else here is pure: the same messages
give the same batches. `Decoder` is the entry point; `pgoutput` and `wal2json` are held equal by tests.
"""

from __future__ import annotations

from flux.decoder.decoder import Decoder

__all__ = ["Decoder"]
