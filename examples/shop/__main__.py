"""Runs the shop: `python -m shop PORT`; 0 takes a free port, which it prints."""

from __future__ import annotations

import socket
import sys

import uvicorn

from .app import app


def main(port: int) -> None:
    with socket.create_server(("127.0.0.1", port), backlog=128) as listening:
        print(f"listening on {listening.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(int(sys.argv[1]))
