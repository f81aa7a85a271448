"""What the watcher answers over HTTP: whether it is alive, whether it is ready, its metrics, and pages for people."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer

from beads_dispatch.adapters import http_server

TURN_SECONDS = 330.0  # one turn can be a whole tick or sweep, and each ends within five minutes
POLL_SECONDS = 86_400.0  # we never shut this server down, so polling once a day is enough


@dataclass(slots=True)
class Health:
    """When the loop last turned, and when the database last answered it. Times are seconds by `monotonic`."""

    monotonic: Callable[[], float]
    turned_at: float = field(init=False)
    answered_at: float = field(init=False)
    ready: bool = False

    def __post_init__(self) -> None:
        self.turned_at = self.answered_at = self.monotonic()

    def turned(self, answered: bool) -> None:
        """Record that the loop has turned. `answered`: whether the database did."""
        self.turned_at, self.ready = self.monotonic(), answered
        if answered:
            self.answered_at = self.turned_at

    def alive(self) -> bool:
        return self.monotonic() - self.turned_at < TURN_SECONDS

    def seconds_since_answer(self) -> float:
        return self.monotonic() - self.answered_at


def serve(
    host: str, port: int, health: Health, metrics: Callable[[], bytes],
    people: Callable[[str], http_server.Page | None],
) -> ThreadingHTTPServer:  # fmt: skip
    """Answer in a thread of its own, which ends with the process. Raise Failure if it cannot listen.

    `people`: returns the page for a path, if there is one.
    """

    def answer(path: str) -> http_server.Page:
        path = path.partition("?")[0]
        if found := people(path):
            return found
        status, text = page(path, health, metrics)
        return http_server.Page(status, "text/plain; version=0.0.4; charset=utf-8", text)

    server = http_server.server(host, port, answer)
    threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
    return server


def page(path: str, health: Health, metrics: Callable[[], bytes]) -> tuple[int, bytes]:
    match path:
        case "/healthz":
            return (200, b"the loop is running\n") if health.alive() else (503, b"the loop is stalled\n")
        case "/readyz":
            good = health.ready and health.alive()
            return (200, b"the database answers\n") if good else (503, b"the database does not answer\n")
        case "/metrics":
            return 200, metrics()
    return 404, b"only /, /beads/ID, /healthz, /readyz and /metrics exist\n"
