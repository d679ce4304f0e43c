"""A TCP proxy that counts round trips: how often the client waited for the server and then spoke again."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Wire:
    """Listens on a loopback port of its own until closed."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.turns = 0
        """How often a client began to speak, the server having spoken last."""
        self.sent = b""
        """What clients sent."""
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def counting(self) -> Iterator[list[int]]:
        """Yield a list that holds the number of round trips made in the block when it is over."""
        counted: list[int] = []
        before, self.sent = self.turns, b""
        yield counted
        counted.append(self.turns - before)

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._relay, args=(client, server), daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as waiting, client, server:
            waiting.register(client, selectors.EVENT_READ)
            waiting.register(server, selectors.EVENT_READ)
            server_spoke = True
            while True:
                for key, _ in waiting.select():
                    try:
                        source, target = (client, server) if key.fileobj is client else (server, client)
                        data = source.recv(1 << 16)
                        if not data:
                            return
                        if source is client:
                            self.turns += server_spoke
                            self.sent += data
                        server_spoke = source is server
                        target.sendall(data)
                    except OSError:
                        return
