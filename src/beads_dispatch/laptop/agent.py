"""BeadBoard and its agent on a laptop: the same endpoints, and one command for each bead."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from beads_dispatch.adapters import http_server
from beads_dispatch.laptop import server
from beads_dispatch.laptop.supervisor import Supervisor

TURN_SECONDS, IDLE_SECONDS = 0.2, 1.0  # while a job runs, and while none does


@contextmanager
def serving(port: int, supervisor: Supervisor) -> Iterator[str]:
    """Serves and supervises in threads of its own, then ends what it started. Yields its URL. Port 0: a free one.

    On loopback only, because anyone who reaches it can start agents. Raises Failure where it cannot listen.
    """
    jobs, ended = supervisor.jobs, threading.Event()
    listening = http_server.server("127.0.0.1", port, partial(server.page, jobs=jobs, bd=supervisor.bd))
    supervising = threading.Thread(target=_supervise, args=(supervisor, ended))
    threading.Thread(target=listening.serve_forever, args=(IDLE_SECONDS,), daemon=True).start()
    supervising.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        listening.server_close()
        ended.set()
        supervising.join()
        supervisor.stop()
    jobs.log.info("stopped", "stopped, with every job")


def _supervise(supervisor: Supervisor, ended: threading.Event) -> None:
    while not ended.wait(TURN_SECONDS if supervisor.jobs.running() else IDLE_SECONDS):
        supervisor.turn()
