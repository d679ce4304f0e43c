"""Writing beside decoding: a batch goes into the ledger while the next one is decoded.

Both spend their time in libraries that let the interpreter's lock go, so two processors do two things. One
batch at most is under way: memory stays bounded, and the order is the stream's.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from flux.ledger.writer import Writer
from flux.model.batch import Batch


class Appending:
    """The writer's `append` in a thread of its own; after `settle` nothing runs there."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flux-append")
        self._under_way: Future[None] | None = None

    def append(self, batch: Batch) -> None:
        """Begin to add `batch`; raise what the one before it met."""
        self.settle()
        self._under_way = self._thread.submit(self._writer.append, batch)

    def settle(self) -> None:
        """Wait until all that was appended is in the ledger's transaction; raise what prevented it."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def close(self) -> None:
        """Wait for what is under way, however it ends. The caller rolls back."""
        self._under_way = None
        self._thread.shutdown()
