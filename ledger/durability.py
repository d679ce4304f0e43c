"""Making files outlive a power loss.

SQLite syncs its own catalog (synchronous=FULL). DuckDB writes Parquet files without fsync
(traced with strace, 1.5.5), so the writer does it here, files first and then their folders,
before the catalog may name them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path


def flush_folder(folder: Path) -> None:
    """Make the entries of `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_file(file: Path) -> None:
    """Make the content of `file` durable."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(file: Path, text: str) -> None:
    """Replace the content of `file`: after a crash it is the old or the new one, whole."""
    draft = file.with_name(file.name + ".new")
    with draft.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    draft.replace(file)
    flush_folder(file.parent)


class DataFiles:
    """The Parquet files under a data folder that are known to be durable.

    One writer per ledger makes every new file, so each is synced once. `flush_new` lists the
    folders of the tables (a dozen); compaction keeps their entries few.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._durable: set[str] = set(self._listed())
        self._folders: set[Path] = set()  # themselves durable, with those above them
        self._others: set[str] = set()  # not the writer's own

    def _listed(self) -> list[str]:
        return [
            os.path.join(folder, name)  # noqa: PTH118 (there may be thousands)
            for folder, _, names in os.walk(self._data)
            for name in names
            if name.endswith(".parquet")
        ]

    def older(self, before: datetime) -> list[Path]:
        """Return the files that were last written before that moment, but those others are making."""
        found = []
        for name in set(self._listed()) - self._others:
            # Gone meanwhile: a test or an operator deletes too.
            with suppress(FileNotFoundError):
                if os.stat(name).st_mtime < before.timestamp():  # noqa: PTH116 (as above)
                    found.append(Path(name))
        return found

    def flush_new(self) -> int:
        """Make the files written since the last call durable; return how many there were."""
        known = set(self._durable)
        listed = set(self._listed())
        new = listed - known - self._others
        self.flush(Path(name) for name in new)
        # Gone from the disk. What was made while the folders were read stays known.
        self._durable -= known - listed
        return len(new)

    def flush(self, files: Iterable[Path]) -> None:
        """Make these files durable, which a writer has made."""
        own: set[Path] = set()
        for file in files:
            flush_file(file)
            own.add(file.parent)
            self._durable.add(str(file))
        # A table's first file also makes the folders above it.
        above = {folder for one in own for folder in one.parents if one not in self._folders}
        for folder in own | above:
            if folder == self._data or self._data in folder.parents:
                flush_folder(folder)
        self._folders |= own

    @contextmanager
    def making(self, file: Path) -> Iterator[None]:
        """Leave `file` alone meanwhile: somebody else makes it, durable, beside the writer."""
        self._others.add(str(file))
        try:
            yield
            self._durable.add(str(file))
        finally:
            self._others.discard(str(file))

    def discard_new(self) -> None:
        """Delete the files written since `flush_new`: of a transaction that was rolled back.

        DuckDB leaves a file that it could not finish; on a full disk that would keep it full.
        """
        for name in set(self._listed()) - self._durable - self._others:
            Path(name).unlink(missing_ok=True)
