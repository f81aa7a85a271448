"""A stand-in for BeadBoard and its agent service: `standin.py --command CMD` runs a command for each bead it is sent.

For the demo, the tests and e2e only. It gives the answers of the real services on 127.0.0.1, and its commands run in
the product's LocalRunner. Whoever can POST to it starts a command, so it answers only what no web page can send: a
`Host` of its own (a page whose name resolves to us has another), and JSON (a page must ask before it sends that).
"""

import argparse
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from beads_dispatch.adapters import location
from beads_dispatch.adapters.bd.process import BdProcess
from beads_dispatch.adapters.bd.verbs import Bd
from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.log import Log
from beads_dispatch.adapters.stop import Stop
from beads_dispatch.core import eligibility
from beads_dispatch.core.claim import Claim
from beads_dispatch.core.errors import Failure, NoBead
from beads_dispatch.core.runner import Outcome, Stage
from beads_dispatch.laptop.runner import LocalRunner, Setup
from beads_dispatch.laptop.watching import Local

Answer = tuple[int, object]

HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
MOST_BYTES = 64 * 1024  # of a request's body


class Services:
    """What the real services would answer."""

    def __init__(self, local: LocalRunner, bd: Bd) -> None:
        self.local = local
        self.bd = bd

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if not HOST.fullmatch(headers.get("Host") or ""):
            return 403, {"detail": "Unknown Host"}
        if method == "POST" and (headers.get("Content-Type") or "").partition(";")[0].strip() != "application/json":
            return 415, {"detail": "application/json is needed"}
        match method, [part for part in path.split("/") if part]:
            case "GET", ["health"]:
                return 200, self.health()
            case "GET", ["jobs", job_id]:
                return self.job(unquote(job_id))
            case "GET", ["api", "agent-status"]:
                return 200, {"busy": self.health()["busy"]}
            case "POST", ["api", "agent-dispatch"]:
                return self.dispatch(body)
            case _, ["health"] | ["jobs", _] | ["api", "agent-status" | "agent-dispatch"]:
                return 405, {}
        return 404, {"detail": "Not Found"}  # FastAPI's text; only "Job not found" says that a job is unknown

    def health(self) -> dict[str, object]:
        room = self.local.room()
        return {
            "status": "ok", "busy": not room.free, "active": room.taken, "queued": 0, "capacity": room.capacity,
        }  # fmt: skip

    def job(self, job_id: str) -> Answer:
        """A job as the agent service describes one. Of its output only what the product has read is known."""
        job = self.local.job(job_id)
        if job.stage in (Stage.UNKNOWN, Stage.FOREIGN):
            return 404, {"detail": "Job not found"}
        known: dict[str, object] = {"status": job.stage.value, "prompt": "", "agent": "standin", "metadata": None}
        known["created_at"] = known["started_at"] = _iso(job.started_at)
        if job.finished_at:
            known |= {"finished_at": _iso(job.finished_at), "finished_epoch": job.finished_at.timestamp()}
        if job.stage in (Stage.COMPLETED, Stage.FAILED):
            failed = bool(job.trouble)
            result = {"type": "result", "is_error": failed, "result": job.words, "total_cost_usd": job.cost}
            output = [json.dumps(result)] if failed or job.cost is not None else []
            known |= {"exit_code": job.exit_code, "output": output, "stderr": "" if output else f"{job.words}\n"}
        return 200, known

    def dispatch(self, body: bytes) -> Answer:
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            return 400, {"error": "Invalid JSON body."}
        task = request.get("taskId") if isinstance(request, dict) else None
        if not isinstance(task, str) or not task.strip():
            return 400, {"error": "taskId is required."}
        try:
            bead = self.bd.show(task)
        except NoBead:
            bead = None
        except Failure as error:  # BeadBoard's own text: nothing was started
            return 500, {"error": f"Claude agent service is not configured ({error})"}
        if bead is None or bead.ephemeral or "gt:agent" in bead.labels:
            return 400, {"error": f"Bead {task} not found."}
        if eligibility.blank(bead.acceptance_criteria):
            return 400, {"error": f"Bead {task} is missing acceptance criteria."}
        started = self.local.start(Claim(bead, "", datetime.now(UTC)))
        if started.outcome is Outcome.ACCEPTED:
            return 200, {"job_id": started.job}
        if started.outcome is Outcome.BUSY:
            return 502, {"error": "Queue full"}
        return 500, {"error": f"Claude agent service is not configured ({started.text})"}


def _iso(time: datetime | None) -> str | None:
    return time.isoformat(timespec="microseconds") if time else None


def handler(services: Services, one_at_a_time: threading.Lock) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30  # seconds; a silent client must not hold a thread for ever

        def do_GET(self) -> None:
            self.reply("GET", b"")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "0")
            self.reply("POST", self.rfile.read(min(int(length), MOST_BYTES) if length.isdecimal() else 0))

        def reply(self, method: str, content: bytes) -> None:
            headers = {name: self.headers.get(name, "") for name in ("Host", "Content-Type")}
            with one_at_a_time:
                status, document = services.answer(method, self.path, headers, content)
            body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def main() -> int:
    options = argparse.ArgumentParser(prog="standin.py")
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--command", required=True)
    options.add_argument("--jobs", type=int, default=1)
    args = options.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    log = Log("agent", SYSTEM.now)
    bd = Bd(BdProcess(location.find(os.environ, Path.cwd())), "agent", SYSTEM.sleep)
    setup = Setup(args.command, args.jobs, timedelta(hours=1), Path.cwd(), os.environ)
    local = LocalRunner(setup, f"standin {os.getpid()}", bd, SYSTEM, lambda: os.urandom(4).hex(), log)
    runs = Local(local, Stop(), log)
    one_at_a_time = threading.Lock()
    server = ThreadingHTTPServer(("127.0.0.1", args.port), handler(Services(local, bd), one_at_a_time))
    threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True).start()
    print(f"BEADBOARD_URL=http://127.0.0.1:{server.server_port}", flush=True)
    while not ended.wait(0.2):
        with one_at_a_time:
            runs.notice_ends()
    server.shutdown()
    server.server_close()
    runs.stop_all("stopped with the stand-in")
    return 0


if __name__ == "__main__":
    sys.exit(main())
