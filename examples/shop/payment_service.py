"""The payment service, somebody else's: it answers, unless a bill has no plan; then it never does.

python examples/shop/payment_service.py 9100
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Charges(BaseHTTPRequestHandler):
    """`POST /charges`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        bill = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if bill["plan"] is None:
            threading.Event().wait()
        body = json.dumps({"reference": f"pay-{bill['order']}"}).encode()
        self.send_response(201)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        pass


class Service(ThreadingHTTPServer):
    """One thread a connection; none keeps the process alive."""

    daemon_threads = True


def main(port: int) -> None:
    with Service(("127.0.0.1", port), Charges) as service:
        print(f"listening on {service.server_address[1]}", flush=True)
        service.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
