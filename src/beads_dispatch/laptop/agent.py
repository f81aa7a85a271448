"""BeadBoard and its agent on a laptop: the same endpoints, and one command for each bead."""

import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from beads_dispatch.adapters import http_server
from beads_dispatch.adapters.bd import Bd
from beads_dispatch.adapters.clock import Clock
from beads_dispatch.core import eligibility
from beads_dispatch.core.bead import Bead
from beads_dispatch.errors import Failure
from beads_dispatch.log import Log

TURN_SECONDS = 0.2
GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL for a job that must end

Answer = tuple[int, dict[str, object]]


@dataclass(slots=True)
class Jobs:
    """The jobs at work, at most `capacity` at once, each in a process group of its own.

    `environ`: what the jobs inherit. `new_id`: twelve random hex digits.
    """

    command: str
    capacity: int
    environ: Mapping[str, str]
    log: Log
    new_id: Callable[[], str]
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="beads-agent-")))
    running: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def active(self) -> int:
        with self.lock:
            self.running = [process for process in self.running if process.poll() is None]
            return len(self.running)

    def start(self, bead: Bead) -> str | None:
        """The job's id, or None where there is no room."""
        job = self.new_id()
        with self.lock:
            if self.active() >= self.capacity:
                return None
            self.running.append(self._spawn(bead, job))
        self.log.info("started", f"job={job}, output in {self._output(job)}", bead=bead.id)
        return job

    def _output(self, job: str) -> Path:
        return self.folder / f"{job}.log"

    def _spawn(self, bead: Bead, job: str) -> "subprocess.Popen[bytes]":
        # A bead's texts go into the environment, never into the command: they are not code.
        texts = {"BEAD_ID": bead.id, "BEAD_TITLE": bead.title, "BEAD_ACCEPTANCE": bead.acceptance_criteria}
        if bead.assignee:  # bd 1.3 lets nobody else close the bead
            texts["BEADS_ACTOR"] = bead.assignee
        inherited = {key: value for key, value in self.environ.items() if key != "BD_ACTOR"}  # beats BEADS_ACTOR
        environ = {**inherited, **{key: text.replace("\0", "") for key, text in texts.items()}, "BEAD_JOB": job}
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # something may have cleaned up /tmp
        with self._output(job).open("wb") as out:
            return subprocess.Popen(
                ("/bin/sh", "-c", self.command), env=environ, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def end(self) -> None:
        """Ends every job with all its children."""
        with self.lock:
            for deadly in (signal.SIGTERM, signal.SIGKILL):
                for process in self.running:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, deadly)
                for process in self.running:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(GRACE_SECONDS)


def answer(method: str, path: str, body: bytes, jobs: Jobs, bd: Bd) -> Answer:
    """The status and the body that the real services would give."""
    active = jobs.active()
    busy = active >= jobs.capacity
    match method, path:
        case "GET", "/health":
            return 200, {"status": "ok", "busy": busy, "active": active, "queued": 0, "capacity": jobs.capacity}
        case "GET", "/api/agent-status":
            return 200, {"busy": busy}
        case "POST", "/api/agent-dispatch":
            return _dispatch(body, jobs, bd)
        case _, "/health" | "/api/agent-status" | "/api/agent-dispatch":
            return 405, {}
    return 404, {"error": "Not found."}


def _dispatch(body: bytes, jobs: Jobs, bd: Bd) -> Answer:
    try:
        request = json.loads(body)
    except ValueError:
        return 400, {"error": "Invalid JSON body."}
    task = request.get("taskId") if isinstance(request, dict) else None
    if not isinstance(task, str) or not task.strip():
        return 400, {"error": "taskId is required."}
    try:
        bead = bd.show(task)
    except Failure:
        bead = None
    if bead is None or bead.ephemeral or "gt:agent" in bead.labels:
        return 400, {"error": f"Bead {task} not found."}
    if eligibility.blank(bead.acceptance_criteria):
        return 400, {"error": f"Bead {task} is missing acceptance criteria."}
    try:
        job = jobs.start(bead)
    except (OSError, ValueError) as error:
        jobs.log.error("not_started", f"the command cannot be started: {error}", bead=bead.id)
        # One of BeadBoard's own texts: the dispatcher knows that it started nothing.
        return 500, {"error": f"Claude agent service is not configured (the command cannot be started: {error})"}
    return (200, {"job_id": job}) if job else (502, {"error": "Queue full"})


def run(port: int, jobs: Jobs, bd: Bd, stopping: Callable[[], bool], clock: Clock) -> int:
    """Serves until `stopping`, then ends what it started. Returns the exit status. Port 0: a free one.

    On loopback only, because anyone who reaches it can start agents.
    """

    def reply(method: str, path: str, body: bytes) -> http_server.Page:
        status, document = answer(method, path, body, jobs, bd)
        return status, "application/json", json.dumps(document).encode()

    server = http_server.server("127.0.0.1", port, reply)
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    jobs.log.info("listening", f"BEADBOARD_URL=http://127.0.0.1:{server.server_port}")
    try:
        while not stopping():
            clock.sleep(TURN_SECONDS)
    finally:
        server.shutdown()
        server.server_close()
        jobs.end()
    jobs.log.info("stopped", "stopped, with every job")
    return 0
