"""What the watcher answers over HTTP: is it alive, is it ready, what has it counted."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer

from beads_dispatch import web

TURN_SECONDS = 330.0  # a turn may hold a whole tick or sweep, and each ends within five minutes


@dataclass(slots=True)
class Health:
    """When the loop last turned, and when the database last answered it; by time.monotonic()."""

    turned_at: float = field(default_factory=time.monotonic)
    answered_at: float = field(default_factory=time.monotonic)
    ready: bool = False

    def turned(self, answered: bool) -> None:
        self.turned_at, self.ready = time.monotonic(), answered
        if answered:
            self.answered_at = self.turned_at

    def alive(self) -> bool:
        return time.monotonic() - self.turned_at < TURN_SECONDS

    def seconds_since_answer(self) -> float:
        return time.monotonic() - self.answered_at


def serve(host: str, port: int, health: Health, metrics: Callable[[], bytes]) -> ThreadingHTTPServer:
    """Answers in a thread of its own, which ends with the process. Raises Failure."""

    def answer(method: str, path: str, body: bytes) -> web.Page:
        status, text = page(path.partition("?")[0], health, metrics)
        return status, "text/plain; version=0.0.4; charset=utf-8", text

    server = web.server(host, port, answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def page(path: str, health: Health, metrics: Callable[[], bytes]) -> tuple[int, bytes]:
    match path:
        case "/healthz":
            return (200, b"the loop turns\n") if health.alive() else (503, b"the loop stands still\n")
        case "/readyz":
            good = health.ready and health.alive()
            return (200, b"the database answers\n") if good else (503, b"the database does not answer\n")
        case "/metrics":
            return 200, metrics()
    return 404, b"/healthz, /readyz and /metrics are here\n"
