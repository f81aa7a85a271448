"""Relays a pod's ports to the stand-in agent, which listens on 127.0.0.1:3000 only. A test can watch it and disturb it.

Each request is a line of the log. Files in /control: `down-PORT` closes that port, and `closed-PORT` is there while it
is closed; `hold` names a path whose answers are held back, after the agent has had the request, until the file is gone.
"""

import http.client
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONTROL = Path("/control")


class Relay(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.relay()

    def do_POST(self) -> None:
        self.relay()

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        print(self.connection.getsockname()[1], self.command, self.path, body.decode(), flush=True)
        agent = http.client.HTTPConnection("127.0.0.1", 3000, timeout=60)
        agent.request(self.command, self.path, body, {"Content-Type": "application/json"})
        answer = agent.getresponse()
        content = answer.read()
        while held(self.path):
            time.sleep(0.05)
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: each request is printed already."""


def held(path: str) -> bool:
    try:
        return (CONTROL / "hold").read_text().strip() == path
    except OSError:
        return False


def serve(port: int) -> None:
    """Listens on the port, except while it is to be down."""
    down, closed = CONTROL / f"down-{port}", CONTROL / f"closed-{port}"
    while True:
        server = ThreadingHTTPServer(("0.0.0.0", port), Relay)
        closed.unlink(missing_ok=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        while not down.exists():
            time.sleep(0.05)
        server.shutdown()
        server.server_close()
        closed.touch()
        while down.exists():
            time.sleep(0.05)


for port in map(int, sys.argv[2:]):
    threading.Thread(target=serve, args=(port,), daemon=True).start()
serve(int(sys.argv[1]))
