"""A stand-in for BeadBoard and the agent service, in one server: places, jobs that take their time, and outages.

It answers as the real ones were seen to answer: BeadBoard caches its status for two seconds, the agent service counts
places and queues what finds none.
"""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from conftest import held_port

CACHE_SECONDS = 2.0
LAST_ACT_SECONDS = 0.5  # before its end: an agent closes its bead while it runs
TOKEN = "bench"


@dataclass(slots=True)
class Job:
    """Times are monotonic seconds."""

    bead: str
    accepted: float
    begins: float
    ends: float

    def status(self, now: float, exit_code: int) -> str:
        if now < self.ends:
            return "queued" if now < self.begins else "running"
        return "failed" if exit_code else "completed"


@dataclass(slots=True)
class Services:
    """`job_seconds`: how long a job takes. `last_act`: what the agent does with its bead, shortly before the end."""

    capacity: int = 10
    job_seconds: float = 0.0
    last_act: Callable[[str], None] = lambda bead: None
    exit_code: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None
    holder: socket.socket = field(default_factory=held_port)  # keeps the port while the server is away
    cached: tuple[float, bool] = (0.0, False)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        return int(self.holder.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def accepted(self) -> dict[str, float]:
        """When each bead was accepted. Raises RuntimeError if one was sent twice."""
        with self.lock:
            jobs = list(self.jobs.values())
        if len({job.bead for job in jobs}) < len(jobs):
            raise RuntimeError("a bead was sent twice")
        return {job.bead: job.accepted for job in jobs}

    def reset(
        self, job_seconds: float = 0.0, last_act: Callable[[str], None] = lambda bead: None, exit_code: int = 0
    ) -> None:
        with self.lock:
            self.jobs, self.asked, self.cached = {}, [], (0.0, False)
            self.job_seconds, self.last_act, self.exit_code = job_seconds, last_act, exit_code

    def start(self) -> float:
        """Again on the same port after a stop(). Returns the moment, in monotonic seconds."""
        self.server = _Server(("127.0.0.1", self.port), _handler(self))
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return time.monotonic()

    def stop(self) -> None:
        """Connections are refused from now on."""
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def answer(self, path: str, body: bytes) -> tuple[int, object]:
        with self.lock:
            self.asked.append(path)
            now = time.monotonic()
            if path == "/api/agent-status":
                return 200, {"busy": self._cached_busy(now)}
            if path == "/health":
                return 200, self._health(now)
            if path == "/api/agent-dispatch":
                return 200, {"job_id": self._accept(json.loads(body)["taskId"], now)}
            return self._job(path.removeprefix("/jobs/"), now)

    def _active(self, now: float) -> int:
        return sum(job.begins <= now < job.ends for job in self.jobs.values())

    def _cached_busy(self, now: float) -> bool:
        if now - self.cached[0] > CACHE_SECONDS:
            self.cached = now, self._active(now) >= self.capacity
        return self.cached[1]

    def _health(self, now: float) -> dict[str, object]:
        active, queued = self._active(now), sum(now < job.begins for job in self.jobs.values())
        full = active >= self.capacity
        return {"status": "ok", "busy": full, "active": active, "queued": queued, "capacity": self.capacity}

    def _accept(self, bead: str, now: float) -> str:
        ends = sorted(job.ends for job in self.jobs.values() if job.ends > now)
        begins = ends[-self.capacity] if len(ends) >= self.capacity else now
        name = f"job{len(self.jobs):09d}"
        self.jobs[name] = Job(bead, now, begins, begins + self.job_seconds)
        acts_after = begins - now + max(0.0, self.job_seconds - LAST_ACT_SECONDS)
        timer = threading.Timer(acts_after, self.last_act, [bead])
        timer.daemon = True
        timer.start()
        return name

    def _job(self, name: str, now: float) -> tuple[int, object]:
        job = self.jobs.get(name)
        if job is None:
            return 404, {"detail": "Job not found"}
        known: dict[str, object] = {
            "status": job.status(now, self.exit_code),
            "prompt": "",
            "agent": "",
            "metadata": None,
        }
        known["created_at"] = _time_of_day(job.accepted, now)
        if now >= job.begins:
            known["started_at"] = _time_of_day(job.begins, now)
        if now >= job.ends:
            ended = _time_of_day(job.ends, now)
            known |= {"finished_at": ended, "exit_code": self.exit_code, "output": [], "stderr": "the end\n"}
        return 200, known


def _time_of_day(moment: float, now: float) -> str:
    return datetime.fromtimestamp(time.time() - now + moment, UTC).isoformat()


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def _handler(services: Services) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(*services.answer(self.path, b""))

        def do_POST(self) -> None:
            self.reply(*services.answer(self.path, self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            with suppress(OSError):  # a client that has left
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
