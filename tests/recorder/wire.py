"""A TCP proxy that counts round trips: how often the client waited for the server and then spoke again."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from flux import recorder


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


def trips_of(
    wire: Wire,
    connect: Callable[[], psycopg.Connection[Any]],
    work: Callable[[psycopg.Connection[Any], int, str | None], None],
) -> tuple[int, int]:
    """Return the round trips of eight pieces of work, each in a request of its own, and of eight outside any.

    `work` gets the connection, its number from 0 to 15, and the request's id.
    """
    with connect() as connection, wire.counting() as tagged:
        for number in range(8):  # the sixth is a prepared statement
            with recorder.request("job") as request:
                work(connection, number, request.request_id)
    with connect() as connection, wire.counting() as untagged:
        for number in range(8, 16):
            work(connection, number, None)
    return tagged[0], untagged[0]
