"""A TCP proxy on loopback that can do what networks do: cut, refuse, fall silent, crawl.

Silent means half-open: both ends keep their sockets, the kernel goes on answering for the other side,
and nothing passes. What was held back passes when the silence ends.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

from servers.server import free_port

_PIECE_BYTES = 16 << 10
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST, as a cut does, not FIN."""


class Proxy:
    """Forwards from a port of its own to `target`, both on 127.0.0.1, until closed."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = free_port()
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._bytes_per_s: float | None = None
        self._silent = False
        self._cut_at: bytes | None = None
        self._listener: socket.socket | None = None
        self.accept()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.cut()

    @property
    def connections(self) -> int:
        """How many there are."""
        with self._lock:
            return sum(not pair.closed.is_set() for pair in self._pairs)

    def accept(self) -> None:
        """Take new connections (it does from the start)."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._listen, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Take no new connections; those that are there go on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            # Closing alone does not wake the thread that waits in it.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def cut(self) -> None:
        """Reset every connection, on both sides."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.close()

    def fall_silent(self, *, to_client: bool = True, to_server: bool = True, new: bool = True) -> None:
        """Let nothing pass in these directions any more; with `new`, on later connections neither."""
        with self._lock:
            self._silent = new
            for pair in self._pairs:
                if to_client:
                    pair.to_client.clear()
                if to_server:
                    pair.to_server.clear()

    def speak(self) -> None:
        """End every silence."""
        with self._lock:
            self._silent = False
            for pair in self._pairs:
                pair.to_client.set()
                pair.to_server.set()

    def throttle(self, bytes_per_s: float | None) -> None:
        """Let no more than so many bytes a second pass, in each direction of each connection."""
        self._bytes_per_s = bytes_per_s

    def cut_at(self, words: bytes) -> None:
        """Cut every connection and refuse new ones when a client says these words to the server."""
        self._cut_at = words

    def _listen(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            pair = _Pair(client, server)
            with self._lock:
                if self._silent:
                    pair.to_client.clear()
                    pair.to_server.clear()
                self._pairs.append(pair)
            for ends in ((client, server, pair.to_server), (server, client, pair.to_client)):
                threading.Thread(target=self._relay, args=(pair, *ends), daemon=True).start()

    def _relay(
        self, pair: _Pair, source: socket.socket, sink: socket.socket, passing: threading.Event
    ) -> None:
        try:
            while not pair.closed.is_set():
                passing.wait()
                rate = self._bytes_per_s
                data = source.recv(_PIECE_BYTES if rate is None else int(rate / 20))
                passing.wait()
                if not data:
                    # Not a reset: it would overtake the last words that are still under way.
                    sink.shutdown(socket.SHUT_WR)
                    pair.half_ends()
                    return
                if self._cut_at is not None and sink is pair.server and self._cut_at in data:
                    self._cut_at = None
                    self.refuse()
                    self.cut()
                    return
                sink.sendall(data)
                if rate is not None:
                    pair.closed.wait(len(data) / rate)
        except OSError:
            pair.close()  # one of the ends is gone, and so is the other


class _Pair:
    """Two sockets that belong together."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.server = server
        self._ends = (client, server)
        for end in self._ends:
            # Little may be under way: what is throttled or held back is to be felt by the sender.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        self.to_client = threading.Event()
        self.to_server = threading.Event()
        self.to_client.set()
        self.to_server.set()
        self.closed = threading.Event()
        self._half_ended = threading.Event()

    def half_ends(self) -> None:
        """One side has said its last; after the second, both sockets go."""
        if not self._half_ended.is_set():
            self._half_ended.set()
            return
        self.closed.set()
        for end in self._ends:
            end.close()

    def close(self) -> None:
        """Reset both; a thread that waits in one is woken."""
        self.closed.set()
        self.to_client.set()
        self.to_server.set()
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)
            end.close()
