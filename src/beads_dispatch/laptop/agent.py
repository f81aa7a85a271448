"""BeadBoard and its agent on a laptop: the same endpoints, and one command for each bead."""

import threading
from functools import partial

from beads_dispatch.adapters import http_server
from beads_dispatch.laptop import server
from beads_dispatch.laptop.supervisor import Supervisor
from beads_dispatch.stop import Stopping

TURN_SECONDS = 0.2


def run(port: int, supervisor: Supervisor, stopping: Stopping) -> int:
    """Serves until `stopping`, then ends what it started. Returns the exit status. Port 0: a free one.

    On loopback only, because anyone who reaches it can start agents.
    """
    jobs = supervisor.jobs
    listening = http_server.server("127.0.0.1", port, partial(server.page, jobs=jobs, bd=supervisor.bd))
    threading.Thread(target=listening.serve_forever, args=(TURN_SECONDS,), daemon=True).start()
    jobs.log.info("listening", f"BEADBOARD_URL=http://127.0.0.1:{listening.server_port}")
    try:
        while not stopping():
            supervisor.turn()
            supervisor.clock.sleep(TURN_SECONDS)
    finally:
        listening.shutdown()
        listening.server_close()
        supervisor.stop()
    jobs.log.info("stopped", "stopped, with every job")
    return 0
